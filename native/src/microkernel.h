// The inner loop of everything: a few rows times a panel of two vectors, summed in registers.
// Include after one of the simd_*.h, which say what a vector is.
#pragma once

#include <cstddef>

#include "geometry.h"

namespace {

using adadsr::Job;
using adadsr::Store;

constexpr int kPanel = 2 * Vec::width;

// Rows of floats at equal distances. Every third has a pointer of its own: more would not fit into the registers.
template <int Rows>
struct EvenRows {
    const float* every_third[(Rows + 2) / 3];
    std::ptrdiff_t step;

    EvenRows(const float* first, std::ptrdiff_t step) : step(step) {
        for (int i = 0; i < (Rows + 2) / 3; ++i) every_third[i] = first + 3 * i * step;
    }
    const float* operator[](int row) const { return every_third[row / 3] + (row % 3) * step; }
};

// Rows of floats anywhere.
template <int Rows>
struct AnyRows {
    const float* first[Rows];

    const float* operator[](int row) const { return first[row]; }
};

// sums[r] += rows[r][0..depth) * panel, a matrix of depth x kPanel.
template <int Rows, class RowsOf>
inline __attribute__((always_inline)) void multiply_add(
    const RowsOf& rows, const float* panel, int depth, Vec (&sums)[Rows][2]) {
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

// Finish the sums of one vector of channels at one pixel, `at` floats into the canvas. channel: among the sums.
inline __attribute__((always_inline)) void finish(
    const Store& store, Vec sum, int channel, std::ptrdiff_t at, float weight) {
    sum = sum + Vec::load(store.bias + channel);
    if (store.relu) sum = positive(sum);
    if (store.plus) {
        sum = fma(sum, Vec::fill(weight), Vec::load(store.plus + at));
    } else if (weight != 1) {
        sum = sum * Vec::fill(weight);
    }
    sum.store(store.out + at);
}

}  // namespace
