// Products of Winograd's points in AMX, whose registers multiply matrices of bfloat16 and sum in
// float32. A float32 is the sum of three bfloat16 numbers of 8 significant bits each. Of the nine
// products of two such sums the three smallest are left out, below 2^-22 of the whole: the other
// six are about as exact as one of float32, and take less time.
#pragma once

#include <immintrin.h>

#include "amx_registers.h"
#include "winograd.h"

namespace adadsr {
namespace {

ADADSR_INLINE __m512i bits(Vec x) { return _mm512_castps_si512(x.lanes); }

// x cut to bfloat16, towards zero.
ADADSR_INLINE Vec cut(Vec x) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm512_castsi512_ps(_mm512_and_si512(bits(x), upper))};
}

// Splits two vectors of channels. to: their three parts; in each, lanes of the two vectors
// alternate.
ADADSR_INLINE void split(const float* first, const float* second, float* to) {
    Vec low = Vec::load(first), high = Vec::load(second);
#pragma GCC unroll 3
    for (int part = 0; part < kSplitParts; ++part, to += kSplitStep / 2) {
        const Vec low_part = cut(low), high_part = cut(high);
        const __m512i shifted = _mm512_srli_epi32(bits(low), 16);
        _mm512_store_si512(to, _mm512_or_si512(bits(high_part), shifted));
        low = low - low_part;
        high = high - high_part;
    }
}

// A tile's points in scratch, as `split_step` says.
class SplitPoints {
public:
    static constexpr int step = kSplitParts * kSplitStep / 2;  // floats from one point to the next

    SplitPoints(float* tile, int points) : tile_(tile), points_(points) {}
    float* of(int channel) { return floats_[channel / Vec::width % 2]; }
    void finish(int channel) {
        if (channel / Vec::width % 2 == 0) return;
        float* to = tile_ + static_cast<std::ptrdiff_t>(channel / kSplitStep) * points_ * step;
        for (int i = 0; i < points_ * Vec::width; i += Vec::width, to += step) {
            split(floats_[0] + i, floats_[1] + i, to);
        }
    }

private:
    float* tile_;
    int points_;
    alignas(64) float floats_[2][kPoints * Vec::width];  // points of two vectors, before the split
};

// Loads one part of the windows of 32 tiles. step: floats from tile to tile.
ADADSR_INLINE void load_part(const float* windows, std::ptrdiff_t step) {
    const auto bytes = static_cast<std::ptrdiff_t>(step * sizeof(float));
    _tile_loadd(4, windows, bytes);
    _tile_loadd(5, windows + kRegisterRows * step, bytes);
}

// Adds the products of the loaded windows and one part of a panel's weights.
ADADSR_INLINE void add_products(const float* weights) {
    _tile_loadd(6, weights, kRowBytes);
    _tile_loadd(7, weights + kRegisterFloats, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

// Products of windows and weights in three parts.
struct SplitProducts {
    using Points = SplitPoints;
    static constexpr int min_tiles = 2 * kRegisterRows;

    // Floats from tile to tile in scratch.
    static std::ptrdiff_t step(const ConvJob& job) { return split_step(job.k, job.points); }

    // Floats of the weights of one panel of one point.
    static std::ptrdiff_t panel_size(int channels) {
        return static_cast<std::ptrdiff_t>(channels) * kPanel * kSplitParts / 2;
    }
    // These weights; panels follow each other.
    static const float* panel(const ConvJob& job, int number) {
        return job.weights + number * panel_size(job.k);
    }

    // One panel of one point of `min_tiles` tiles: to = from * weights, or += with Add, summed over
    // k channels. from_step: floats from tile to tile.
    template <bool Add>
    static void multiply_part(
        const ConvJob& job, const float* weights, int k, const float* from,
        std::ptrdiff_t from_step, float* to) {
        static_assert(kPanel == 2 * kRegisterRows, "two registers hold a panel");
        constexpr int part = kSplitStep / 2, weight_part = 2 * kRegisterFloats;
        const std::ptrdiff_t to_step = tile_step(job.group * kPanel);
        const auto to_bytes = static_cast<std::ptrdiff_t>(to_step * sizeof(float));
        float *right = to + tile_offset(Vec::width), *second = to + kRegisterRows * to_step;
        float* second_right = second + tile_offset(Vec::width);
        // GCC does not know that `_tile_loadd` reads memory: windows have to be written by now.
        __asm__ volatile("" ::: "memory");
        if (Add) {
            _tile_loadd(0, to, to_bytes);
            _tile_loadd(1, right, to_bytes);
            _tile_loadd(2, second, to_bytes);
            _tile_loadd(3, second_right, to_bytes);
        } else {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        }
        for (int channel = 0; channel < k; channel += kSplitStep) {
            load_part(from + 2 * part, from_step);
            add_products(weights);
            load_part(from + part, from_step);
            add_products(weights + weight_part);
            add_products(weights);
            load_part(from, from_step);
            add_products(weights + 2 * weight_part);
            add_products(weights + weight_part);
            add_products(weights);
            from += static_cast<std::ptrdiff_t>(job.points) * Points::step;
            weights += kSplitParts * weight_part;
        }
        _tile_stored(0, to, to_bytes);
        _tile_stored(1, right, to_bytes);
        _tile_stored(2, second, to_bytes);
        _tile_stored(3, second_right, to_bytes);
    }

    // One panel of one point of `min_tiles` tiles: to = from * weights.
    static void multiply(
        const ConvJob& job, const float* weights, int tiles, const float* from, float* to) {
        assert(tiles == min_tiles && job.k % kSplitStep == 0);
        multiply_part<false>(job, weights, job.k, from, step(job), to);
    }
};

// As `conv_tiles_by`, for weights in chunks. The windows of a chunk take less scratch than those of
// all channels, and so leave the cache to the weights; the sums of few outputs cost little to read
// again.
void conv_chunks(const ConvJob& job, int first, int count, float* scratch) {
    using Products = SplitProducts;
    assert(0 < count && count <= Products::min_tiles && scratch && fits(job));
    assert(job.k % kSplitStep == 0 && job.points == kPoints && job.group == job.panels);
    const std::int32_t* numbers = job.positions + first;
    const std::ptrdiff_t from_step = split_step(kSplitChunk, kPoints);
    float* products = scratch + Products::min_tiles * from_step;
    const float* weights = job.weights;
    for (int begin = 0; begin < job.k; begin += kSplitChunk) {
        const int k = job.k - begin < kSplitChunk ? job.k - begin : kSplitChunk;
        const int from_channel = job.begin + begin;
        load_tiles<Products::Points>(
            job, numbers, count, from_channel, from_channel + k, -1, from_step, scratch);
        for (int number = 0; number < kPoints * job.panels; ++number) {
            const int point = number / job.panels, panel = number % job.panels;
            const float* from = scratch + point * Products::Points::step;
            float* to = products + point * kChannelStep + tile_offset(panel * kPanel);
            if (job.is_zero[number]) {
                if (!begin) clear_panel(job, Products::min_tiles, to);
            } else if (begin) {
                Products::multiply_part<true>(job, weights, k, from, from_step, to);
            } else {
                Products::multiply_part<false>(job, weights, k, from, from_step, to);
            }
            weights += Products::panel_size(k);
        }
    }
    store_panels(job, numbers, count, 0, job.panels, products);
}

}  // namespace
}  // namespace adadsr
