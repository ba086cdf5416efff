// What comes before a body: images into canvases, the head, and the embedding of tiles.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "engine.h"
#include "pool.h"

namespace adadsr {
namespace {

constexpr int kMostSide = 16;  // of a tile that is embedded

void check_size(const Canvas& canvas, const Strided& images, int channels) {
    const Geometry& g = canvas.geometry();
    const std::ptrdiff_t size[4] = {g.batch, g.height, g.width, channels};
    if (!std::equal(size, size + 4, images.size)) {
        throw std::invalid_argument("the images do not have the size of the canvas, or not the channels that are wanted");
    }
}

// One row of pixels less the mean, as one of the three rows of each column's taps: `to` is [column][row][channel], with a
// column of zeros on either side.
void gather_row(const HeadWeights& weights, const Strided& images, int image, int row, int tap, float* to) {
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
        for (int x = 1; x <= width; ++x, pixel += images.stride[2]) to[x * step + channel] = *pixel - mean;
    }
}

}  // namespace

void take(const Canvas& canvas, const Strided& images, const float* scale, int threads) {
    check_size(canvas, images, canvas.channels());
    const Geometry& g = canvas.geometry();
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int) {
        const int image = task / g.height, row = task % g.height, channels = canvas.channels();
        float* to = canvas.image() + (image * g.plane + row * g.row) * canvas.pitch();
        const float* from = images.data + image * images.stride[0] + row * images.stride[1];
        const std::ptrdiff_t step = images.stride[3];
        for (int x = 0; x < g.width; ++x, to += canvas.pitch(), from += images.stride[2]) {
            // A run on what is not a number leaves such behind where zeros pad the channels.
            std::fill_n(to + channels, canvas.pitch() - channels, 0.0f);
            if (scale) {
                for (int channel = 0; channel < channels; ++channel) to[channel] = scale[image] * from[channel * step];
            } else if (step == 1) {
                std::copy_n(from, channels, to);
            } else {
                for (int channel = 0; channel < channels; ++channel) to[channel] = from[channel * step];
            }
        }
    });
}

void head(const HeadWeights& weights, const Strided& images, const Canvas& out, Scratch& scratch, int threads) {
    check_size(out, images, weights.image_channels());
    if (out.channels() != weights.out_channels()) throw std::invalid_argument("the canvas has not the channels of the head");
    const Geometry& g = out.geometry();
    const std::size_t floats = weights.scratch(g.width);
    const int step = 3 * weights.image_channels();
    const Strip job = {1, 3 * step, step, weights.packed(), static_cast<std::ptrdiff_t>(weights.depth()) * weights.panel(),
                       weights.panels(), weights.bias(), 1, out.pitch()};
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int worker) {
        const int image = task / g.height, row = task % g.height;
        float* window = memory + worker * floats;
        for (int tap = 0; tap < 3; ++tap) gather_row(weights, images, image, row + tap - 1, tap, window);
        const float* runs[1] = {window};
        weights.kernels().strip(job, runs, g.width, out.image() + (image * g.plane + row * g.row) * out.pitch());
    });
}

void embed(
    const EmbeddingWeights& weights, const Canvas& source, const Canvas& out, float slope, Scratch& scratch,
    int threads) {
    const Geometry &from = source.geometry(), &to = out.geometry();
    const int side = weights.side(), depth = source.pitch();
    if (side > kMostSide) throw std::invalid_argument("a tile has at most 16 pixels along a side");
    if (source.channels() != weights.in_channels() || out.channels() != weights.out_channels()) {
        throw std::invalid_argument("the canvases have not the channels of the embedding");
    }
    if (from.batch != to.batch || (from.height + side - 1) / side != to.height || (from.width + side - 1) / side != to.width) {
        throw std::invalid_argument("the canvas that is stored has to have a pixel for each tile of the one that is read");
    }
    const std::size_t floats = weights.scratch();
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    Pool::instance().run(to.batch * to.height, threads, [&](int task, int worker) {
        const int image = task / to.height, row = task % to.height, whole = from.width / side;
        const Strip job = {side, side * depth, static_cast<std::ptrdiff_t>(side) * depth, weights.packed(),
                           static_cast<std::ptrdiff_t>(side) * side * depth * weights.panel(), weights.panels(),
                           weights.bias(), slope, out.pitch()};
        const float* runs[kMostSide];
        for (int y = 0; y < side; ++y) {
            const int line = std::min(row * side + y, from.height - 1);
            runs[y] = source.image() + (image * from.plane + line * from.row) * depth;
        }
        float* first = out.image() + (image * to.plane + row * to.row) * out.pitch();
        weights.kernels().strip(job, runs, whole, first);
        if (whole == to.width) return;
        for (int y = 0; y < side; ++y) {
            float* copy = memory + worker * floats + static_cast<std::ptrdiff_t>(y) * side * depth;
            for (int x = 0; x < side; ++x) {
                const std::ptrdiff_t column = std::min(whole * side + x, from.width - 1);
                std::copy_n(runs[y] + column * depth, depth, copy + x * depth);
            }
            runs[y] = copy;
        }
        weights.kernels().strip(job, runs, 1, first + static_cast<std::ptrdiff_t>(whole) * out.pitch());
    });
}

}  // namespace adadsr
