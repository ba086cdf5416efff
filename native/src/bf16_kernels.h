// Direct 3x3 convs and the gradients of their weights in AMX, whose registers multiply matrices of
// bfloat16 and sum in float32: factors are rounded to 8 significant bits. A direct sum takes four
// times the products of Winograd's algorithm, which AMX makes up for, and errs less: a transform of
// such factors would magnify their rounding.
#pragma once

#include <immintrin.h>

#include "amx_registers.h"
#include "winograd.h"

namespace adadsr {
namespace {

constexpr int kPairRows = kRegisterRows;  // pairs of channels of a register
constexpr int kBlocksOfPanel = 2;         // registers of 16 channels that make a panel
constexpr int kPixelPairs = kTilePixels / 2;

ADADSR_INLINE __m512i load_line(const float* from) { return _mm512_load_si512(from); }
ADADSR_INLINE void store_line(__m512i line, float* to) { _mm512_store_si512(to, line); }

// Sixteen floats as bfloat16, each in the lower half of 32 bits.
ADADSR_INLINE __m512i rounded(Vec x) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.lanes));
}

// bfloat16 numbers of `first` and `second`, alternating.
ADADSR_INLINE __m512i paired(__m512i first, __m512i second) {
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

// 32 channels as bfloat16 in their order; channels from `count` on are zero.
ADADSR_INLINE __m512i line_of(const float* from, int count) {
    const auto part = [&](int begin) {
        const int left = count - begin;
        const __mmask16 some = left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1;
        return _mm512_maskz_loadu_ps(some, from + begin);
    };
    return (__m512i)_mm512_cvtne2ps_pbh(part(16), part(0));
}

// A matrix of 16x16 numbers of 32 bits, transposed. from_step: floats from row to row.
inline void transpose(const float* from, std::ptrdiff_t from_step, float* to) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = load_line(from + i * from_step);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // Part 0 .. 3 of a[4 * i + c] is now column 4 * part + c of the rows 4 * i ...
    for (int c = 0; c < 4; ++c) {
        const __m512i even_top = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
        const __m512i odd_top = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
        const __m512i even_bottom = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
        const __m512i odd_bottom = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
        store_line(_mm512_shuffle_i32x4(even_top, even_bottom, 0x88), to + 16 * c);
        store_line(_mm512_shuffle_i32x4(odd_top, odd_bottom, 0x88), to + 16 * (4 + c));
        store_line(_mm512_shuffle_i32x4(even_top, even_bottom, 0xdd), to + 16 * (8 + c));
        store_line(_mm512_shuffle_i32x4(odd_top, odd_bottom, 0xdd), to + 16 * (12 + c));
    }
}

// Weights as `TileWeights` says. weight: (out, 3, 3, in), or with adjoint (in, 3, 3, out), from
// which the gradient of a conv's input takes its flipped and transposed ones.
void pack_bf16(const float* weight, int in, int out, bool adjoint, float* packed) {
    const std::ptrdiff_t out_step = adjoint ? 1 : static_cast<std::ptrdiff_t>(kTaps) * in;
    const std::ptrdiff_t in_step = adjoint ? static_cast<std::ptrdiff_t>(kTaps) * out : 1;
    alignas(64) float rows[kRegisterFloats];
    for (int block = 0; block < bf16_channels(out); block += kRegisterRows) {
        const int panel = block / kPanel, half = block / kRegisterRows % kBlocksOfPanel;
        const int outs = out - block < kRegisterRows ? out - block : kRegisterRows;
        for (int tap = 0; tap < kTaps; ++tap) {
            const float* from = adjoint ? weight + (kTaps - 1 - tap) * out : weight + tap * in;
            for (int channel = 0; channel < bf16_channels(in); channel += kSplitStep) {
                const int lines = bf16_channels(in) / kSplitStep;
                const int number = (panel * kTaps + tap) * lines + channel / kSplitStep;
                float* to = packed + (kBlocksOfPanel * number + half) * kRegisterFloats;
                if (!adjoint) {
                    for (int o = 0; o < kRegisterRows; ++o) {
                        const float* row = from + (block + o) * out_step + channel;
                        store_line(line_of(row, o < outs ? in - channel : 0), rows + o * 16);
                    }
                    transpose(rows, 16, to);
                    continue;
                }
                const auto row = [&](int i) {
                    const __mmask16 some = channel + i >= in || outs <= 0 ? 0
                                           : outs == kRegisterRows        ? 0xffff
                                                                          : (1u << outs) - 1;
                    return rounded(
                        {_mm512_maskz_loadu_ps(some, from + (channel + i) * in_step + block)});
                };
                for (int pair = 0; pair < kPairRows; ++pair) {
                    store_line(paired(row(2 * pair), row(2 * pair + 1)), to + pair * 16);
                }
            }
        }
    }
}

