// Sums of products over runs of floats, for outputs whose windows lie at even steps.
#pragma once

#include "microkernel.h"

namespace {

constexpr int kChain = 128;  // products of one sum: longer ones would lose too many digits

template <int Pixels, int Vectors>
struct PixelSums {
    Vec of[Pixels][Vectors];

    void clear() {
        for (auto& sum : of) {
            for (Vec& part : sum) part = Vec::fill(0);
        }
    }
};

// totals[p] += from[p * step ..] * weights, `length` products each. A function of its own, so that only its sums claim
// registers.
template <int Pixels, int Vectors>
__attribute__((noinline)) void add_chain(
    const float* from, std::ptrdiff_t step, const float* weights, int length, PixelSums<Pixels, Vectors>& totals) {
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
            const Vec factor = rows.fill(p);
            for (int v = 0; v < Vectors; ++v) sums[p][v] = fma(factor, lanes[v], sums[p][v]);
        }
    }
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) totals.of[p][v] = totals.of[p][v] + sums[p][v];
    }
}

}  // namespace
