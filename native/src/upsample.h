// 5x5 convs that upsample: a tail with PixelShuffle, folded into one conv.
#pragma once

#include "microkernel.h"

namespace adadsr {
namespace {

constexpr int kUpsampleSide = 5;

// Pixels of one call: as many sums as fit into the registers. The kernel also reads behind the last
// pixel of a row, and does not store the result.
constexpr int upsample_pixels(int vectors) { return kUpsamplePixels / vectors; }

// Where the outputs first .. first + panel - 1 of the pixel at (row, column) are stored.
template <int Vectors>
struct OutputOffsets {
    static constexpr int lanes = Vectors * Vec::width;
    std::ptrdiff_t of[lanes], step;  // step: from pixel to pixel
    int outputs;
    const float* bias;

    OutputOffsets(const UpsampleJob& job, int row, int column, int first)
        : step(job.upscale_factor * job.column_stride), bias(job.bias + first) {
        const int f = job.upscale_factor, parts = f * f, left = job.channels * parts - first;
        outputs = left < lanes ? left : lanes;
        for (int i = 0; i < outputs; ++i) {
            const int channel = (first + i) / parts, part = (first + i) % parts;
            of[i] = channel * job.channel_stride + (row * f + part / f) * job.row_stride +
                    (column * f + part % f) * job.column_stride;
        }
    }

    // image: of the first pixel, `step` further for each later one.
    void put(const Vec (&sums)[Vectors], float* image) const {
        float values[lanes];
        for (int v = 0; v < Vectors; ++v) {
            (sums[v] + Vec::load(bias + v * Vec::width)).store(values + v * Vec::width);
        }
        for (int i = 0; i < outputs; ++i) image[of[i]] = values[i];
    }
};

template <int Vectors>
inline void upsample_row(const UpsampleJob& job, int image, int row, int first, int last) {
    constexpr int many = upsample_pixels(Vectors);
    const Geometry& g = job.geometry;
    const std::ptrdiff_t line = g.row * job.in_pitch;
    const int length = kUpsampleSide * job.in_pitch;  // the taps of a row are neighbours in memory
    float* out = job.out + image * job.image_stride;
    for (int column = first; column < last; column += many) {
        const int pixels = last - column < many ? last - column : many;
        const std::ptrdiff_t corner = image * g.plane + (row - 1) * g.row + column - 1;
        const float* window = job.source + corner * job.in_pitch;
        const float* weights = job.weights;
        for (int panel = 0; panel < job.panels; ++panel) {
            PixelSums<many, Vectors> sums;
            sums.clear();
            for (int y = 0; y < kUpsampleSide; ++y) {
                for (int k = 0; k < length; k += kRowPartialSum) {
                    const int left = length - k,
                              part = left < kRowPartialSum ? left : kRowPartialSum;
                    add_partial_sums<many, Vectors>(
                        window + y * line + k, job.in_pitch, weights, part, sums);
                    weights += part * Vectors * Vec::width;
                }
            }
            const OutputOffsets<Vectors> offsets(job, row, column, panel * job.panel);
            for (int p = 0; p < pixels; ++p) offsets.put(sums.of[p], out + p * offsets.step);
        }
    }
}

void upsample(const UpsampleJob& job, int image, int row, int first, int last) {
    assert(image >= 0 && image < job.geometry.batch && row >= 0 && row < job.geometry.height);
    assert(first >= 0 && first < last && last <= job.geometry.width);
    assert(job.panel % Vec::width == 0 && job.panel <= 3 * Vec::width);
    if (job.panel == Vec::width) {
        upsample_row<1>(job, image, row, first, last);
    } else if (job.panel == kPanel) {
        upsample_row<2>(job, image, row, first, last);
    } else {
        upsample_row<3>(job, image, row, first, last);
    }
}

}  // namespace
}  // namespace adadsr
