// 5x5 convs of whole rows that enlarge: the last conv of a tail, folded into the conv and the PixelShuffle before it.
#pragma once

#include "microkernel.h"

namespace {

using adadsr::Enlargement;

constexpr int kSide = 5;
constexpr int kChain = 128;  // products of one sum: longer ones would lose too many digits

// Pixels at once: as many sums as fit into the registers. What lies behind the last pixel of a row is read, too, and not
// stored.
constexpr int pixels_at_once(int vectors) { return vectors == 1 ? adadsr::kMostAtOnce : adadsr::kMostAtOnce / 2; }

template <int Vectors>
struct PixelSums {
    Vec of[pixels_at_once(Vectors)][Vectors];
};

// totals[p] += from[p * step ..] * weights, `length` products each. A function of its own, so that only its sums claim
// registers.
template <int Vectors>
__attribute__((noinline)) void add_chain(
    const float* from, std::ptrdiff_t step, const float* weights, int length, PixelSums<Vectors>& totals) {
    constexpr int pixels = pixels_at_once(Vectors);
    Vec sums[pixels][Vectors];
#pragma GCC unroll 12
    for (int p = 0; p < pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) sums[p][v] = Vec::fill(0);
    }
    EvenRows<pixels> rows(from, step);
    for (int k = 0; k < length; ++k, rows.advance(1), weights += Vectors * Vec::width) {
        Vec lanes[Vectors];
        for (int v = 0; v < Vectors; ++v) lanes[v] = Vec::load(weights + v * Vec::width);
#pragma GCC unroll 12
        for (int p = 0; p < pixels; ++p) {
            const Vec factor = rows.fill(p);
            for (int v = 0; v < Vectors; ++v) sums[p][v] = fma(factor, lanes[v], sums[p][v]);
        }
    }
#pragma GCC unroll 12
    for (int p = 0; p < pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) totals.of[p][v] = totals.of[p][v] + sums[p][v];
    }
}

// The outputs first .. first + panel - 1 of some pixels from the pixel (row, column) on.
template <int Vectors>
inline void store_outputs(
    const Enlargement& job, float* image, int row, int column, int pixels, int first, const PixelSums<Vectors>& sums) {
    const int parts = job.factor * job.factor, outputs = job.channels * parts;
    for (int p = 0; p < pixels; ++p) {
        float values[Vectors * Vec::width];
        for (int v = 0; v < Vectors; ++v) {
            (sums.of[p][v] + Vec::load(job.bias + first + v * Vec::width)).store(values + v * Vec::width);
        }
        for (int i = 0; i < Vectors * Vec::width && first + i < outputs; ++i) {
            const int channel = (first + i) / parts, part = (first + i) % parts;
            const std::ptrdiff_t y = row * job.factor + part / job.factor;
            image[channel * job.plane + y * job.row + (column + p) * job.factor + part % job.factor] = values[i];
        }
    }
}

template <int Vectors>
inline void enlarge_row(const Enlargement& job, int image, int row, int first, int last) {
    constexpr int at_once = pixels_at_once(Vectors);
    const adadsr::Geometry& g = job.geometry;
    const std::ptrdiff_t line = g.row * job.depth;
    const int length = kSide * job.depth;  // the taps of a row are neighbours in memory
    float* out = job.out + image * job.channels * job.plane;
    for (int column = first; column < last; column += at_once) {
        const int pixels = last - column < at_once ? last - column : at_once;
        const float* window = job.source + (image * g.plane + (row - 1) * g.row + column - 1) * job.depth;
        const float* weights = job.weights;
        for (int panel = 0; panel < job.panels; ++panel) {
            PixelSums<Vectors> sums;
            for (auto& sum : sums.of) {
                for (Vec& part : sum) part = Vec::fill(0);
            }
            for (int y = 0; y < kSide; ++y) {
                for (int k = 0; k < length; k += kChain) {
                    const int products = length - k < kChain ? length - k : kChain;
                    add_chain<Vectors>(window + y * line + k, job.depth, weights, products, sums);
                    weights += products * Vectors * Vec::width;
                }
            }
            store_outputs<Vectors>(job, out, row, column, pixels, panel * job.panel, sums);
        }
    }
}

void enlarge(const Enlargement& job, int image, int row, int first, int last) {
    if (job.panel == Vec::width) {
        enlarge_row<1>(job, image, row, first, last);
    } else {
        enlarge_row<2>(job, image, row, first, last);
    }
}

}  // namespace
