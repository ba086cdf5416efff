// Convs whose windows are runs of consecutive floats: the head, whose runs are gathered, and the
// embedding of patches, whose runs are the rows of a patch.
#pragma once

#include "microkernel.h"

namespace adadsr {
namespace {

// One panel of `Outputs` neighbours whose window is one short run, as in a head: its sums never
// leave the registers. whole: whether both vectors of the panel are stored.
template <int Outputs>
__attribute__((noinline)) void short_panel(
    const float* from, std::ptrdiff_t step, const float* weights, int length, const float* bias,
    float* to, int pitch, bool whole) {
    Vec sums[Outputs][2];
#pragma GCC unroll 12
    for (int i = 0; i < Outputs; ++i) {
        sums[i][0] = Vec::load(bias);
        sums[i][1] = Vec::load(bias + Vec::width);
    }
    EvenRows<Outputs> rows(from, step);
    for (int k = 0; k < length; ++k, rows.advance(1), weights += kPanel) {
        const Vec left = Vec::load(weights), right = Vec::load(weights + Vec::width);
#pragma GCC unroll 12
        for (int i = 0; i < Outputs; ++i) {
            const Vec value = rows.fill(i);
            sums[i][0] = fma(value, left, sums[i][0]);
            sums[i][1] = fma(value, right, sums[i][1]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < Outputs; ++i) sums[i][0].store(to + i * pitch);
    if (!whole) return;
#pragma GCC unroll 12
    for (int i = 0; i < Outputs; ++i) sums[i][1].store(to + i * pitch + Vec::width);
}

// One panel of `Outputs` neighbours, whose windows start `shift` floats into each run.
template <int Outputs>
inline void row_conv_panel(
    const RowConvJob& job, const float* const* runs, std::ptrdiff_t shift, int panel, float* to) {
    const float* weights = job.weights + panel * job.panel_floats;
    if (job.runs == 1 && job.length <= kRowPartialSum && job.slope == 1 && !job.slopes) {
        const int channel = panel * kPanel;
        const bool whole = channel + Vec::width < job.pitch;
        short_panel<Outputs>(
            runs[0] + shift, job.step, weights, job.length, job.bias + channel, to + channel,
            job.pitch, whole);
        return;
    }
    PixelSums<Outputs, 2> sums;
    sums.clear();
    for (int run = 0; run < job.runs; ++run) {
        for (int k = 0; k < job.length; k += kRowPartialSum) {
            const int left = job.length - k, length = left < kRowPartialSum ? left : kRowPartialSum;
            add_partial_sums<Outputs, 2>(runs[run] + shift + k, job.step, weights, length, sums);
            weights += length * kPanel;
        }
    }
    for (int side = 0; side < 2; ++side) {
        const int channel = panel * kPanel + side * Vec::width;
        // The last panel may be half a one, since an output is not always whole panels.
        if (channel >= job.pitch) return;
        const Vec bias = Vec::load(job.bias + channel);
        const Vec slope = job.slopes ? Vec::load(job.slopes + channel) : Vec::fill(job.slope);
        const bool is_linear = job.slope == 1 && !job.slopes;
        for (int i = 0; i < Outputs; ++i) {
            const Vec sum = sums.of[i][side] + bias;
            (is_linear ? sum : leaky(sum, slope)).store(to + i * job.pitch + channel);
        }
    }
}

void row_conv(const RowConvJob& job, const float* const* runs, int count, float* to) {
    assert(job.runs > 0 && job.length > 0 && count >= 0);
    assert(job.pitch % kChannelStep == 0 && job.panels * kPanel >= job.pitch);
    constexpr int many = Vec::max_rows;
    for (int panel = 0; panel < job.panels; ++panel) {
        if (count < many) {
            for (int i = 0; i < count; ++i) {
                row_conv_panel<1>(job, runs, i * job.step, panel, to + i * job.pitch);
            }
            continue;
        }
        // The last ones may overlap those before, and come out the same again.
        for (int i = 0; i < count; i += many) {
            const std::ptrdiff_t first = i + many <= count ? i : count - many;
            row_conv_panel<many>(job, runs, first * job.step, panel, to + first * job.pitch);
        }
    }
}

}  // namespace
}  // namespace adadsr
