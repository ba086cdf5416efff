#include "positions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

// A selection counts the matches of each piece before it writes them, so that pieces can be written
// in parallel and the order does not depend on the threads.
constexpr int kMostPieces = 64;
constexpr int kFewestDepths = 1 << 13;  // of a piece: fewer are not worth a second thread

int pieces_of(std::size_t depths, int threads) {
    const auto worthwhile =
        static_cast<int>(std::min<std::size_t>(depths / kFewestDepths, kMostPieces));
    return std::max(1, std::min(worthwhile, threads));
}

// First of `count` items that a piece holds.
int piece_begin(int count, int pieces, int piece) {
    return static_cast<int>(static_cast<std::int64_t>(count) * piece / pieces);
}

// Calls visit(tile, first pixel, mask) for each tile in some rows of tiles, numbered through all
// images. Bit 4 * y + x of the mask is set where the tile's pixel (y, x) is deeper than `low`.
template <class Visit>
void visit_tiles(const Depths& depths, float low, int first_row, int last_row, const Visit& visit) {
    const int tile_rows = (depths.rows + kTile - 1) / kTile;
    const int tile_columns = (depths.columns + kTile - 1) / kTile;
    for (int row = first_row; row < last_row; ++row) {
        const int image = row / tile_rows, top = row % tile_rows * kTile;
        const int height = std::min(kTile, depths.rows - top);
        for (int column = 0; column < tile_columns; ++column) {
            const int left = column * kTile, width = std::min(kTile, depths.columns - left);
            const std::int32_t pixel = (image * depths.rows + top) * depths.columns + left;
            const float* depth = depths.values.data() + pixel;
            unsigned mask = 0;
            for (int y = 0; y < height; ++y, depth += depths.columns) {
                for (int x = 0; x < width; ++x) mask |= unsigned{depth[x] > low} << (y * kTile + x);
            }
            if (mask) visit(row * tile_columns + column, pixel, mask);
        }
    }
}

int count_bits(unsigned mask) {
    int count = 0;
    for (int bit = 0; bit < kTilePixels; ++bit) count += mask >> bit & 1;
    return count;
}

// What a piece of `select_pixels` holds, or all pieces before it.
struct Found {
    int tiles = 0, pixels = 0, active = 0;
    std::int32_t limit = 0;  // of the pixels
};

}  // namespace

void Depths::copy_from(const float* from, int batch, int rows, int columns) {
    const float* end = from + static_cast<std::size_t>(batch) * rows * columns;
    if (std::any_of(from, end, [](float value) { return std::isnan(value); })) {
        refuse("the depth map contains a value that is not a number");
    }
    values.assign(from, end);
    this->batch = batch;
    this->rows = rows;
    this->columns = columns;
}

Positions Positions::with_room(int count) {
    Positions positions;
    positions.numbers.reserve(std::max(0, count));
    return positions;
}

Positions Positions::all(int count) {
    Positions positions;
    positions.span(0, count);
    return positions;
}

Positions Positions::listed(const std::int32_t* from, std::size_t count) {
    std::int32_t limit = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (from[i] < limit || from[i] == std::numeric_limits<std::int32_t>::max()) {
            refuse("positions have to rise and to start at 0 or above");
        }
        limit = from[i] + 1;
    }
    Positions positions;
    positions.numbers.assign(from, from + count);
    positions.limit = limit;
    return positions;
}

void Positions::span(std::int32_t first, std::int32_t last) {
    if (first < 0) refuse("positions have to start at 0 or above");
    numbers.resize(std::max(0, last - first));
    std::iota(numbers.begin(), numbers.end(), first);
    limit = numbers.empty() ? 0 : last;
}

void Positions::check_below(int count) const {
    if (limit > count) {
        refuse("position ", limit - 1, " lies outside the canvas, which has ", count);
    }
}

void select_between(
    const Depths& depths, float low, float high, int first, int last, Positions& found,
    int threads) {
    const int begin = std::max(0, first);
    const int count = std::max(0, std::min(last, static_cast<int>(depths.values.size())) - begin);
    const int pieces = pieces_of(count, threads);
    const float* depth = depths.values.data();
    const auto selected = [&](int i) { return (depth[i] > low) & (depth[i] <= high); };
    const auto start = [&](int piece) { return begin + piece_begin(count, pieces, piece); };
    std::array<int, kMostPieces + 1> before{};
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        int matches = 0;
        for (int i = start(piece); i < start(piece + 1); ++i) matches += selected(i);
        before[piece + 1] = matches;
    });
    std::partial_sum(before.begin(), before.end(), before.begin());
    found.numbers.resize(before[pieces]);
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        // Every number is written and only a match moves on: no branch to mispredict.
        std::int32_t* const numbers = found.numbers.data();
        for (int i = start(piece), at = before[piece]; at < before[piece + 1]; ++i) {
            numbers[at] = i;
            at += selected(i);
        }
    });
    found.limit = found.numbers.empty() ? 0 : found.numbers.back() + 1;
}

int select_pixels(
    const Depths& depths, float low, float break_even, Positions& tiles, Positions& pixels,
    int threads) {
    if (&tiles == &pixels) {
        refuse("tiles and pixels are the same list; give two");
    }
    const int rows = depths.batch * ((depths.rows + kTile - 1) / kTile);
    const int pieces = std::min(pieces_of(depths.values.size(), threads), std::max(1, rows));
    const auto start = [&](int piece) { return piece_begin(rows, pieces, piece); };
    std::array<Found, kMostPieces + 1> before{};
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        Found found;
        visit_tiles(depths, low, start(piece), start(piece + 1), [&](int, int, unsigned mask) {
            const int active = count_bits(mask);
            found.active += active;
            active > break_even ? ++found.tiles : found.pixels += active;
        });
        before[piece + 1] = found;
    });
    for (int piece = 0; piece < pieces; ++piece) {
        before[piece + 1].tiles += before[piece].tiles;
        before[piece + 1].pixels += before[piece].pixels;
        before[piece + 1].active += before[piece].active;
    }
    tiles.numbers.resize(before[pieces].tiles);
    pixels.numbers.resize(before[pieces].pixels);
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        std::int32_t* to_tile = tiles.numbers.data() + before[piece].tiles;
        std::int32_t* to_pixel = pixels.numbers.data() + before[piece].pixels;
        std::int32_t limit = 0;
        const auto add = [&](int tile, int pixel, unsigned mask) {
            if (count_bits(mask) > break_even) {
                *to_tile++ = tile;
                return;
            }
            for (; mask; mask &= mask - 1) {
                const int bit = __builtin_ctz(mask);
                *to_pixel = pixel + bit / kTile * depths.columns + bit % kTile;
                limit = std::max(limit, *to_pixel++ + 1);
            }
        };
        visit_tiles(depths, low, start(piece), start(piece + 1), add);
        before[piece].limit = limit;
    });
    tiles.limit = tiles.numbers.empty() ? 0 : tiles.numbers.back() + 1;
    pixels.limit = 0;
    for (const Found& found : before) pixels.limit = std::max(pixels.limit, found.limit);
    return before[pieces].active;
}

}  // namespace adadsr
