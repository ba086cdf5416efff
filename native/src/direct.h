// 3x3 convs of single pixels: a direct sum over the nine taps, six pixels at a time.
#pragma once

#include "microkernel.h"

namespace adadsr {
namespace {

constexpr int kPixelRows = 6;

// Where a pixel's 3x3 window starts and where the pixel lies, in pixels of the canvas.
struct Pixel {
    std::ptrdiff_t window, centre;

    Pixel(const Geometry& geometry, std::ptrdiff_t number) {
        assert(number >= 0 && number < pixels_of(geometry));
        const std::ptrdiff_t column = number % geometry.width, line = number / geometry.width;
        window = line / geometry.height * geometry.plane + line % geometry.height * geometry.row +
                 column;
        centre = window + geometry.row + 1;
    }
};

// Sums of one panel of channels at kPixelRows pixels.
struct PanelSums {
    Vec of[kPixelRows][2];
};

// Adds the products with some channels of one tap. Not inlined, so that only its sums claim
// registers.
__attribute__((noinline)) void add_products(
    const float* const (&rows)[kPixelRows], const float* weights, int channels, PanelSums& totals) {
    Vec sums[kPixelRows][2];
    for (auto& sum : sums) sum[0] = sum[1] = Vec::fill(0);
    multiply_any<kPixelRows>(rows, weights, channels, sums);
    for (int i = 0; i < kPixelRows; ++i) {
        for (int side = 0; side < 2; ++side) {
            totals.of[i][side] = totals.of[i][side] + sums[i][side];
        }
    }
}

// One panel of channels at kPixelRows pixels, in partial sums over kPartialSum channels of a tap.
// windows: the first float of each pixel's window.
inline PanelSums conv_panel(
    const ConvJob& job, const float* const (&windows)[kPixelRows], const float* weights) {
    PanelSums totals;
    for (auto& total : totals.of) total[0] = total[1] = Vec::fill(0);
    for (int tap = 0; tap < kTaps; ++tap) {
        const std::ptrdiff_t shift = (tap / 3 * job.geometry.row + tap % 3) * job.in_pitch;
        for (int channel = 0; channel < job.in_pitch; channel += kPartialSum) {
            const int left = job.in_pitch - channel;
            const int channels = left < kPartialSum ? left : kPartialSum;
            const float* rows[kPixelRows];
            for (int i = 0; i < kPixelRows; ++i) rows[i] = windows[i] + shift + channel;
            add_products(rows, weights, channels, totals);
            weights += static_cast<std::ptrdiff_t>(channels) * kPanel;
        }
    }
    return totals;
}

// Stores one panel at the first `count` pixels. The last panel may be half a one, since a pixel is
// not always whole panels.
inline void store_panel(
    const ConvJob& job, const std::int32_t* pixels, int count, int channel, const PanelSums& sums) {
    const Store& store = job.store;
    for (int i = 0; i < count; ++i) {
        const float weight = store.depths ? gate(store.depths[pixels[i]], store.block) : 1;
        const std::ptrdiff_t at = Pixel(job.geometry, pixels[i]).centre * store.pitch;
        const auto put = [&](Vec sum, int channel) {
            finished(store, sum, channel, at + channel, weight).store(store.out + at + channel);
        };
        put(sums.of[i][0], channel);
        const int right = channel + Vec::width;
        if (right < store.pitch) put(sums.of[i][1], right);
    }
}

void conv_pixels(const ConvJob& job, int first, int count) {
    assert(count > 0 && job.in_pitch % kChannelStep == 0 && job.panels * kPanel >= job.store.pitch);
    assert(job.store.upscale_factor == 1 && job.store.depth_side == 1);
    assert(!job.n_more);
    const std::ptrdiff_t panel_floats = static_cast<std::ptrdiff_t>(kTaps) * job.in_pitch * kPanel;
    for (int panel = 0; panel < job.panels; ++panel) {
        for (int start = 0; start < count; start += kPixelRows) {
            const std::int32_t* pixels = job.positions + first + start;
            const int rows = count - start < kPixelRows ? count - start : kPixelRows;
            const float* windows[kPixelRows];
            // Missing rows repeat the last pixel; their sums are not stored.
            for (int i = 0; i < kPixelRows; ++i) {
                const std::int32_t pixel = pixels[i < rows ? i : rows - 1];
                windows[i] = job.source + Pixel(job.geometry, pixel).window * job.in_pitch;
            }
            const float* weights = job.weights + panel * panel_floats;
            store_panel(job, pixels, rows, panel * kPanel, conv_panel(job, windows, weights));
        }
    }
}

}  // namespace
}  // namespace adadsr
