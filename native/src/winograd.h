// 3x3 convs of 4x4 tiles by Winograd's F(4x4, 3x3) with the points 0, +-sqrt(1/2), +-sqrt(2) and infinity:
//     tile = A^T [ sum over channels of (G g G^T) * (B^T window B) ] A,   36 products a channel pair instead of 144.
// tests/test_native.py has the three matrices and the definition; `TileWeights` applies G when it packs.
#pragma once

#include "microkernel.h"

namespace {

using adadsr::Geometry;
using adadsr::kPoints;
using adadsr::kTile;
using adadsr::kTilePixels;
using adadsr::kWindow;

constexpr float kRoot = 1.41421356237309505f, kHalfRoot = kRoot / 2, kQuarterRoot = kRoot / 4;

// out = B^T in
inline void transform_input(const Vec (&in)[kWindow], Vec (&out)[kWindow]) {
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

// out = A^T in
inline void transform_output(const Vec (&in)[kWindow], Vec (&out)[kTile]) {
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

// B^T window B of one tile, all channels: point p goes to to[p * step].
inline void load_tile(const Job& job, int tile, float* to, std::ptrdiff_t step) {
    const float* window = job.source + Corner(job.geometry, tile).window * job.depth;
    const std::ptrdiff_t row = job.geometry.row * job.depth;
    for (int channel = 0; channel < job.depth; channel += Vec::width) {
        Vec half[kWindow][kWindow];
        for (int x = 0; x < kWindow; ++x) {
            Vec in[kWindow], out[kWindow];
            for (int y = 0; y < kWindow; ++y) in[y] = Vec::load(window + y * row + x * job.depth + channel);
            transform_input(in, out);
            for (int y = 0; y < kWindow; ++y) half[y][x] = out[y];
        }
        for (int y = 0; y < kWindow; ++y) {
            Vec out[kWindow];
            transform_input(half[y], out);
            for (int x = 0; x < kWindow; ++x) out[x].store(to + (y * kWindow + x) * step + channel);
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

// A^T products A of one vector of channels: point p comes from from[p * step].
inline void sum_points(const float* from, std::ptrdiff_t step, Vec (&tile)[kTile][kTile]) {
    Vec half[kTile][kWindow];
    for (int x = 0; x < kWindow; ++x) {
        Vec in[kWindow], out[kTile];
        for (int y = 0; y < kWindow; ++y) in[y] = Vec::load(from + (y * kWindow + x) * step);
        transform_output(in, out);
        for (int y = 0; y < kTile; ++y) half[y][x] = out[y];
    }
    for (int y = 0; y < kTile; ++y) transform_output(half[y], tile[y]);
}

// The sums of one tile, all channels, into the canvas.
inline void store_tile(const Job& job, int tile, const float* from, std::ptrdiff_t step) {
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
            sum_points(from + among, step, sums);
            for (int i = 0; i < kTilePixels; ++i) {
                const int y = i / kTile, x = i % kTile;
                const std::ptrdiff_t at = (first + (y * store.row + x) * factor) * store.pitch + channel;
                if (gates.stored[i]) finish(store, sums[y][x], among, at, gates.weight[i]);
            }
        }
    }
}

// to = from * weights for one of the points: (tiles x depth) * (depth x panels).
inline void multiply_point(const Job& job, const float* weights, int tiles, const float* from, float* to) {
    constexpr int rows = Vec::tile_rows;
    for (int panel = 0; panel < job.panels; ++panel) {
        for (int tile = 0; tile < tiles; tile += rows) {
            Vec sums[rows][2];
            for (auto& sum : sums) sum[0] = sum[1] = Vec::fill(0);
            multiply_add<rows>(EvenRows<rows>(from + tile * job.depth, job.depth), weights, job.depth, sums);
            float* out = to + static_cast<std::ptrdiff_t>(tile) * job.panels * kPanel + panel * kPanel;
            for (int r = 0; r < rows; ++r, out += job.panels * kPanel) {
                sums[r][0].store(out);
                sums[r][1].store(out + Vec::width);
            }
        }
        weights += static_cast<std::ptrdiff_t>(job.depth) * kPanel;
    }
}

void conv_tiles(const Job& job, int first, int count, float* scratch) {
    const int tiles = (count + Vec::tile_rows - 1) / Vec::tile_rows * Vec::tile_rows;
    const int outputs = job.panels * kPanel;
    const std::ptrdiff_t in_step = adadsr::point_step(tiles, job.depth), out_step = adadsr::point_step(tiles, outputs);
    float* products = scratch + kPoints * in_step;
    for (int i = 0; i < count; ++i) load_tile(job, job.positions[first + i], scratch + i * job.depth, in_step);
    for (int point = 0; point < kPoints; ++point) {
        const float* weights = job.weights + static_cast<std::ptrdiff_t>(point) * job.depth * outputs;
        multiply_point(job, weights, tiles, scratch + point * in_step, products + point * out_step);
    }
    for (int i = 0; i < count; ++i) store_tile(job, job.positions[first + i], products + i * outputs, out_step);
}

}  // namespace
