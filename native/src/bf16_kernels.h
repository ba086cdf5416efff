// Direct 3x3 convs in AMX, whose registers multiply matrices of bfloat16 and sum in float32:
// factors have 8 significant bits. A direct sum takes four times the products of Winograd's
// algorithm, which AMX makes up for, and errs less: a transform of such factors would magnify their
// rounding.
#pragma once

#include <immintrin.h>

#include "amx_registers.h"
#include "store_tile.h"

namespace adadsr {
namespace {

constexpr int kBlocksOfPanel = 2;  // registers of 16 channels that make a panel
// Floats from one register's content to the next in scratch. A cache line of padding lies between
// registers: tiles write one line of each, which would otherwise fall into the same cache sets.
constexpr int kRegisterStep = kRegisterFloats + kChannelStep;

ADADSR_INLINE __m512i load_line(const float* from) { return _mm512_load_si512(from); }
ADADSR_INLINE void store_line(__m512i line, float* to) { _mm512_store_si512(to, line); }

// Sixteen floats as bfloat16, each in the lower half of 32 bits.
ADADSR_INLINE __m512i rounded(Vec x) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.lanes));
}

// Sixteen numbers of bfloat16, each in the lower half of 32 bits.
ADADSR_INLINE __m512i widened(const std::uint16_t* from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
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
ADADSR_INLINE __m512i rounded_line(const float* from, int count) {
    return (__m512i)_mm512_cvtne2ps_pbh(load_first(from + 16, count - 16), load_first(from, count));
}

void round_bf16(const float* from, std::ptrdiff_t count, std::uint16_t* to) {
    for (std::ptrdiff_t i = 0; i < count; i += Vec::width) {
        const auto nearest = (__m256i)_mm512_cvtneps_pbh(Vec::load(from + i).lanes);
        _mm256_storeu_si256((__m256i*)(to + i), nearest);
    }
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
                        store_line(rounded_line(row, count), rows + o * 16);
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

// Thirty-two channels of what a conv reads, in rounded pixels: half of them may be the last of one
// canvas, the first of another, or missing.
struct FeatureLine {
    const std::uint16_t* halves[2];
    int pitches[2];

    FeatureLine(const ConvJob& job, int channel) {
        for (int i = 0; i < 2; ++i, channel += kChannelStep) {
            const bool is_first = channel < job.in_pitch;
            pitches[i] = is_first ? job.bf16_pitch : job.more_bf16_pitch;
            halves[i] = is_first && channel < job.k ? job.bf16 + channel : nullptr;
            if (is_first || channel >= job.k) continue;
            const FurtherChannel further(channel, job.in_pitch, job.more_pitch);
            halves[i] = job.more_bf16[further.canvas] + further.channel;
        }
    }
    __m256i half(int i, std::ptrdiff_t pixel) const {
        if (!halves[i]) return _mm256_setzero_si256();
        return _mm256_loadu_si256((const __m256i*)(halves[i] + pixel * pitches[i]));
    }
    __m512i at(std::ptrdiff_t pixel) const {
        return _mm512_inserti64x4(_mm512_castsi256_si512(half(0, pixel)), half(1, pixel), 1);
    }
};

// Whether every line of 32 channels lies on one canvas and is read whole. What pads the only canvas
// is zero.
inline bool has_whole_lines(const ConvJob& job) {
    return !job.n_more || (job.in_pitch % kSplitStep == 0 && job.more_pitch % kSplitStep == 0);
}

// Copies the windows of some tiles into what registers hold: [channels / 32][pixel][tile]
// [32 channels].
inline void load_windows(const ConvJob& job, const std::int32_t* tiles, int count, float* scratch) {
    for (int i = 0; i < count; ++i) {
        const std::ptrdiff_t first = Corner(job.geometry, tiles[i]).window;
        float* to = scratch + i * kChannelStep;
        for (int channel = 0; channel < job.k; channel += kSplitStep) {
            const FeatureLine line(job, channel);
            for (int y = 0; y < kWindow; ++y) {
                const std::ptrdiff_t row = first + y * job.geometry.row;
                for (int x = 0; x < kWindow; ++x, to += kRegisterStep) {
                    store_line(line.at(row + x), to);
                }
            }
        }
    }
}

// Six registers of 16 pixels by 32 channels, one below the other, from which a column of taps makes
// the sums of four pixels below each other.
struct Column {
    const char* first;     // the topmost register
    std::ptrdiff_t pixel;  // bytes from one row of a register to the next
    std::ptrdiff_t below;  // bytes from one register to the one below
};

// Adds to four sums what a column of taps makes of 32 channels. weights: of the first tap; the
// others follow tap_step floats apart.
ADADSR_INLINE void add_taps(const Column& from, const float* weights, std::ptrdiff_t tap_step) {
    const char* at = from.first;
    _tile_loadd(5, weights, kRowBytes);
    _tile_loadd(6, weights + tap_step, kRowBytes);
    _tile_loadd(7, weights + 2 * tap_step, kRowBytes);
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(0, 4, 5);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(0, 4, 6);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(0, 4, 7);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(3, 4, 5);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(3, 4, 6);
    _tile_dpbf16ps(2, 4, 7);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(3, 4, 7);
}

// The same for one tap, the one in row `dy`.
ADADSR_INLINE void add_tap(const Column& from, int dy, const float* weights) {
    const char* at = from.first + dy * from.below;
    _tile_loadd(5, weights, kRowBytes);
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(0, 4, 5);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(1, 4, 5);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(2, 4, 5);
    at += from.below;
    _tile_loadd(4, at, from.pixel);
    _tile_dpbf16ps(3, 4, 5);
}

// The weights of 16 output channels. block: their number in panels.
struct BlockWeights {
    const float* first;
    std::ptrdiff_t line, tap;  // floats from one line of 32 channels and from one tap to the next
    const std::uint8_t* is_zero;
    int panels;

    BlockWeights(const ConvJob& job, int block) {
        const int panel = block / kBlocksOfPanel;
        line = kBlocksOfPanel * kRegisterFloats;
        tap = bf16_channels(job.k) / kSplitStep * line;
        first = job.weights + panel * kTaps * tap + block % kBlocksOfPanel * kRegisterFloats;
        is_zero = job.is_zero + panel;
        panels = job.panels;
    }
    const float* of(int number, int line_number) const {
        return first + number * tap + line_number * line;
    }
    bool has(int number) const { return !is_zero[number * panels]; }
};

// Four registers of sums of 16 output channels at `to`, kRegisterStep floats apart, to which some
// lines of 32 channels are added: `begin` .. `end` - 1. find(line, dx): the registers of a line
// for a column of taps. The order of the sums is the same wherever the registers come from, so they
// do not depend on a tile's neighbours in a list.
template <class Find>
ADADSR_INLINE void sum_block(
    const BlockWeights& weights, int begin, int end, const Find& find, float* to) {
    if (begin == 0) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, to, kRowBytes);
        _tile_loadd(1, to + kRegisterStep, kRowBytes);
        _tile_loadd(2, to + 2 * kRegisterStep, kRowBytes);
        _tile_loadd(3, to + 3 * kRegisterStep, kRowBytes);
    }
    for (int dx = 0; dx < 3; ++dx) {
        if (weights.has(dx) && weights.has(3 + dx) && weights.has(6 + dx)) {
            for (int line = begin; line < end; ++line) {
                add_taps(find(line, dx), weights.of(dx, line), 3 * weights.tap);
            }
            continue;
        }
        for (int dy = 0; dy < 3; ++dy) {
            for (int line = begin; weights.has(3 * dy + dx) && line < end; ++line) {
                add_tap(find(line, dx), dy, weights.of(3 * dy + dx, line));
            }
        }
    }
    _tile_stored(0, to, kRowBytes);
    _tile_stored(1, to + kRegisterStep, kRowBytes);
    _tile_stored(2, to + 2 * kRegisterStep, kRowBytes);
    _tile_stored(3, to + 3 * kRegisterStep, kRowBytes);
}

