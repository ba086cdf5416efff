// 5x5 convs of whole rows that enlarge: the last conv of a tail, folded into the conv and the PixelShuffle before it.
#pragma once

#include "chain.h"

namespace {

using adadsr::Enlargement;

constexpr int kSide = 5;

// Pixels at once: as many sums as fit into the registers. What lies behind the last pixel of a row is read, too, and not
// stored.
constexpr int pixels_at_once(int vectors) { return vectors == 1 ? adadsr::kMostAtOnce : adadsr::kMostAtOnce / 2; }

// The outputs first .. first + panel - 1 of some pixels from the pixel (row, column) on.
template <int Vectors>
inline void store_outputs(
    const Enlargement& job, float* image, int row, int column, int pixels, int first,
    const PixelSums<pixels_at_once(Vectors), Vectors>& sums) {
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
            PixelSums<at_once, Vectors> sums;
            sums.clear();
            for (int y = 0; y < kSide; ++y) {
                for (int k = 0; k < length; k += kChain) {
                    const int products = length - k < kChain ? length - k : kChain;
                    add_chain<at_once, Vectors>(window + y * line + k, job.depth, weights, products, sums);
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