// Sixteen channels of what a conv reads, which may lie on two canvases; zeros beyond the last.
struct ChannelsOf {
    const float* from;
    int pitch;

    ChannelsOf(const ConvJob& job, int channel) {
        const bool is_first = channel < job.in_pitch;
        pitch = is_first ? job.in_pitch : job.second_pitch;
        from = channel >= job.k ? nullptr
               : is_first       ? job.source + channel
                                : job.second + (channel - job.in_pitch);
    }
    __m512 at(std::ptrdiff_t pixel) const {
        return from ? _mm512_loadu_ps(from + pixel * pitch) : _mm512_setzero_ps();
    }
};

// Rounds the windows of some tiles. scratch: as `bf16_step` says.
inline void load_windows(const ConvJob& job, const std::int32_t* tiles, int count, float* scratch) {
    const int channels = bf16_channels(job.k);
    for (int i = 0; i < count; ++i, scratch += bf16_step(channels)) {
        const std::ptrdiff_t first = Corner(job.geometry, tiles[i]).window;
        float* to = scratch;
        for (int channel = 0; channel < channels; channel += kSplitStep) {
            // Half of a line may be the last of one canvas or the first of the other, or missing.
            const ChannelsOf low(job, channel), high(job, channel + kChannelStep);
            for (int y = 0; y < kWindow; ++y) {
                const std::ptrdiff_t row = first + y * job.geometry.row;
                for (int x = 0; x < kWindow; ++x, to += kChannelStep) {
                    const __m512 right = high.at(row + x), left = low.at(row + x);
                    store_line((__m512i)_mm512_cvtne2ps_pbh(right, left), to);
                }
            }
        }
    }
}

// One panel at one pixel of 32 tiles: to = the sum over taps and channels. is_zero: of the panel's
// first tap; taps follow job.panels apart. is_half: only 16 tiles.
inline void multiply_pixel(
    const ConvJob& job, int pixel, const std::uint8_t* is_zero, bool is_half, const float* weights,
    const float* windows, float* to, std::ptrdiff_t to_step) {
    const int channels = bf16_channels(job.k);
    const std::ptrdiff_t step = bf16_step(channels);
    const auto bytes = static_cast<std::ptrdiff_t>(step * sizeof(float));
    const auto to_bytes = static_cast<std::ptrdiff_t>(to_step * sizeof(float));
    const int corner = pixel / kTile * kWindow + pixel % kTile;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int tap = 0; tap < kTaps; ++tap) {
        if (is_zero[tap * job.panels]) {
            weights += channels * kPanel / 2;
            continue;
        }
        const float* from = windows + (corner + tap / 3 * kWindow + tap % 3) * kChannelStep;
        for (int channel = 0; channel < channels; channel += kSplitStep) {
            _tile_loadd(6, weights, kRowBytes);
            _tile_loadd(7, weights + kRegisterFloats, kRowBytes);
            _tile_loadd(4, from, bytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (!is_half) {
                _tile_loadd(5, from + kRegisterRows * step, bytes);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            weights += kBlocksOfPanel * kRegisterFloats;
            from += kPoints * kChannelStep;
        }
    }
    _tile_stored(0, to, to_bytes);
    _tile_stored(1, to + tile_offset(Vec::width, kTilePixels), to_bytes);
    if (is_half) return;
    to += kRegisterRows * to_step;
    _tile_stored(2, to, to_bytes);
    _tile_stored(3, to + tile_offset(Vec::width, kTilePixels), to_bytes);
}

void conv_tiles_bf16(const ConvJob& job, int first, int count, float* scratch) {
    assert(count > 0 && count <= kBf16Tiles);
    const int channels = bf16_channels(job.k);
    const std::ptrdiff_t step = tile_step(job.panels * kPanel, kTilePixels);
    const std::int32_t* numbers = job.positions + first;
    float* products = scratch + kBf16Tiles * bf16_step(channels);
    load_windows(job, numbers, count, scratch);
    // GCC does not know that `_tile_loadd` reads memory: windows have to be written by now.
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&kRegisterShape);
    const std::ptrdiff_t panel_floats = static_cast<std::ptrdiff_t>(kTaps) * channels * kPanel / 2;
    for (int panel = 0; panel < job.panels; ++panel) {
        for (int pixel = 0; pixel < kTilePixels; ++pixel) {
            multiply_pixel(
                job, pixel, job.is_zero + panel, count <= kRegisterRows,
                job.weights + panel * panel_floats, scratch,
                products + tile_offset(panel * kPanel, kTilePixels) + pixel * kChannelStep, step);
        }
    }
    _tile_release();
    __asm__ volatile("" ::: "memory");
    for (int i = 0; i < count; ++i) {
        const float* tile = products + i * step;
        store_tile(job, numbers[i], 0, packed_channels(job.store), [&](int packed, auto& sums) {
            const float* from = tile + tile_offset(packed, kTilePixels);
            for (int p = 0; p < kTilePixels; ++p) {
                sums[p / kTile][p % kTile] = Vec::load(from + p * kChannelStep);
            }
        });
    }
}

