// 3x3 convs of 4x4 tiles by Winograd's F(4x4, 3x3) with the points 0, +-sqrt(1/2), +-sqrt(2) and infinity:
//     tile = A^T [ sum over channels of (G g G^T) * (B^T window B) ] A,   36 products a channel pair instead of 144.
// tests/test_native.py has the three matrices and the definition; `TileWeights` applies G when it packs.
#pragma once

#include "microkernel.h"

namespace {

using adadsr::Geometry;
using adadsr::kChannelStep;
using adadsr::kPoints;
using adadsr::kTile;
using adadsr::kTilePixels;
using adadsr::kWindow;

constexpr float kRoot = 1.41421356237309505f, kHalfRoot = kRoot / 2, kQuarterRoot = kRoot / 4;

// out = B^T in
inline __attribute__((always_inline)) void transform_input(const Vec (&in)[kWindow], Vec (&out)[kWindow]) {
    const Vec half = Vec::fill(0.5f), two_and_half = Vec::fill(2.5f), two = Vec::fill(2);
    const Vec root = Vec::fill(kRoot), half_root = Vec::fill(kHalfRoot);
    const Vec even_near = in[4] - two * in[2], odd_near = half_root * in[3] - root * in[1];
    const Vec even_far = in[4] - half * in[2], odd_far = root * in[3] - half_root * in[1];
    out[0] = in[0] + in[4] - two_and_half * in[2];
    out[1] = even_near + odd_near;
    out[2] = even_near - odd_near;
    out[3] = even_far + odd_far;
    out[4] = even_far - odd_far;
    out[5] = in[1] + in[5] - two_and_half * in[3];
}

// The horizontal transform of a finished row of the vertical one.
inline __attribute__((always_inline)) void store_points(const Vec (&row)[kWindow], float* to) {
    Vec out[kWindow];
    transform_input(row, out);
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) out[x].store(to + x * kChannelStep);
}

// out = A^T in
inline __attribute__((always_inline)) void transform_output(const Vec (&in)[kWindow], Vec (&out)[kTile]) {
    const Vec near_sum = in[1] + in[2], near_difference = in[1] - in[2];
    const Vec far_sum = in[3] + in[4], far_difference = in[3] - in[4];
    out[0] = in[0] + near_sum + far_sum;
    out[1] = fma(Vec::fill(kHalfRoot), near_difference, Vec::fill(kRoot) * far_difference);
    out[2] = fma(Vec::fill(0.5f), near_sum, Vec::fill(2) * far_sum);
    out[3] = fma(Vec::fill(kQuarterRoot), near_difference, fma(Vec::fill(2 * kRoot), far_difference, in[5]));
}

// Where a tile lies.
struct Corner {
    int image, row, column;  // of the tile's first pixel
    std::ptrdiff_t window;   // the window's first pixel in the canvas

    Corner(const Geometry& geometry, int tile) {
        const int per_image = geometry.tile_rows * geometry.tile_columns, inside = tile % per_image;
        image = tile / per_image;
        row = inside / geometry.tile_columns * kTile;
        column = inside % geometry.tile_columns * kTile;
        window = image * geometry.plane + row * geometry.row + column;
    }
};

// A vector of a window. pixel, row: floats to the next ones.
struct Window {
    const float* first;
    std::ptrdiff_t pixel, row;

    Vec at(int y, int x) const { return Vec::load(first + y * row + x * pixel); }
};

// Two rows of the transformed window, from the even and the odd rows of the window: even + odd, and even - odd.
inline __attribute__((always_inline)) void load_pair(
    const Window& window, float by_second, float by_third, float by_first, float* to) {
    Vec sum[kWindow], difference[kWindow];
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) {
        const Vec even = window.at(4, x) - Vec::fill(by_second) * window.at(2, x);
        const Vec odd = Vec::fill(by_third) * window.at(3, x) - Vec::fill(by_first) * window.at(1, x);
        sum[x] = even + odd;
        difference[x] = even - odd;
    }
    store_points(sum, to);
    store_points(difference, to + kWindow * kChannelStep);
}

// B^T window B of one vector of channels, two rows at a time: all six would not fit into the registers.
inline void load_points(const Window& window, float* to) {
    constexpr int line = kWindow * kChannelStep;
    Vec top[kWindow], bottom[kWindow];
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) {
        top[x] = window.at(0, x) + window.at(4, x) - Vec::fill(2.5f) * window.at(2, x);
        bottom[x] = window.at(1, x) + window.at(5, x) - Vec::fill(2.5f) * window.at(3, x);
    }
    store_points(top, to);
    store_points(bottom, to + 5 * line);
    load_pair(window, 2, kHalfRoot, kRoot, to + line);
    load_pair(window, 0.5f, kRoot, kHalfRoot, to + 3 * line);
}

// Tiles between the one that is transformed and the one whose features are asked for: windows lie far apart in memory,
// and the processor does not see them coming.
constexpr int kAhead = 4;

// Ask for a line of channels of a window, without the two columns that it usually shares with the tile before.
inline void ask_for(const float* window, std::ptrdiff_t pixel, std::ptrdiff_t row) {
#pragma GCC unroll 6
    for (int y = 0; y < kWindow; ++y) {
#pragma GCC unroll 4
        for (int x = kWindow - kTile; x < kWindow; ++x) __builtin_prefetch(window + y * row + x * pixel);
    }
}

