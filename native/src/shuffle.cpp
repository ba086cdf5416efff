// The end of a tail: from a canvas to images.
#include <algorithm>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

void check(
    const Canvas& source, const ImageView<const float>* images, const ImageView<float>& out,
    int top, int left, int factor) {
    const Geometry& g = source.geometry();
    source.check_floats("source");
    if (factor < 1 || factor > 8) refuse("an upscale factor is from 1 to 8, not ", factor);
    const std::ptrdiff_t channels = source.channels() / (factor * factor);
    const std::ptrdiff_t height = out.size[1] / factor, width = out.size[2] / factor;
    const std::ptrdiff_t size[4] = {g.batch, height * factor, width * factor, channels};
    if (source.channels() % (factor * factor) || !std::equal(size, size + 4, out.size)) {
        refuse(
            "out is ", out.size[0], "x", out.size[1], "x", out.size[2], "x", out.size[3],
            ", which does not fit ", source.channels(), " channels and an upscale factor of ",
            factor);
    }
    if (top < 0 || left < 0 || top + height > g.height || left + width > g.width) {
        refuse("the part at (", top, ", ", left, ") leaves the canvas");
    }
    const std::ptrdiff_t small[4] = {g.batch, height, width, channels};
    if (images && !std::equal(small, small + 4, images->size)) {
        refuse("the images have to be ", small[0], "x", height, "x", width, "x", channels);
    }
}

}  // namespace

void shuffle_pixels(
    const Canvas& source, const ImageView<const float>* images, const ImageView<float>& out,
    int top, int left, int factor, int threads) {
    check(source, images, out, top, left, factor);
    const int rows = static_cast<int>(out.size[1]), columns = static_cast<int>(out.size[2]);
    const int channels = static_cast<int>(out.size[3]), batch = source.geometry().batch;
    Pool::instance().run(batch * rows, threads, [&](int task, int) {
        const int image = task / rows, row = task % rows, y = row / factor;
        const int part = row % factor * factor;  // of the first pixel
        float* to = out.data + image * out.stride[0] + row * out.stride[1];
        const float* base =
            images ? images->data + image * images->stride[0] + y * images->stride[1] : nullptr;
        for (int x = 0; x < columns / factor; ++x) {
            const float* from = source.pixel(image, top + y, left + x) + part;
            for (int column = 0; column < factor; ++column, ++from, to += out.stride[2]) {
                for (int c = 0; c < channels; ++c) {
                    float value = from[c * factor * factor];
                    if (base) value += base[c * images->stride[3]];
                    to[c * out.stride[3]] = value;
                }
            }
            if (base) base += images->stride[2];
        }
    });
}

}  // namespace adadsr
