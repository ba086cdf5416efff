// Tails with PixelShuffle, folded into one conv.
#include <algorithm>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

// Which of the `kEdgeCases` a position along an axis is.
int edge_case(int at, int size) { return size == 1 ? 3 : at == 0 ? 0 : at == size - 1 ? 2 : 1; }

void check(
    const std::vector<const UpsamplingWeights*>& weights, const Canvas& source,
    const ImageView<float>& out, int top, int left) {
    const Geometry& g = source.geometry();
    source.check_floats("source");
    if (weights.size() != kEdgeCases * kEdgeCases) {
        refuse(weights.size(), " sets of weights; give 16, one for each edge case");
    }
    const UpsamplingWeights& first = *weights[0];
    const int f = first.upscale_factor();
    for (const UpsamplingWeights* set : weights) {
        if (set->in_channels() != source.channels() || set->upscale_factor() != f ||
            set->out_channels() != first.out_channels() || &set->kernels() != &first.kernels()) {
            refuse("the weights do not fit the canvas, or each other");
        }
    }
    const std::ptrdiff_t rows = out.size[1] / f, columns = out.size[2] / f;
    const std::ptrdiff_t size[4] = {g.batch, rows * f, columns * f, first.out_channels() / (f * f)};
    if (!std::equal(size, size + 4, out.size)) {
        refuse(
            "out has to be ", size[0], "xHxWx", size[3], " with multiples of ", f,
            " as height and width");
    }
    if (top < 0 || top + rows > g.height) {
        refuse("rows ", top, " to ", top + rows, " of ", g.height);
    }
    if (left < 0 || left + columns > g.width) {
        refuse("columns ", left, " to ", left + columns, " of ", g.width);
    }
}

// top, left: the pixel of the canvas that the first pixels of `out` belong to.
UpsampleJob make_job(
    const UpsamplingWeights& weights, const Canvas& source, const ImageView<float>& out, int top,
    int left) {
    const std::ptrdiff_t f = weights.upscale_factor();
    UpsampleJob job{};
    job.geometry = source.geometry();
    job.source = source.data();
    job.in_pitch = source.pitch();
    job.weights = weights.packed();
    job.bias = weights.bias();
    job.panel = weights.panel();
    job.panels = weights.panels();
    job.out = out.data - top * f * out.stride[1] - left * f * out.stride[2];
    job.image_stride = out.stride[0];
    job.row_stride = out.stride[1];
    job.column_stride = out.stride[2];
    job.channel_stride = out.stride[3];
    job.channels = static_cast<int>(out.size[3]);
    job.upscale_factor = weights.upscale_factor();
    return job;
}

}  // namespace

void upsample(
    const std::vector<const UpsamplingWeights*>& weights, const Canvas& source,
    const ImageView<float>& out, int top, int left, int threads) {
    check(weights, source, out, top, left);
    const Geometry& g = source.geometry();
    const int f = weights[0]->upscale_factor();
    const int rows = static_cast<int>(out.size[1]) / f,
              right = left + static_cast<int>(out.size[2]) / f;
    Pool::instance().run(g.batch * rows, threads, [&](int task, int) {
        const int image = task / rows, row = top + task % rows;
        const auto run_columns = [&](int column_case, int first, int last) {
            const int number = edge_case(row, g.height) * kEdgeCases + column_case;
            const UpsamplingWeights& set = *weights[number];
            const Kernels& kernels = set.kernels();
            const auto run = set.is_split() ? kernels.upsample_split : kernels.upsample;
            run(make_job(set, source, out, top, left), image, row, first, last);
        };
        for (int first = left; first < right;) {
            const int column_case = edge_case(first, g.width);
            const int last = column_case == 1 ? std::min(right, g.width - 1) : first + 1;
            run_columns(column_case, first, last);
            first = last;
        }
    });
}

}  // namespace adadsr