// To a canvas that holds bfloat16, with or without float32.
template <bool HasFloats>
struct RoundedSink {
    static ADADSR_INLINE void put(
        const Store& store, std::ptrdiff_t pixel, int channel, Vec value) {
        if (HasFloats) FloatSink::put(store, pixel, channel, value);
        auto* to = (__m256i*)(store.bf16 + pixel * store.bf16_pitch + channel);
        _mm256_storeu_si256(to, (__m256i)_mm512_cvtneps_pbh(value.lanes));
    }
};

// Stores the sums of a tile: block by block of 16 channels, block_step floats apart. pixel(y, x):
// offset of a pixel.
template <class Pixel>
inline void store_sums(
    const ConvJob& job, int tile, const float* sums, std::ptrdiff_t block_step,
    const Pixel& pixel) {
    const auto find = [&](int packed, const auto& put) {
        const float* from = sums + packed / kChannelStep * block_step;
        put([&](int y, int x) { return Vec::load(from + pixel(y, x)); });
    };
    const int end = packed_channels(job.store);
    if (!job.store.bf16) return store_tile<FloatSink>(job, tile, 0, end, find);
    if (job.store.out) return store_tile<RoundedSink<true>>(job, tile, 0, end, find);
    store_tile<RoundedSink<false>>(job, tile, 0, end, find);
}

