// The inner loop of everything: a few rows times a panel of two vectors, summed in registers.
// Include after one of the simd_*.h, which say what a vector is.
#pragma once

#include <cstddef>

#include "geometry.h"

namespace {

using adadsr::Job;
using adadsr::Store;

constexpr int kPanel = 2 * Vec::width;
constexpr int kSummed = 64;  // channels that are summed for themselves: one long sum would lose too many digits

// Pointers to rows that lie `step` floats apart. Every third has one: more would not fit into the registers.
template <int Rows>
struct EvenRows {
    const float* thirds[(Rows + 2) / 3];
    std::ptrdiff_t step;

    inline __attribute__((always_inline)) EvenRows(const float* first, std::ptrdiff_t step) : step(step) {
#pragma GCC unroll 16
        for (int i = 0; i < (Rows + 2) / 3; ++i) thirds[i] = first + 3 * i * step;
    }
    inline __attribute__((always_inline)) Vec fill(int row) const { return Vec::fill(thirds[row / 3][row % 3 * step]); }
    inline __attribute__((always_inline)) void advance(std::ptrdiff_t floats) {
#pragma GCC unroll 16
        for (int i = 0; i < (Rows + 2) / 3; ++i) {
            thirds[i] += floats;
            // Keeps the compiler from replacing these few pointers by one for each row.
            __asm__("" : "+r"(thirds[i]));
        }
    }
};

// (row r of `to`) = or, with Add, += (row r of `from`) * panel, a matrix of depth x kPanel. Rows are the channels of a point in scratch, with
// the tiles `step` floats apart. A function of its own, so that only its sums claim registers.
template <int Rows, bool Add>
__attribute__((noinline)) void multiply_even(
    const float* from, std::ptrdiff_t step, const float* panel, int depth, float* to, std::ptrdiff_t to_step) {
    Vec sums[Rows][2];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sums[r][0] = sums[r][1] = Vec::fill(0);
    EvenRows<Rows> rows(from, step);
    for (int k = 0; k < depth; k += adadsr::kChannelStep) {
#pragma GCC unroll 4
        for (int lane = 0; lane < adadsr::kChannelStep; ++lane) {
            const Vec left = Vec::load(panel), right = Vec::load(panel + Vec::width);
            panel += kPanel;
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r) {
                const Vec factor = rows.fill(r);
                sums[r][0] = fma(factor, left, sums[r][0]);
                sums[r][1] = fma(factor, right, sums[r][1]);
            }
            rows.advance(1);
        }
        rows.advance(adadsr::tile_place(adadsr::kChannelStep) - adadsr::kChannelStep);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
        float *left = to + r * to_step, *right = left + adadsr::tile_place(Vec::width);
        (Add ? Vec::load(left) + sums[r][0] : sums[r][0]).store(left);
        (Add ? Vec::load(right) + sums[r][1] : sums[r][1]).store(right);
    }
}

// sums[r] += rows[r][0..depth) * panel.
template <int Rows>
inline __attribute__((always_inline)) void multiply_any(
    const float* const (&rows)[Rows], const float* panel, int depth, Vec (&sums)[Rows][2]) {
    for (int k = 0; k < depth; ++k) {
        const Vec left = Vec::load(panel), right = Vec::load(panel + Vec::width);
        panel += kPanel;
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
            const Vec factor = Vec::fill(rows[r][k]);
            sums[r][0] = fma(factor, left, sums[r][0]);
            sums[r][1] = fma(factor, right, sums[r][1]);
        }
    }
}

// The gate of a block at a place of given depth.
inline float gate(float depth, float block) {
    const float weight = depth - block;
    return weight < 0 ? 0 : weight > 1 ? 1 : weight;
}

// PReLU. What is not a number stays so.
inline Vec leaky(Vec x, float slope) { return positive(x) - Vec::fill(slope) * positive(Vec::fill(0) - x); }

// Finish the sums of one vector of channels at one pixel, `at` floats into the canvas. channel: among the sums.
inline __attribute__((always_inline)) void finish(
    const Store& store, Vec sum, int channel, std::ptrdiff_t at, float weight) {
    sum = sum + Vec::load(store.bias + channel);
    if (store.relu) sum = positive(sum);
    if (store.slope != 1) sum = leaky(sum, store.slope);
    if (store.plus) {
        sum = fma(sum, Vec::fill(weight), Vec::load(store.plus + at));
    } else if (weight != 1) {
        sum = sum * Vec::fill(weight);
    }
    sum.store(store.out + at);
}

}  // namespace
