// The gradient of a 3x3 conv's weights in the domain of Winograd's F(4x4, 3x3):
//     dg = G^T [ sum over tiles of (A dy A^T) * (B^T window B) ] G
// which takes as many products as the conv itself. And G, vectorised, for weights that change at
// every step.
#pragma once

#include "winograd.h"

namespace adadsr {
namespace {

constexpr float kThirdRoot = kRoot / 3, kSixthRoot = kRoot / 6, kThird = 1.0f / 3,
                kSixth = 1.0f / 6;
// Out channels that are summed together with two vectors of in channels.
constexpr int kGradientRows = Vec::max_rows > 8 ? 8 : 4;

// out = G in
ADADSR_INLINE void transform_weight(const Vec (&in)[3], Vec (&out)[kWindow]) {
    const Vec third = Vec::fill(kThird) * in[2];
    const Vec near_even = Vec::fill(-2 * kThird) * in[0] - third;
    const Vec far_even = fma(Vec::fill(kSixth), in[0], third);
    const Vec near_odd = Vec::fill(kThirdRoot) * in[1], far_odd = Vec::fill(kSixthRoot) * in[1];
    out[0] = in[0];
    out[1] = near_even - near_odd;
    out[2] = near_even + near_odd;
    out[3] = far_even + far_odd;
    out[4] = far_even - far_odd;
    out[5] = in[2];
}

// out = G^T in
ADADSR_INLINE void transform_weight_back(const Vec (&in)[kWindow], Vec (&out)[3]) {
    const Vec near_sum = in[1] + in[2], near_difference = in[2] - in[1];
    const Vec far_sum = in[3] + in[4], far_difference = in[3] - in[4];
    out[0] = fma(Vec::fill(kSixth), far_sum, in[0] - Vec::fill(2 * kThird) * near_sum);
    out[1] = fma(Vec::fill(kThirdRoot), near_difference, Vec::fill(kSixthRoot) * far_difference);
    out[2] = fma(Vec::fill(kThird), far_sum - near_sum, in[5]);
}

// out = A in
ADADSR_INLINE void transform_gradient(const Vec (&in)[kTile], Vec (&out)[kWindow]) {
    const Vec near_even = fma(Vec::fill(0.5f), in[2], in[0]);
    const Vec near_odd = fma(Vec::fill(kQuarterRoot), in[3], Vec::fill(kHalfRoot) * in[1]);
    const Vec far_even = fma(Vec::fill(2), in[2], in[0]);
    const Vec far_odd = fma(Vec::fill(2 * kRoot), in[3], Vec::fill(kRoot) * in[1]);
    out[0] = in[0];
    out[1] = near_even + near_odd;
    out[2] = near_even - near_odd;
    out[3] = far_even + far_odd;
    out[4] = far_even - far_odd;
    out[5] = in[3];
}

void transform_taps(const float* taps, int floats, float* to, std::ptrdiff_t point_step) {
    assert(floats % Vec::width == 0);
    for (int lane = 0; lane < floats; lane += Vec::width) {
        Vec half[kWindow][3];
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x) {
            Vec in[3], out[kWindow];
            for (int y = 0; y < 3; ++y) in[y] = Vec::load(taps + (3 * y + x) * floats + lane);
            transform_weight(in, out);
            for (int y = 0; y < kWindow; ++y) half[y][x] = out[y];
        }
#pragma GCC unroll 6
        for (int y = 0; y < kWindow; ++y) {
            Vec out[kWindow];
            transform_weight(half[y], out);
            for (int x = 0; x < kWindow; ++x) {
                out[x].store(to + (y * kWindow + x) * point_step + lane);
            }
        }
    }
}

void transform_back(const float* sums, std::ptrdiff_t point_step, int floats, float* taps) {
    assert(floats % Vec::width == 0);
    for (int lane = 0; lane < floats; lane += Vec::width) {
        Vec half[3][kWindow];
#pragma GCC unroll 6
        for (int x = 0; x < kWindow; ++x) {
            Vec in[kWindow], out[3];
            for (int y = 0; y < kWindow; ++y) {
                in[y] = Vec::load(sums + (y * kWindow + x) * point_step + lane);
            }
            transform_weight_back(in, out);
            for (int y = 0; y < 3; ++y) half[y][x] = out[y];
        }
#pragma GCC unroll 3
        for (int y = 0; y < 3; ++y) {
            Vec out[3];
            transform_weight_back(half[y], out);
            for (int x = 0; x < 3; ++x) out[x].store(taps + (3 * y + x) * floats + lane);
        }
    }
}

// A tile A^T of one vector of channels, and the tile's total.
inline void load_tile(const Window& tile, float* to, float* total) {
    Vec half[kWindow][kTile], sum = Vec::fill(0);
#pragma GCC unroll 4
    for (int x = 0; x < kTile; ++x) {
        Vec in[kTile], out[kWindow];
        for (int y = 0; y < kTile; ++y) in[y] = tile.at(y, x);
        sum = sum + ((in[0] + in[1]) + (in[2] + in[3]));
        transform_gradient(in, out);
        for (int y = 0; y < kWindow; ++y) half[y][x] = out[y];
    }
    sum.store(total);
#pragma GCC unroll 6
    for (int y = 0; y < kWindow; ++y) {
        Vec out[kWindow];
        transform_gradient(half[y], out);
        for (int x = 0; x < kWindow; ++x) out[x].store(to + (y * kWindow + x) * kChannelStep);
    }
}

void load_gradients(
    const GradientJob& job, int first, int count, float* windows, float* gradients, float* totals) {
    assert(job.in_pitch % kChannelStep == 0 && job.out_pitch % kChannelStep == 0);
    ConvJob conv{};
    conv.geometry = job.geometry;
    conv.source = job.source;
    conv.in_pitch = conv.k = job.in_pitch;
    load_tiles<FloatPoints>(
        conv, job.tiles + first, count, 0, conv.k, -1, tile_step(conv.k), windows);
    const int pixel = job.out_pitch;
    const std::ptrdiff_t row = job.geometry.row * pixel;
    for (int i = 0; i < count; ++i) {
        // A window starts a row and a pixel before its tile.
        const float* tile =
            job.gradient + row + pixel + Corner(job.geometry, job.tiles[first + i]).window * pixel;
        float* to = gradients + i * tile_step(pixel);
        float* total = totals + static_cast<std::ptrdiff_t>(i) * pixel;
        for (int channel = 0; channel < pixel; channel += Vec::width) {
            load_tile({tile + channel, pixel, row}, to + tile_offset(channel), total + channel);
        }
    }
}

// sums[r] += the products of channel r of `gradients` with some vectors of channels of `windows`,
// summed over tiles. Not inlined, so that only its sums claim registers.
template <int Vectors>
__attribute__((noinline)) void add_products(
    const float* windows, std::ptrdiff_t window_step, const float* gradients,
    std::ptrdiff_t gradient_step, int tiles, float* sums, std::ptrdiff_t pitch) {
    constexpr int rows = kGradientRows;
    Vec products[rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) products[r][v] = Vec::fill(0);
    }
    for (int i = 0; i < tiles; ++i, windows += window_step, gradients += gradient_step) {
        Vec in[Vectors];
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) in[v] = Vec::load(windows + tile_offset(v * Vec::width));
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const Vec out = Vec::fill(gradients[r]);
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v) products[r][v] = fma(out, in[v], products[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) {
            float* to = sums + r * pitch + v * Vec::width;
            (Vec::load(to) + products[r][v]).store(to);
        }
    }
}

void multiply_gradients(
    const GradientJob& job, int count, int point, const float* windows, const float* gradients,
    float* sums) {
    const std::ptrdiff_t in_step = tile_step(job.in_pitch), out_step = tile_step(job.out_pitch);
    const float *in = windows + point * kChannelStep, *out = gradients + point * kChannelStep;
    for (int row = 0; row < job.out_pitch; row += kGradientRows) {
        const float* factors = out + tile_offset(row);
        float* to = sums + static_cast<std::ptrdiff_t>(row) * job.in_pitch;
        int channel = 0;
        for (; channel + kPanel <= job.in_pitch; channel += kPanel) {
            add_products<2>(
                in + tile_offset(channel), in_step, factors, out_step, count, to + channel,
                job.in_pitch);
        }
        if (channel < job.in_pitch) {
            add_products<1>(
                in + tile_offset(channel), in_step, factors, out_step, count, to + channel,
                job.in_pitch);
        }
    }
}

}  // namespace
}  // namespace adadsr