// Calls run(block, begin, end) for each block of 16 output channels and some lines of 32 input
// channels at a time. Of adjoining tiles these stay in the first-level cache for all blocks.
template <class Run>
inline void visit_blocks(const ConvJob& job, const Run& run) {
    constexpr int most = 2;
    const int lines = bf16_channels(job.k) / kSplitStep, sums = packed_channels(job.store);
    for (int begin = 0; begin < lines; begin += most) {
        const int end = begin + most < lines ? begin + most : lines;
        for (int block = 0; block * kChannelStep < sums; ++block) run(block, begin, end);
    }
}

// Convs of some tiles anywhere, kBf16Tiles at most: a register holds the same pixel of all.
inline void conv_loose(const ConvJob& job, const std::int32_t* tiles, int count, float* scratch) {
    float* products = scratch + bf16_windows(job.k);
    constexpr std::ptrdiff_t block_step = kTilePixels * kRegisterStep;
    load_windows(job, tiles, count, scratch);
    // GCC does not know that `_tile_loadd` reads memory: windows have to be written by now.
    __asm__ volatile("" ::: "memory");
    visit_blocks(job, [&](int block, int begin, int end) {
        const BlockWeights weights(job, block);
        for (int x = 0; x < kTile; ++x) {
            const auto find = [&](int line, int dx) {
                const float* from = scratch + (line * kPoints + x + dx) * kRegisterStep;
                constexpr std::ptrdiff_t below = kWindow * kRegisterStep * sizeof(float);
                return Column{reinterpret_cast<const char*>(from), kRowBytes, below};
            };
            float* to = products + block * block_step + x * kTile * kRegisterStep;
            sum_block(weights, begin, end, find, to);
        }
    });
    __asm__ volatile("" ::: "memory");
    for (int i = 0; i < count; ++i) {
        store_sums(job, tiles[i], products + i * kChannelStep, block_step, [](int y, int x) {
            return (x * kTile + y) * kRegisterStep;
        });
    }
}

// Convs of kAdjoiningTiles neighbours in a row, or of the first of them: a register holds 16 pixels
// of a row, straight from the canvas.
inline void conv_adjoining(
    const ConvJob& job, const std::int32_t* tiles, int count, float* scratch) {
    constexpr std::ptrdiff_t block_step = kTile * kRegisterStep;
    const std::ptrdiff_t first = Corner(job.geometry, tiles[0]).window;
    __asm__ volatile("" ::: "memory");
    const auto find = [&](int line, int dx) {
        const FeatureLine features(job, line * kSplitStep);
        const std::ptrdiff_t pitch = features.pitches[0];
        return Column{
            reinterpret_cast<const char*>(features.halves[0] + (first + dx) * pitch), 2 * pitch,
            2 * pitch * job.geometry.row};
    };
    visit_blocks(job, [&](int block, int begin, int end) {
        sum_block(BlockWeights(job, block), begin, end, find, scratch + block * block_step);
    });
    __asm__ volatile("" ::: "memory");
    for (int i = 0; i < count; ++i) {
        store_sums(job, tiles[i], scratch + i * kTile * kChannelStep, block_step, [](int y, int x) {
            return y * kRegisterStep + x * kChannelStep;
        });
    }
}

// How many tiles of a list follow each other in a row, kAdjoiningTiles at most.
inline int neighbours(const Geometry& geometry, const std::int32_t* tiles, int count) {
    const int left = geometry.tile_columns - tiles[0] % geometry.tile_columns;
    const int most = left < kAdjoiningTiles ? left : kAdjoiningTiles;
    int found = 1;
    while (found < most && found < count && tiles[found] == tiles[0] + found) ++found;
    return found;
}

void conv_tiles_bf16(const ConvJob& job, int first, int count, float* scratch) {
    static_assert(kPanel == kBlocksOfPanel * kRegisterRows, "two registers hold a panel");
    static_assert(kAdjoiningTiles * kTile == kRegisterRows, "a register holds a row of them");
    assert(count > 0 && job.bf16 && fits(job));
    // With fewer, more products would be wasted than copying windows costs.
    constexpr int fewest = kAdjoiningTiles - 1;
    const bool has_lines = has_whole_lines(job);
    std::int32_t loose[kBf16Tiles];
    int n_loose = 0;
    _tile_loadconfig(&kRegisterShape);
    for (const std::int32_t *tile = job.positions + first, *end = tile + count; tile < end;) {
        const int found = neighbours(job.geometry, tile, static_cast<int>(end - tile));
        if (has_lines && found >= fewest) {
            conv_adjoining(job, tile, found, scratch);
            tile += found;
            continue;
        }
        for (int i = 0; i < found; ++i) {
            loose[n_loose++] = *tile++;
            if (n_loose < kBf16Tiles) continue;
            conv_loose(job, loose, n_loose, scratch);
            n_loose = 0;
        }
    }
    if (n_loose) conv_loose(job, loose, n_loose, scratch);
    _tile_release();
}

}  // namespace
}  // namespace adadsr
