#include "canvas.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "bfloat16.h"
#include "dispatch.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {

Canvas::Plan::Plan(int batch, int height, int width, int channels, Precision precision)
    : precision(precision) {
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
    bf16_pitch = round_up(channels, kSplitStep);
    guard = geometry.row + 2 + kUpsamplePixels;
    const int of_floats = precision == Precision::kBfloat16 ? 0 : pitch;
    const int of_bf16 = precision == Precision::kFloat32 ? 0 : bf16_pitch / 2;
    const auto pixels = static_cast<std::size_t>(geometry.plane) * batch + 2 * guard;
    floats = pixels * (of_floats + of_bf16);
}

Canvas::Canvas(const Plan& plan, int channels)
    : geometry_(plan.geometry),
      precision_(plan.precision),
      channels_(channels),
      pitch_(plan.pitch),
      bf16_pitch_(plan.bf16_pitch),
      guard_(plan.guard),
      buffer_(std::make_shared<Buffer>(plan.floats)) {}

bool Canvas::same_size(const Canvas& other) const {
    const Geometry &a = geometry_, &b = other.geometry_;
    return a.batch == b.batch && a.height == b.height && a.width == b.width;
}

void Canvas::check_floats(const char* name) const {
    if (!has_floats()) refuse(name, " holds only bfloat16; give one of precision float32 or both");
}

std::uint16_t* Canvas::bf16() {
    if (!has_bf16()) return nullptr;
    const std::ptrdiff_t pixels = geometry_.plane * geometry_.batch + 2 * guard_;
    float* first = buffer_->data() + (has_floats() ? pixels * pitch_ : 0);
    return reinterpret_cast<std::uint16_t*>(first) + guard_ * bf16_pitch_;
}

void Canvas::round(int image, int row, int column, int pixels) {
    if (precision_ != Precision::kBoth) return;
    const float* from = pixel(image, row, column);
    std::uint16_t* to = bf16(image, row, column);
    static const Kernels* const kernels = bf16_kernels();
    for (int i = 0; i < pixels; ++i, from += pitch_, to += bf16_pitch_) {
        if (kernels) {
            kernels->bf16->round(from, pitch_, to);
        } else {
            std::transform(from, from + pitch_, to, nearest_bfloat16);
        }
    }
}

void Canvas::clear(int image, int row, int column, int pixels) {
    const std::ptrdiff_t first = number(image, row, column);
    if (has_floats()) std::fill_n(data() + first * pitch_, pixels * pitch_, 0.0f);
    if (has_bf16()) {
        std::fill_n(bf16() + first * bf16_pitch_, pixels * bf16_pitch_, std::uint16_t{0});
    }
}

void Canvas::copy(const Canvas& source, int image, int row, int column, int pixels) {
    const std::ptrdiff_t first = number(image, row, column);
    if (has_floats()) {
        std::copy_n(source.data() + first * pitch_, pixels * pitch_, data() + first * pitch_);
    }
    if (has_bf16()) {
        const std::ptrdiff_t at = first * bf16_pitch_;
        std::copy_n(source.bf16() + at, pixels * bf16_pitch_, bf16() + at);
    }
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

void round_images(Canvas& canvas, int threads) {
    const Geometry& g = canvas.geometry();
    if (!canvas.has_floats() || !canvas.has_bf16()) return;
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int) {
        canvas.round(task / g.height, task % g.height, 0, g.width);
    });
}

namespace {

// Copies a row of images into a canvas that holds only bfloat16.
void copy_as_bf16(
    Canvas& canvas, const ImageView<const float>& images, int image, int row, float scale) {
    const float* from = images.data + image * images.stride[0] + row * images.stride[1];
    const int channels = canvas.channels(), pitch = canvas.bf16_pitch();
    std::uint16_t* to = canvas.bf16(image, row, 0);
    for (int x = 0; x < canvas.geometry().width; ++x, to += pitch, from += images.stride[2]) {
        for (int c = 0; c < channels; ++c) {
            to[c] = nearest_bfloat16(scale * from[c * images.stride[3]]);
        }
        std::fill_n(to + channels, pitch - channels, std::uint16_t{0});
    }
}

}  // namespace

void copy_images(
    Canvas& canvas, const ImageView<const float>& images, const float* scale, int threads) {
    check_size(canvas, images, canvas.channels());
    const Geometry& g = canvas.geometry();
    const int channels = canvas.channels(), pitch = canvas.pitch();
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int) {
        const int image = task / g.height, row = task % g.height;
        if (!canvas.has_floats()) {
            return copy_as_bf16(canvas, images, image, row, scale ? scale[image] : 1);
        }
        const float* from = images.data + image * images.stride[0] + row * images.stride[1];
        const std::ptrdiff_t step = images.stride[3];
        float* to = canvas.pixel(image, row, 0);
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
        canvas.round(image, row, 0, g.width);
    });
}

}  // namespace adadsr