// Pairs of neighbouring pixels of the windows of a group of tiles: [tile][channel / 16][pixel]
// [16 channels], a pair of the pixel and the one to its right in a float's place.
inline void load_pixel_pairs(
    const GradientJob& job, const std::int32_t* tiles, int count, float* to) {
    const int channels = bf16_channels(job.in_pitch);
    const std::ptrdiff_t row = job.geometry.row * job.in_pitch;
    for (int i = 0; i < kRegisterRows; ++i, to += bf16_step(2 * channels)) {
        // Missing tiles repeat the last one: their gradients are zero, and these must be finite.
        const std::int32_t tile = tiles[i < count ? i : count - 1];
        const float* window = job.source + Corner(job.geometry, tile).window * job.in_pitch;
        for (int channel = 0; channel < channels; channel += kChannelStep) {
            float* line = to + channel * kPoints;
            if (channel >= job.in_pitch) {
                for (int p = 0; p < kPoints; ++p) Vec::fill(0).store(line + p * kChannelStep);
                continue;
            }
            for (int y = 0; y < kWindow; ++y) {
                const float* from = window + y * row + channel;
                __m512i left = rounded(Vec::load(from));
                for (int x = 0; x + 1 < kWindow; ++x) {
                    const __m512i right = rounded(Vec::load(from + (x + 1) * job.in_pitch));
                    store_line(paired(left, right), line + (y * kWindow + x) * kChannelStep);
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
            transpose(pairs[p], kChannelStep, to + (p * channels + channel) * kRegisterRows);
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
    const std::ptrdiff_t step = bf16_step(2 * in);
    const auto bytes = static_cast<std::ptrdiff_t>(step * sizeof(float));
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&kRegisterShape);
    _tile_loadd(0, sums, kRowBytes);
    _tile_loadd(1, sums + kRegisterFloats, kRowBytes);
    _tile_loadd(2, sums + 2 * kRegisterFloats, kRowBytes);
    _tile_loadd(3, sums + 3 * kRegisterFloats, kRowBytes);
    for (int group = 0; group < groups; ++group) {
        const float* window = windows + group * kRegisterRows * step + in_block * kPoints;
        const float* gradient = gradients + (group * kPixelPairs * out + out_block) * kRegisterRows;
        for (int p = 0; p < kPixelPairs; ++p, gradient += out * kRegisterRows) {
            const int pixel = (p / 2 + tap / 3) * kWindow + p % 2 * 2 + tap % 3;
            const float* from = window + pixel * kChannelStep;
            _tile_loadd(4, gradient, kRowBytes);
            _tile_loadd(5, gradient + kRegisterFloats, kRowBytes);
            _tile_loadd(6, from, bytes);
            _tile_loadd(7, from + kPoints * kChannelStep, bytes);
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
