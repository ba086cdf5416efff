// The last conv of a tail, folded into the one before it: which weights a pixel gets, and all threads on the rows.
#include <algorithm>
#include <stdexcept>

#include "engine.h"
#include "pool.h"

namespace adadsr {
namespace {

// Where a pixel lies along an axis: at the first place, between, at the last, or alone.
int place(int at, int size) { return size == 1 ? 3 : at == 0 ? 0 : at == size - 1 ? 2 : 1; }

void check(const std::vector<const EnlargingWeights*>& weights, const Canvas& source, const Enlarged& out, int top, int bottom) {
    const Geometry& g = source.geometry();
    if (weights.size() != kPlaces * kPlaces) throw std::invalid_argument("give 16 sets of weights, one for each place");
    const int factor = weights[0]->enlarges(), outputs = out.channels * factor * factor;
    for (const EnlargingWeights* set : weights) {
        if (set->in_channels() != source.channels() || set->out_channels() != outputs || set->enlarges() != factor ||
            &set->kernels() != &weights[0]->kernels()) {
            throw std::invalid_argument("the weights do not fit the canvas, the image that is stored, or each other");
        }
    }
    if (out.batch != g.batch || out.height != g.height * factor || out.width != g.width * factor) {
        throw std::invalid_argument("the image that is stored has to be larger than the canvas by the factor");
    }
    if (top < 0 || bottom > g.height || top > bottom) throw std::invalid_argument("the rows lie outside the canvas");
}

}  // namespace

void enlarge(
    const std::vector<const EnlargingWeights*>& weights, const Canvas& source, const Enlarged& out, int top, int bottom,
    int threads) {
    check(weights, source, out, top, bottom);
    const Geometry& g = source.geometry();
    const int rows = bottom - top, factor = weights[0]->enlarges();
    Pool::instance().run(g.batch * rows, threads, [&](int task, int) {
        const int image = task / rows, row = top + task % rows;
        for (int first = 0; first < g.width;) {
            const int column_place = place(first, g.width), last = column_place == 1 ? g.width - 1 : first + 1;
            const EnlargingWeights& set = *weights[place(row, g.height) * kPlaces + column_place];
            const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(out.height) * out.width;
            const Enlargement job = {g, source.data(), source.pitch(), set.packed(), set.bias(), set.panel(), set.panels(),
                                     out.data, out.width, plane, out.channels, factor};
            set.kernels().enlarge(job, image, row, first, last);
            first = last;
        }
    });
}

}  // namespace adadsr
