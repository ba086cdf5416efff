// What a network's features lie in, and which of their positions are meant.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "buffer.h"
#include "geometry.h"

namespace adadsr {

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

// Features of some images, channels innermost, in the planes that `Geometry` describes. What lies around an image and
// the channels that pad a pixel are zero and stay zero: no kernel stores there anything else.
class Canvas {
public:
    // What a canvas will be. Raises std::invalid_argument where a size is not positive or there would be 2^31 pixels.
    struct Plan {
        Geometry geometry;
        int pitch;
        std::ptrdiff_t guard;
        std::size_t floats;

        Plan(int batch, int height, int width, int channels);
    };

    Canvas(int batch, int height, int width, int channels) : Canvas(Plan(batch, height, width, channels), channels) {}

    const Geometry& geometry() const { return geometry_; }
    int channels() const { return channels_; }
    int pitch() const { return pitch_; }
    int tiles() const { return geometry_.batch * geometry_.tile_rows * geometry_.tile_columns; }
    int pixels() const { return geometry_.batch * geometry_.height * geometry_.width; }
    float* data() const { return buffer_->data() + guard_; }
    float* image() const { return data() + (geometry_.row + 1) * pitch_; }
    const std::shared_ptr<Buffer>& buffer() const { return buffer_; }
    bool same_size(const Canvas& other) const;
    // Whether nobody else holds its memory, such as a tensor that views it.
    bool spare() const;

private:
    Canvas(const Plan& plan, int channels);

    Geometry geometry_;
    int channels_, pitch_;
    std::ptrdiff_t guard_;  // zeros before the first plane and after the last: a 5x5 conv looks two rows and pixels out
    std::shared_ptr<Buffer> buffer_;
};

// Depths in blocks, one for each tile or pixel of some images.
struct Depths {
    int batch = 0, rows = 0, columns = 0;
    std::vector<float, Counted<float>> values;

    // Copies batch x rows x columns floats; raises std::invalid_argument where one is not a number.
    void take(const float* from, int batch, int rows, int columns);
};

// Numbers of tiles or pixels. Every number is below `limit`, and none occurs twice. Where an operation takes tiles and
// pixels, no pixel lies in one of the tiles: threads would add to it at the same time.
struct Positions {
    std::vector<std::int32_t, Counted<std::int32_t>> numbers;
    std::int32_t limit = 0;

    // An empty list that can hold so many numbers without growing.
    static Positions with_room(int count);
    static Positions all(int count);
    // first .. last - 1, instead of what is there. Raises std::invalid_argument where first is below 0.
    void span(std::int32_t first, std::int32_t last);
    // Raises std::invalid_argument where the numbers do not rise, or start below 0.
    static Positions listed(const std::int32_t* from, std::size_t count);
    void add(std::int32_t number) {
        numbers.push_back(number);
        if (number >= limit) limit = number + 1;
    }
    void clear() {
        numbers.clear();
        limit = 0;
    }
};

// Those of the positions first .. last - 1 whose depth is above `low` and at most `high`, in order.
void select_between(const Depths& depths, float low, float high, int first, int last, Positions& found);

// The pixels whose depth is above `low`: tiles with more than `worth` of them as whole tiles, the others one by one.
// Returns how many such pixels there are.
int select_pixels(const Depths& depths, float low, float worth, Positions& tiles, Positions& pixels);

}  // namespace adadsr
