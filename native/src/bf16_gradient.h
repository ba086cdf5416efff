// The gradient of the weights of 3x3 convs in AMX. Its products sum over pixels, so a pair of
// pixels takes the place that a pair of channels has in a conv.
#pragma once

#include "bf16_kernels.h"

namespace adadsr {
namespace {

constexpr int kPixelPairs = kTilePixels / 2;

// Pairs of neighbouring pixels of the windows of a group of tiles: [channel / 16][pixel][tile]
// [16 channels], a pair of the pixel and the one to its right in a float's place.
inline void load_pixel_pairs(
    const GradientJob& job, const std::int32_t* tiles, int count, float* to) {
    const int channels = bf16_channels(job.in_pitch), pitch = job.bf16_pitch;
    const std::ptrdiff_t row = job.geometry.row * pitch;
    for (int i = 0; i < kRegisterRows; ++i, to += kChannelStep) {
        // Missing tiles repeat the last one: their gradients are zero, and these must be finite.
        const std::int32_t tile = tiles[i < count ? i : count - 1];
        const std::uint16_t* window = job.bf16 + Corner(job.geometry, tile).window * pitch;
        for (int channel = 0; channel < channels; channel += kChannelStep) {
            float* line = to + channel / kChannelStep * kPoints * kRegisterStep;
            for (int y = 0; y < kWindow; ++y) {
                const std::uint16_t* from = window + y * row + channel;
                __m512i left = widened(from);
                for (int x = 0; x + 1 < kWindow; ++x) {
                    const __m512i right = widened(from + (x + 1) * pitch);
                    store_line(paired(left, right), line + (y * kWindow + x) * kRegisterStep);
                    left = right;
                }
            }
        }
    }
}

// Gradients of a group of tiles in pairs of pixels: [pair][channel][tile]; and each tile's total.
inline void load_gradient_pairs(
    const GradientJob& job, const std::int32_t* tiles, int count, float* to, float* totals) {
    const int channels = bf16_channels(job.out_pitch), pitch = job.out_pitch;
    const std::ptrdiff_t row = job.geometry.row * pitch;
    alignas(64) float pairs[kPixelPairs][kRegisterFloats];
    for (int channel = 0; channel < channels; channel += kChannelStep) {
        for (int i = 0; i < kRegisterRows; ++i) {
            if (i >= count || channel >= pitch) {
                for (auto& pair : pairs) Vec::fill(0).store(pair + i * kChannelStep);
                continue;
            }
            const float* tile = job.gradient + row + pitch +
                                Corner(job.geometry, tiles[i]).window * pitch + channel;
            Vec sum = Vec::fill(0);
            for (int p = 0; p < kPixelPairs; ++p) {
                const float* from = tile + p / 2 * row + p % 2 * 2 * pitch;
                const Vec left = Vec::load(from), right = Vec::load(from + pitch);
                sum = sum + (left + right);
                store_line(paired(rounded(left), rounded(right)), pairs[p] + i * kChannelStep);
            }
            sum.store(totals + static_cast<std::ptrdiff_t>(i) * pitch + channel);
        }
        for (int p = 0; p < kPixelPairs; ++p) {
            transpose(pairs[p], to + (p * channels + channel) * kRegisterRows);
        }
    }
}

void load_gradients_bf16(
    const GradientJob& job, int first, int count, float* windows, float* gradients, float* totals) {
    assert(count > 0 && count <= kRegisterRows);
    load_pixel_pairs(job, job.tiles + first, count, windows);
    load_gradient_pairs(job, job.tiles + first, count, gradients, totals);
}

// Adds a part of the products of some groups of tiles: those of one tap, 32 out channels and 32 in
// channels. sums: of the part, four registers: [out / 16][in / 16][out % 16][in % 16].
void multiply_gradients_bf16(
    const GradientJob& job, int groups, int part, const float* windows, const float* gradients,
    float* sums) {
    const int in = bf16_channels(job.in_pitch), out = bf16_channels(job.out_pitch);
    const int tap = part % kTaps, panel = part / kTaps;
    const int in_block = panel % (in / kPanel) * kPanel, out_block = panel / (in / kPanel) * kPanel;
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&kRegisterShape);
    _tile_loadd(0, sums, kRowBytes);
    _tile_loadd(1, sums + kRegisterFloats, kRowBytes);
    _tile_loadd(2, sums + 2 * kRegisterFloats, kRowBytes);
    _tile_loadd(3, sums + 3 * kRegisterFloats, kRowBytes);
    for (int group = 0; group < groups; ++group) {
        const float* window =
            windows + (group * in + in_block) / kChannelStep * kPoints * kRegisterStep;
        const float* gradient = gradients + (group * kPixelPairs * out + out_block) * kRegisterRows;
        for (int p = 0; p < kPixelPairs; ++p, gradient += out * kRegisterRows) {
            const int pixel = (p / 2 + tap / 3) * kWindow + p % 2 * 2 + tap % 3;
            const float* from = window + pixel * kRegisterStep;
            _tile_loadd(4, gradient, kRowBytes);
            _tile_loadd(5, gradient + kRegisterFloats, kRowBytes);
            _tile_loadd(6, from, kRowBytes);
            _tile_loadd(7, from + kPoints * kRegisterStep, kRowBytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, kRowBytes);
    _tile_stored(1, sums + kRegisterFloats, kRowBytes);
    _tile_stored(2, sums + 2 * kRegisterFloats, kRowBytes);
    _tile_stored(3, sums + 3 * kRegisterFloats, kRowBytes);
    _tile_release();
    __asm__ volatile("" ::: "memory");
}

}  // namespace
}  // namespace adadsr