// B^T window B of some tiles, all channels, as scratch holds them (`adadsr::tile_step`).
inline void load_tiles(const Job& job, const std::int32_t* tiles, int count, float* scratch) {
    const std::ptrdiff_t row = job.geometry.row * job.depth, step = adadsr::tile_step(job.depth);
    for (int i = 0; i < count; ++i) {
        const int later = i + kAhead < count ? i + kAhead : count - 1;
        const float* window = job.source + Corner(job.geometry, tiles[i]).window * job.depth;
        const float* ahead = job.source + Corner(job.geometry, tiles[later]).window * job.depth;
        for (int channel = 0; channel < job.depth; channel += Vec::width) {
            if (channel % kChannelStep == 0) ask_for(ahead + channel, job.depth, row);
            load_points({window + channel, job.depth, row}, scratch + i * step + adadsr::tile_place(channel));
        }
    }
}

// Gates of the pixels of a tile, 0 where nothing is stored.
struct TileGates {
    float weight[kTilePixels];
    bool stored[kTilePixels];

    TileGates(const Job& job, int tile, const Corner& corner) {
        const Geometry& g = job.geometry;
        const Store& store = job.store;
        for (int i = 0; i < kTilePixels; ++i) {
            const int y = corner.row + i / kTile, x = corner.column + i % kTile;
            weight[i] = 1;
            stored[i] = y < g.height && x < g.width;
            if (!store.depths || !stored[i]) continue;
            const std::ptrdiff_t pixel = (static_cast<std::ptrdiff_t>(corner.image) * g.height + y) * g.width + x;
            weight[i] = gate(store.depths[store.depth_side == 1 ? pixel : tile], store.block);
            // What is added to stays untouched where the gate is closed, even by a product that is not finite.
            if (store.plus && weight[i] == 0) stored[i] = false;
        }
    }
};

// A^T products A of one vector of channels.
inline void sum_points(const float* from, Vec (&tile)[kTile][kTile]) {
    Vec half[kTile][kWindow];
    for (int x = 0; x < kWindow; ++x) {
        Vec in[kWindow], out[kTile];
        for (int y = 0; y < kWindow; ++y) in[y] = Vec::load(from + (y * kWindow + x) * kChannelStep);
        transform_output(in, out);
        for (int y = 0; y < kTile; ++y) half[y][x] = out[y];
    }
    for (int y = 0; y < kTile; ++y) transform_output(half[y], tile[y]);
}

// The sums of one tile, all channels, into the canvas.
inline void store_tile(const Job& job, int tile, const float* from) {
    const Store& store = job.store;
    const Corner corner(job.geometry, tile);
    const TileGates gates(job, tile, corner);
    const int factor = store.factor;
    for (int part = 0; part < factor * factor; ++part) {
        const std::ptrdiff_t row = corner.row * factor + part / factor + 1;
        const std::ptrdiff_t first = corner.image * store.plane + row * store.row + corner.column * factor + part % factor + 1;
        for (int channel = 0; channel < store.pitch; channel += Vec::width) {
            const int among = part * store.pitch + channel;
            Vec sums[kTile][kTile];
            sum_points(from + adadsr::tile_place(among), sums);
            for (int i = 0; i < kTilePixels; ++i) {
                const int y = i / kTile, x = i % kTile;
                const std::ptrdiff_t at = (first + (y * store.row + x) * factor) * store.pitch + channel;
                if (gates.stored[i]) finish(store, sums[y][x], among, at, gates.weight[i]);
            }
        }
    }
}

// One panel of one of the points of some tiles: `to` = or, with Add, += (tiles x depth) * weights. Tiles lie tile_step apart.
template <bool Add>
inline void multiply_panel(const Job& job, const float* weights, int depth, int tiles, const float* from, float* to) {
    constexpr int rows = Vec::tile_rows, few = Vec::few_rows;
    const std::ptrdiff_t step = adadsr::tile_step(job.depth), to_step = adadsr::tile_step(job.panels * kPanel);
    int tile = 0;
    for (; tile + rows <= tiles; tile += rows) {
        multiply_even<rows, Add>(from + tile * step, step, weights, depth, to + tile * to_step, to_step);
    }
    if (tile < tiles) multiply_even<few, Add>(from + tile * step, step, weights, depth, to + tile * to_step, to_step);
}

// One of the points of some tiles: (tiles x depth) * (depth x panels).
inline void multiply_point(const Job& job, const float* weights, int tiles, const float* from, float* to) {
    for (int panel = 0; panel < job.panels; ++panel) {
        float* sums = to + adadsr::tile_place(panel * kPanel);
        for (int channel = 0; channel < job.depth; channel += kSummed) {
            const int depth = job.depth - channel < kSummed ? job.depth - channel : kSummed;
            const float* part = from + adadsr::tile_place(channel);
            if (channel == 0) {
                multiply_panel<false>(job, weights, depth, tiles, part, sums);
            } else {
                multiply_panel<true>(job, weights, depth, tiles, part, sums);
            }
            weights += static_cast<std::ptrdiff_t>(depth) * kPanel;
        }
    }
}

void conv_tiles(const Job& job, int first, int count, float* scratch) {
    constexpr int few = Vec::few_rows;
    const int tiles = (count + few - 1) / few * few;
    float* products = scratch + tiles * adadsr::tile_step(job.depth);
    load_tiles(job, job.positions + first, count, scratch);
    for (int point = 0; point < kPoints; ++point) {
        const float* weights = job.weights + static_cast<std::ptrdiff_t>(point) * job.depth * job.panels * kPanel;
        multiply_point(job, weights, tiles, scratch + point * kChannelStep, products + point * kChannelStep);
    }
    const std::ptrdiff_t step = adadsr::tile_step(job.panels * kPanel);
    for (int i = 0; i < count; ++i) store_tile(job, job.positions[first + i], products + i * step);
}

}  // namespace
