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

constexpr int kBlocksOfPanel = 2;  // registers of 16 channels that make a panel
constexpr int kPixelPairs = kTilePixels / 2;
// Floats from one register's content to the next in scratch. A cache line of padding lies between
// registers: tiles write one line of each, which would otherwise fall into the same cache sets.
constexpr int kRegisterStep = kRegisterFloats + kChannelStep;

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

// The first `count` floats, and zeros after them.
ADADSR_INLINE __m512 load_first(const float* from, int count) {
    const __mmask16 some = count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1;
    return _mm512_maskz_loadu_ps(some, from);
}

// 32 channels as bfloat16 in their order; channels from `count` on are zero.
ADADSR_INLINE __m512i line_of(const float* from, int count) {
    return (__m512i)_mm512_cvtne2ps_pbh(load_first(from + 16, count - 16), load_first(from, count));
}

// A matrix of 16x16 numbers of 32 bits, transposed.
inline void transpose(const float* from, float* to) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = load_line(from + 16 * i);
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
    // Floats from row to row: of out channels, or with adjoint of in channels.
    const std::ptrdiff_t row_step = static_cast<std::ptrdiff_t>(kTaps) * (adjoint ? out : in);
    alignas(64) float rows[kRegisterFloats];
    for (int block = 0; block < bf16_channels(out); block += kRegisterRows) {
        const int panel = block / kPanel, half = block / kRegisterRows % kBlocksOfPanel;
        for (int tap = 0; tap < kTaps; ++tap) {
            const float* from = adjoint ? weight + (kTaps - 1 - tap) * out : weight + tap * in;
            for (int channel = 0; channel < bf16_channels(in); channel += kSplitStep) {
                const int lines = bf16_channels(in) / kSplitStep;
                const int number = (panel * kTaps + tap) * lines + channel / kSplitStep;
                float* to = packed + (kBlocksOfPanel * number + half) * kRegisterFloats;
                if (!adjoint) {
                    for (int o = 0; o < kRegisterRows; ++o) {
                        const float* row = from + (block + o) * row_step + channel;
                        const int count = block + o < out ? in - channel : 0;
                        store_line(line_of(row, count), rows + o * 16);
                    }
                    transpose(rows, to);
                    continue;
                }
                const auto row = [&](int i) {
                    const int count = channel + i < in ? out - block : 0;
                    return rounded({load_first(from + (channel + i) * row_step + block, count)});
                };
                for (int pair = 0; pair < kRegisterRows; ++pair) {
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

// Rounds the windows of some tiles, into what registers hold: [channels / 32][pixel][tile]
// [32 channels].
inline void load_windows(const ConvJob& job, const std::int32_t* tiles, int count, float* scratch) {
    const int channels = bf16_channels(job.k);
    for (int i = 0; i < count; ++i) {
        const std::ptrdiff_t first = Corner(job.geometry, tiles[i]).window;
        float* to = scratch + i * kChannelStep;
        for (int channel = 0; channel < channels; channel += kSplitStep) {
            // Half of a line may be the last of one canvas or the first of the other, or missing.
            const ChannelsOf low(job, channel), high(job, channel + kChannelStep);
            for (int y = 0; y < kWindow; ++y) {
                const std::ptrdiff_t row = first + y * job.geometry.row;
                for (int x = 0; x < kWindow; ++x, to += kRegisterStep) {
                    const __m512 right = high.at(row + x), left = low.at(row + x);
                    store_line((__m512i)_mm512_cvtne2ps_pbh(right, left), to);
                }
            }
        }
    }
}

// Adds to the four pixels of a row, 0 .. 3, what one row of taps makes of 32 channels. window: of
// the row's first pixel. weights: of the first tap; the others follow tap_step floats apart. Each
// column of the window serves three taps.
ADADSR_INLINE void add_taps(const float* window, const float* weights, std::ptrdiff_t tap_step) {
    _tile_loadd(5, weights, kRowBytes);
    _tile_loadd(6, weights + tap_step, kRowBytes);
    _tile_loadd(7, weights + 2 * tap_step, kRowBytes);
    _tile_loadd(4, window, kRowBytes);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(4, window + kRegisterStep, kRowBytes);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(4, window + 2 * kRegisterStep, kRowBytes);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(0, 4, 7);
    _tile_loadd(4, window + 3 * kRegisterStep, kRowBytes);
    _tile_dpbf16ps(3, 4, 5);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(4, window + 4 * kRegisterStep, kRowBytes);
    _tile_dpbf16ps(3, 4, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_loadd(4, window + 5 * kRegisterStep, kRowBytes);
    _tile_dpbf16ps(3, 4, 7);
}

// Sixteen output channels of 16 tiles, [pixel][tile][channel]. block: their number in panels.
inline void multiply_block(const ConvJob& job, int block, const float* windows, float* to) {
    const int lines = bf16_channels(job.k) / kSplitStep, panel = block / kBlocksOfPanel;
    const std::ptrdiff_t line_step = kBlocksOfPanel * kRegisterFloats, tap_step = lines * line_step;
    const float* weights =
        job.weights + panel * kTaps * tap_step + block % kBlocksOfPanel * kRegisterFloats;
    const std::uint8_t* is_zero = job.is_zero + panel;
    for (int y = 0; y < kTile; ++y, to += kTile * kRegisterStep) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int dy = 0; dy < 3; ++dy) {
            const std::uint8_t* row = is_zero + 3 * dy * job.panels;
            if (row[0] && row[job.panels] && row[2 * job.panels]) continue;
            for (int line = 0; line < lines; ++line) {
                const int point = line * kPoints + (y + dy) * kWindow;
                add_taps(
                    windows + point * kRegisterStep, weights + 3 * dy * tap_step + line * line_step,
                    tap_step);
            }
        }
        _tile_stored(0, to, kRowBytes);
        _tile_stored(1, to + kRegisterStep, kRowBytes);
        _tile_stored(2, to + 2 * kRegisterStep, kRowBytes);
        _tile_stored(3, to + 3 * kRegisterStep, kRowBytes);
    }
}

void conv_tiles_bf16(const ConvJob& job, int first, int count, float* scratch) {
    static_assert(kPanel == kBlocksOfPanel * kRegisterRows, "two registers hold a panel");
    assert(count > 0 && count <= kBf16Tiles && job.in_pitch % kChannelStep == 0);
    assert(fits(job));
    const std::int32_t* numbers = job.positions + first;
    float* products = scratch + bf16_windows(job.k);
    const int sums = packed_channels(job.store);
    load_windows(job, numbers, count, scratch);
    // GCC does not know that `_tile_loadd` reads memory: windows have to be written by now.
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&kRegisterShape);
    for (int block = 0; block * kChannelStep < sums; ++block) {
        multiply_block(job, block, scratch, products + block * kTilePixels * kRegisterStep);
    }
    _tile_release();
    __asm__ volatile("" ::: "memory");
    for (int i = 0; i < count; ++i) {
        store_tile(job, numbers[i], 0, sums, [&](int packed, auto& tile) {
            const float* from =
                products + packed / kChannelStep * kTilePixels * kRegisterStep + i * kChannelStep;
            for (int p = 0; p < kTilePixels; ++p) {
                tile[p / kTile][p % kTile] = Vec::load(from + p * kRegisterStep);
            }
        });
    }
}

// Pairs of neighbouring pixels of the windows of a group of tiles: [channel / 16][pixel][tile]
// [16 channels], a pair of the pixel and the one to its right in a float's place.
inline void load_pixel_pairs(
    const GradientJob& job, const std::int32_t* tiles, int count, float* to) {
    const int channels = bf16_channels(job.in_pitch);
    const std::ptrdiff_t row = job.geometry.row * job.in_pitch;
    for (int i = 0; i < kRegisterRows; ++i, to += kChannelStep) {
        // Missing tiles repeat the last one: their gradients are zero, and these must be finite.
        const std::int32_t tile = tiles[i < count ? i : count - 1];
        const float* window = job.source + Corner(job.geometry, tile).window * job.in_pitch;
        for (int channel = 0; channel < channels; channel += kChannelStep) {
            float* line = to + channel / kChannelStep * kPoints * kRegisterStep;
            if (channel >= job.in_pitch) {
                for (int p = 0; p < kPoints; ++p) Vec::fill(0).store(line + p * kRegisterStep);
                continue;
            }
            for (int y = 0; y < kWindow; ++y) {
                const float* from = window + y * row + channel;
                __m512i left = rounded(Vec::load(from));
                for (int x = 0; x + 1 < kWindow; ++x) {
                    const __m512i right = rounded(Vec::load(from + (x + 1) * job.in_pitch));
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
