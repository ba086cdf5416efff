// Depth maps, and the lists of positions at which the kernels run.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"

namespace adadsr {

// Depths in blocks, one for each tile or pixel of some images.
struct Depths {
    int batch = 0, rows = 0, columns = 0;
    std::vector<float, Counted<float>> values;

    // Copies batch x rows x columns floats. Raises std::invalid_argument if one is NaN.
    void copy_from(const float* from, int batch, int rows, int columns);
};

// Numbers of tiles or pixels. Every number is below `limit` and none occurs twice.
struct Positions {
    std::vector<std::int32_t, Counted<std::int32_t>> numbers;
    std::int32_t limit = 0;

    // An empty list with room for `count` numbers.
    static Positions with_room(int count);
    static Positions all(int count);
    // Raises std::invalid_argument unless the numbers rise and start at 0 or above.
    static Positions listed(const std::int32_t* from, std::size_t count);
    // Replaces the list by first .. last - 1. Raises std::invalid_argument if first is below 0.
    void span(std::int32_t first, std::int32_t last);
    // Raises std::invalid_argument unless all numbers are below `count`.
    void check_below(int count) const;
    int size() const { return static_cast<int>(numbers.size()); }
};

// Fills `found` with the positions among first .. last - 1 whose depth is above `low` and at most
// `high`, in raster order.
void select_between(
    const Depths& depths, float low, float high, int first, int last, Positions& found,
    int threads);

// Fills `tiles` with the tiles of which more than `break_even` pixels are deeper than `low`, and
// `pixels` with such pixels of all other tiles. Tiles follow in raster order, and so do the pixels
// of a tile. Returns the number of such pixels in all. Raises std::invalid_argument if both lists
// are the same.
int select_pixels(
    const Depths& depths, float low, float break_even, Positions& tiles, Positions& pixels,
    int threads);

}  // namespace adadsr
