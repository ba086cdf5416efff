// The inner loops of all kernels: a few rows times a panel of output channels, summed in registers.
// Include after one of the simd_*.h, which define `Vec` and how many rows of sums its registers
// hold: `max_rows`, or `min_rows` at the end of a list.
#pragma once

#include "kernels.h"

namespace adadsr {
namespace {

#define ADADSR_INLINE inline __attribute__((always_inline))

constexpr int kPanel = 2 * Vec::width;
// Products of one partial sum. A single long sum would lose too many digits.
constexpr int kPartialSum = 64;
constexpr int kRowPartialSum = 128;

// Pointers to rows that lie `step` floats apart. Only every third has a pointer of its own: more
// would not fit into the registers.
template <int Rows>
struct EvenRows {
    const float* thirds[(Rows + 2) / 3];
    std::ptrdiff_t step;

    ADADSR_INLINE EvenRows(const float* first, std::ptrdiff_t step) : step(step) {
#pragma GCC unroll 16
        for (int i = 0; i < (Rows + 2) / 3; ++i) thirds[i] = first + 3 * i * step;
    }
    ADADSR_INLINE Vec fill(int row) const { return Vec::fill(thirds[row / 3][row % 3 * step]); }
    ADADSR_INLINE void advance(std::ptrdiff_t floats) {
#pragma GCC unroll 16
        for (int i = 0; i < (Rows + 2) / 3; ++i) {
            thirds[i] += floats;
            // Keeps the compiler from replacing these few pointers by one for each row.
            __asm__("" : "+r"(thirds[i]));
        }
    }
};

// to[r] = from[r] * panel, or += with Add, where `panel` is a k x kPanel matrix. Rows are one point
// of tiles in scratch, `step` floats apart, with `points` points there. Not inlined, so that only
// its sums claim registers.
template <int Rows, bool Add>
__attribute__((noinline)) void multiply_even(
    const float* from, std::ptrdiff_t step, int points, const float* panel, int k, float* to,
    std::ptrdiff_t to_step) {
    assert(k > 0 && k % kChannelStep == 0);
    Vec sums[Rows][2];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sums[r][0] = sums[r][1] = Vec::fill(0);
    EvenRows<Rows> rows(from, step);
    for (int i = 0; i < k; i += kChannelStep) {
#pragma GCC unroll 4
        for (int lane = 0; lane < kChannelStep; ++lane) {
            const Vec left = Vec::load(panel), right = Vec::load(panel + Vec::width);
            panel += kPanel;
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r) {
                const Vec value = rows.fill(r);
                sums[r][0] = fma(value, left, sums[r][0]);
                sums[r][1] = fma(value, right, sums[r][1]);
            }
            rows.advance(1);
        }
        rows.advance(tile_offset(kChannelStep, points) - kChannelStep);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
        float *left = to + r * to_step, *right = left + tile_offset(Vec::width);
        (Add ? Vec::load(left) + sums[r][0] : sums[r][0]).store(left);
        (Add ? Vec::load(right) + sums[r][1] : sums[r][1]).store(right);
    }
}

// sums[r] += rows[r][0 .. k - 1] * panel.
template <int Rows>
ADADSR_INLINE void multiply_any(
    const float* const (&rows)[Rows], const float* panel, int k, Vec (&sums)[Rows][2]) {
    for (int i = 0; i < k; ++i) {
        const Vec left = Vec::load(panel), right = Vec::load(panel + Vec::width);
        panel += kPanel;
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
            const Vec value = Vec::fill(rows[r][i]);
            sums[r][0] = fma(value, left, sums[r][0]);
            sums[r][1] = fma(value, right, sums[r][1]);
        }
    }
}

// Sums of some vectors of output channels at some neighbouring pixels.
template <int Pixels, int Vectors>
struct PixelSums {
    Vec of[Pixels][Vectors];

    void clear() {
        for (auto& sum : of) {
            for (Vec& part : sum) part = Vec::fill(0);
        }
    }
};

// totals[p] += from[p * step ..] * weights, summed over `length` floats. Not inlined, so that only
// its sums claim registers.
template <int Pixels, int Vectors>
__attribute__((noinline)) void add_partial_sums(
    const float* from, std::ptrdiff_t step, const float* weights, int length,
    PixelSums<Pixels, Vectors>& totals) {
    Vec sums[Pixels][Vectors];
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) sums[p][v] = Vec::fill(0);
    }
    EvenRows<Pixels> rows(from, step);
    for (int k = 0; k < length; ++k, rows.advance(1), weights += Vectors * Vec::width) {
        Vec lanes[Vectors];
        for (int v = 0; v < Vectors; ++v) lanes[v] = Vec::load(weights + v * Vec::width);
#pragma GCC unroll 12
        for (int p = 0; p < Pixels; ++p) {
            const Vec value = rows.fill(p);
            for (int v = 0; v < Vectors; ++v) sums[p][v] = fma(value, lanes[v], sums[p][v]);
        }
    }
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) totals.of[p][v] = totals.of[p][v] + sums[p][v];
    }
}

// Gate of a block at a position of this depth (arXiv:2004.03915, eq. 4).
inline float gate(float depth, float block) {
    const float weight = depth - block;
    return weight < 0 ? 0 : weight > 1 ? 1 : weight;
}

// What is stored of the sums of one vector of channels at one pixel, `at` floats into the canvas.
// channel: the first of them, among all sums of the pixel.
ADADSR_INLINE Vec
finished(const Store& store, Vec sum, int channel, std::ptrdiff_t at, float weight) {
    sum = sum + Vec::load(store.bias + channel);
    if (store.relu) sum = positive(sum);
    if (store.slope != 1) sum = leaky(sum, Vec::fill(store.slope));
    if (store.slopes) sum = leaky(sum, Vec::load(store.slopes + channel));
    if (store.passed) sum = where_positive(Vec::load(store.passed + at), sum);
    if (store.also) {
        sum = fma(Vec::load(store.also + at), Vec::fill(store.also_factor), sum);
    }
    if (store.plus) {
        const Vec plus = Vec::load(store.plus + at);
        // Behind a closed gate the sum need not be finite.
        sum = weight == 0 ? plus : fma(sum, Vec::fill(weight), plus);
    } else if (weight != 1) {
        sum = sum * Vec::fill(weight);
    }
    return sum;
}

}  // namespace
}  // namespace adadsr
