// `upsample` in AMX: pixels and weights in three parts, as in split_products.h.
#pragma once

#include "split_products.h"
#include "upsample.h"

namespace adadsr {
namespace {

constexpr int kSplitPixels = 2 * kRegisterRows;  // of a row that are computed together
constexpr int kSplitPixelFloats = kSplitParts * kSplitStep / 2;    // of 32 channels of a pixel
constexpr int kSplitWeightFloats = kSplitParts * kRegisterFloats;  // of 32 channels and 16 outputs

// Splits the pixels of a row. to: [pixel][channel / 32][part][32 channels].
inline void split_pixels(const float* from, int pixels, int channels, float* to) {
    for (int i = 0; i < pixels * channels; i += kSplitStep, to += kSplitPixelFloats) {
        split(from + i, from + i + Vec::width, to);
    }
}

// Loads one part of the weights of 16 outputs, or of 32: those of the next panel lie `step` floats
// further on.
template <int Panels>
ADADSR_INLINE void load_weights(const float* weights, std::ptrdiff_t step) {
    _tile_loadd(6, weights, kRowBytes);
    if constexpr (Panels == 2) _tile_loadd(7, weights + step, kRowBytes);
}

// Adds the products of one part of the pixels and the loaded weights.
template <int Panels>
ADADSR_INLINE void add_pixels(const float* pixels, std::ptrdiff_t step) {
    load_part(pixels, step);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (Panels == 2) {
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
}

// Sums over the five taps of a row and all channels, of 32 pixels and one panel or two.
// to: [pixel][16 or 32 outputs].
template <int Panels>
inline void sum_taps(
    const float* pixels, const float* weights, std::ptrdiff_t panel, int channels, float* to) {
    const int blocks = channels / kSplitStep;
    const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(blocks) * kSplitPixelFloats;
    constexpr int part = kSplitStep / 2, part_weights = kRegisterFloats;
    // GCC does not know that `_tile_loadd` reads memory: pixels have to be written by now.
    __asm__ volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < kUpsampleSide * blocks; ++i) {
        load_weights<Panels>(weights + 2 * part_weights, panel);
        add_pixels<Panels>(pixels, step);
        load_weights<Panels>(weights + part_weights, panel);
        add_pixels<Panels>(pixels + part, step);
        add_pixels<Panels>(pixels, step);
        load_weights<Panels>(weights, panel);
        add_pixels<Panels>(pixels + 2 * part, step);
        add_pixels<Panels>(pixels + part, step);
        add_pixels<Panels>(pixels, step);
        pixels += kSplitPixelFloats;
        weights += kSplitWeightFloats;
    }
    constexpr int bytes = Panels * kRowBytes, second = Panels * kRegisterFloats;
    _tile_stored(0, to, bytes);
    _tile_stored(2, to + second, bytes);
    if constexpr (Panels == 2) {
        _tile_stored(1, to + Vec::width, bytes);
        _tile_stored(3, to + second + Vec::width, bytes);
    }
}

// Sums of 32 pixels and up to 32 outputs, as `sum_taps` stores them.
struct SplitSums {
    alignas(64) float of[4 * kRegisterFloats];
};

// totals = the sums of one panel or two, over the taps of the first row; += for later rows.
template <int Panels>
inline void add_row(
    const float* pixels, const float* weights, std::ptrdiff_t panel, int channels, bool is_first,
    SplitSums& totals) {
    if (is_first) return sum_taps<Panels>(pixels, weights, panel, channels, totals.of);
    SplitSums sums;
    sum_taps<Panels>(pixels, weights, panel, channels, sums.of);
    for (int i = 0; i < 2 * Panels * kRegisterFloats; i += Vec::width) {
        (Vec::load(totals.of + i) + Vec::load(sums.of + i)).store(totals.of + i);
    }
}

// Stores the outputs of one panel or two. pixels: how many, the first of them at (row, column).
template <int Panels>
inline void store_panels(
    const UpsampleJob& job, float* image, int row, int column, int pixels, int panel,
    const SplitSums& totals) {
    const OutputOffsets<Panels> offsets(job, row, column, panel * job.panel);
    const float* from = totals.of;
    for (int p = 0; p < pixels; ++p, image += offsets.step) {
        Vec sums[Panels];
        for (Vec& sum : sums) {
            sum = Vec::load(from);
            from += Vec::width;
        }
        offsets.put(sums, image);
    }
}

void upsample_split(const UpsampleJob& job, int image, int row, int first, int last) {
    assert(image >= 0 && image < job.geometry.batch && row >= 0 && row < job.geometry.height);
    assert(first >= 0 && first < last && last <= job.geometry.width);
    assert(job.panel == Vec::width && job.panels * job.panel <= kMostSplitOutputs);
    assert(job.in_pitch % kSplitStep == 0 && job.in_pitch <= kMostSplitChannels);
    constexpr int window = kSplitPixels + kUpsampleSide - 1;
    alignas(64) float parts[window * kMostSplitChannels / kSplitStep * kSplitPixelFloats];
    SplitSums totals[kMostSplitOutputs / (2 * Vec::width)];
    const Geometry& g = job.geometry;
    const int channels = job.in_pitch, blocks = channels / kSplitStep;
    const std::ptrdiff_t taps =
        static_cast<std::ptrdiff_t>(kUpsampleSide) * blocks * kSplitWeightFloats;
    const std::ptrdiff_t panel = kUpsampleSide * taps;
    _tile_loadconfig(&kRegisterShape);
    for (int column = first; column < last; column += kSplitPixels) {
        const int pixels = last - column < kSplitPixels ? last - column : kSplitPixels;
        const std::ptrdiff_t corner = image * g.plane + (row - 1) * g.row + column - 1;
        for (int y = 0; y < kUpsampleSide; ++y) {
            const float* from = job.source + (corner + y * g.row) * channels;
            split_pixels(from, pixels + kUpsampleSide - 1, channels, parts);
            const float* weights = job.weights + y * taps;
            for (int i = 0; i < job.panels; i += 2, weights += 2 * panel) {
                const auto add = i + 1 < job.panels ? add_row<2> : add_row<1>;
                add(parts, weights, panel, channels, y == 0, totals[i / 2]);
            }
        }
        float* to = job.out + image * job.image_stride;
        for (int i = 0; i < job.panels; i += 2) {
            const auto store = i + 1 < job.panels ? store_panels<2> : store_panels<1>;
            store(job, to, row, column, pixels, i, totals[i / 2]);
        }
    }
    _tile_release();
}

}  // namespace
}  // namespace adadsr
