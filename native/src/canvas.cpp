#include "canvas.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "pool.h"
#include "refuse.h"

namespace adadsr {

Canvas::Plan::Plan(int batch, int height, int width, int channels) {
    if (batch < 1 || height < 1 || width < 1 || channels < 1) {
        refuse(
            "a canvas of ", batch, " images of ", height, "x", width, " pixels with ", channels,
            " channels; give at least 1 of each");
    }
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    const auto padded = [](std::int64_t size) { return (size + kTile - 1) / kTile * kTile + 2; };
    const std::int64_t rows = padded(height), columns = padded(width);
    if (rows > most / columns || rows * columns > most / batch || channels > most / 64) {
        refuse("a canvas of 2^31 pixels or more; run the image in tiles");
    }
    pitch = round_up(channels, kChannelStep);
    geometry = {batch,
                height,
                width,
                static_cast<int>(rows / kTile),
                static_cast<int>(columns / kTile),
                columns,
                rows * columns};
    guard = (geometry.row + 2 + kUpsamplePixels) * pitch;
    floats = static_cast<std::size_t>(geometry.plane) * batch * pitch + 2 * guard;
}

Canvas::Canvas(const Plan& plan, int channels)
    : geometry_(plan.geometry),
      channels_(channels),
      pitch_(plan.pitch),
      guard_(plan.guard),
      buffer_(std::make_shared<Buffer>(plan.floats)) {}

bool Canvas::same_size(const Canvas& other) const {
    const Geometry &a = geometry_, &b = other.geometry_;
    return a.batch == b.batch && a.height == b.height && a.width == b.width;
}

bool Canvas::is_unshared() const {
    if (buffer_.use_count() != 1) return false;
    // Makes what other threads did to the memory before they dropped it visible.
    std::atomic_thread_fence(std::memory_order_acquire);
    return true;
}

void check_size(const Canvas& canvas, const ImageView<const float>& images, int channels) {
    const Geometry& g = canvas.geometry();
    const std::ptrdiff_t size[4] = {g.batch, g.height, g.width, channels};
    if (std::equal(size, size + 4, images.size)) return;
    const auto text = [](const std::ptrdiff_t (&shape)[4]) {
        std::string sizes;
        for (const std::ptrdiff_t extent : shape) sizes += "x" + std::to_string(extent);
        return sizes.substr(1);
    };
    refuse("the images are ", text(images.size), ", not ", text(size));
}

void copy_images(
    Canvas& canvas, const ImageView<const float>& images, const float* scale, int threads) {
    check_size(canvas, images, canvas.channels());
    const Geometry& g = canvas.geometry();
    const int channels = canvas.channels(), pitch = canvas.pitch();
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int) {
        const int image = task / g.height, row = task % g.height;
        float* to = canvas.pixel(image, row, 0);
        const float* from = images.data + image * images.stride[0] + row * images.stride[1];
        const std::ptrdiff_t step = images.stride[3];
        for (int x = 0; x < g.width; ++x, to += pitch, from += images.stride[2]) {
            // A run on NaN leaves NaN in the channels that pad a pixel.
            std::fill_n(to + channels, pitch - channels, 0.0f);
            if (scale) {
                for (int c = 0; c < channels; ++c) to[c] = scale[image] * from[c * step];
            } else if (step == 1) {
                std::copy_n(from, channels, to);
            } else {
                for (int c = 0; c < channels; ++c) to[c] = from[c * step];
            }
        }
    });
}

}  // namespace adadsr
