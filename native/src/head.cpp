// What comes before a body: the head, and the embedding of patches for an adapter.
#include <algorithm>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

void check_channels(const char* name, int given, int wanted) {
    if (given == wanted) return;
    refuse(name, " has ", given, " channels, the weights have ", wanted);
}

// A job without its runs.
RowConvJob make_job(const Weights& weights, const Canvas& out) {
    RowConvJob job{};
    job.weights = weights.packed();
    job.panel_floats = weights.packed_size() / weights.panels();
    job.panels = weights.panels();
    job.bias = weights.bias();
    job.slope = 1;
    job.slopes = weights.slopes();
    job.pitch = out.pitch();
    return job;
}

// One row of pixels less the mean, as one of the three rows of each column's taps: `to` is
// [column][row][channel], with a column of zeros on either side.
void gather_row(
    const HeadWeights& weights, const ImageView<const float>& images, int image, int row, int tap,
    float* to) {
    const int channels = weights.image_channels(), width = static_cast<int>(images.size[2]);
    const std::ptrdiff_t step = 3 * channels;
    to += tap * channels;
    std::fill_n(to, channels, 0.0f);
    std::fill_n(to + (width + 1) * step, channels, 0.0f);
    if (row < 0 || row >= images.size[1]) {
        for (int x = 1; x <= width; ++x) std::fill_n(to + x * step, channels, 0.0f);
        return;
    }
    const float* from = images.data + image * images.stride[0] + row * images.stride[1];
    for (int channel = 0; channel < channels; ++channel) {
        const float mean = weights.mean()[channel];
        const float* pixel = from + channel * images.stride[3];
        for (int x = 1; x <= width; ++x, pixel += images.stride[2]) {
            to[x * step + channel] = *pixel - mean;
        }
    }
}

void check_patches(const PatchWeights& weights, const Canvas& source, const Canvas& out) {
    const Geometry &from = source.geometry(), &to = out.geometry();
    const int side = weights.side();
    source.check_floats("source");
    out.check_floats("out");
    check_channels("source", source.channels(), weights.in_channels());
    check_channels("out", out.channels(), weights.out_channels());
    if (from.batch != to.batch || (from.height + side - 1) / side != to.height ||
        (from.width + side - 1) / side != to.width) {
        refuse("out has to have a pixel for each patch of source");
    }
}

}  // namespace

void head(
    const HeadWeights& weights, const ImageView<const float>& images, Canvas& out, Scratch& scratch,
    int threads) {
    check_size(out, images, weights.image_channels());
    out.check_floats("out");
    check_channels("out", out.channels(), weights.out_channels());
    const Geometry& g = out.geometry();
    const std::size_t floats = weights.scratch(g.width);
    const int step = 3 * weights.image_channels();  // a column of taps
    RowConvJob job = make_job(weights, out);
    job.runs = 1;
    job.length = 3 * step;
    job.step = step;
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int worker) {
        const int image = task / g.height, row = task % g.height;
        float* window = memory + worker * floats;
        for (int tap = 0; tap < 3; ++tap) {
            gather_row(weights, images, image, row + tap - 1, tap, window);
        }
        const float* runs[1] = {window};
        weights.kernels().row_conv(job, runs, g.width, out.pixel(image, row, 0));
        out.round(image, row, 0, g.width);
    });
}

void patch_embed(
    const PatchWeights& weights, const Canvas& source, Canvas& out, float slope, Scratch& scratch,
    int threads) {
    check_patches(weights, source, out);
    assert(weights.side() <= kMostPatchSide);
    const Geometry &from = source.geometry(), &to = out.geometry();
    const int side = weights.side(), pitch = source.pitch(), whole = from.width / side;
    const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(side) * pitch;
    RowConvJob job = make_job(weights, out);
    job.runs = side;
    job.length = side * pitch;
    job.step = line;
    job.slope = slope;
    const std::size_t floats = weights.scratch();
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    Pool::instance().run(to.batch * to.height, threads, [&](int task, int worker) {
        const int image = task / to.height, row = task % to.height;
        const float* runs[kMostPatchSide];
        for (int y = 0; y < side; ++y) {
            runs[y] = source.pixel(image, std::min(row * side + y, from.height - 1), 0);
        }
        weights.kernels().row_conv(job, runs, whole, out.pixel(image, row, 0));
        out.round(image, row, 0, whole);
        if (whole == to.width) return;
        for (int y = 0; y < side; ++y) {
            float* copy = memory + worker * floats + y * line;
            for (int x = 0; x < side; ++x) {
                const std::ptrdiff_t column = std::min(whole * side + x, from.width - 1);
                std::copy_n(runs[y] + column * pitch, pitch, copy + x * pitch);
            }
            runs[y] = copy;
        }
        weights.kernels().row_conv(job, runs, 1, out.pixel(image, row, whole));
        out.round(image, row, whole, 1);
    });
}

}  // namespace adadsr
