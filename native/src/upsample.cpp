// The last conv of a tail, folded into the one before it.
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
    const ImageView<float>& out, int top, int bottom) {
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
    if (top < 0 || bottom > g.height || top > bottom) {
        refuse("rows ", top, " to ", bottom, " of ", g.height);
    }
    const std::ptrdiff_t size[4] = {
        g.batch, (bottom - top) * f, g.width * f, first.out_channels() / (f * f)};
    if (!std::equal(size, size + 4, out.size)) {
        refuse("out has to be ", size[0], "x", size[1], "x", size[2], "x", size[3]);
    }
}

// top: the row of the canvas that the first rows of `out` belong to.
UpsampleJob make_job(
    const UpsamplingWeights& weights, const Canvas& source, const ImageView<float>& out, int top) {
    UpsampleJob job{};
    job.geometry = source.geometry();
    job.source = source.data();
    job.in_pitch = source.pitch();
    job.weights = weights.packed();
    job.bias = weights.bias();
    job.panel = weights.panel();
    job.panels = weights.panels();
    job.out =
        out.data - static_cast<std::ptrdiff_t>(top) * weights.upscale_factor() * out.stride[1];
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
    const ImageView<float>& out, int top, int bottom, int threads) {
    check(weights, source, out, top, bottom);
    const Geometry& g = source.geometry();
    const int rows = bottom - top;
    Pool::instance().run(g.batch * rows, threads, [&](int task, int) {
        const int image = task / rows, row = top + task % rows;
        const auto run = [&](int column_case, int first, int last) {
            const int number = edge_case(row, g.height) * kEdgeCases + column_case;
            const UpsamplingWeights& set = *weights[number];
            set.kernels().upsample(make_job(set, source, out, top), image, row, first, last);
        };
        for (int first = 0; first < g.width;) {
            const int column_case = edge_case(first, g.width);
            const int last = column_case == 1 ? g.width - 1 : first + 1;
            run(column_case, first, last);
            first = last;
        }
    });
}

}  // namespace adadsr
