// Canvases: the features of some images as all kernels read and write them.
#pragma once

#include <cstdint>
#include <memory>

#include "buffer.h"
#include "kernels.h"

namespace adadsr {

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

// Features of some images, channels innermost, in the planes that `Geometry` describes. The border
// around an image and the channels that pad a pixel are zero and stay zero: no kernel stores
// anything else there.
class Canvas {
public:
    // The layout of a canvas before it is allocated. Raises std::invalid_argument for a size below
    // 1 and for 2^31 pixels or more.
    struct Plan {
        Geometry geometry;
        int pitch;
        std::ptrdiff_t guard;
        std::size_t floats;

        Plan(int batch, int height, int width, int channels);
    };

    Canvas(int batch, int height, int width, int channels)
        : Canvas(Plan(batch, height, width, channels), channels) {}

    const Geometry& geometry() const { return geometry_; }
    int channels() const { return channels_; }
    int pitch() const { return pitch_; }  // floats of a pixel
    int tiles() const { return tiles_of(geometry_); }
    int pixels() const { return pixels_of(geometry_); }
    // First pixel of the first plane.
    float* data() { return buffer_->data() + guard_; }
    const float* data() const { return const_cast<const Buffer&>(*buffer_).data() + guard_; }
    // A pixel of an image.
    float* pixel(int image, int row, int column) { return data() + offset(image, row, column); }
    const float* pixel(int image, int row, int column) const {
        return data() + offset(image, row, column);
    }
    std::size_t bytes() const { return buffer_->size() * sizeof(float); }
    bool same_size(const Canvas& other) const;
    bool shares_memory(const Canvas& other) const { return buffer_ == other.buffer_; }
    // The memory, for whoever keeps it alive beyond the canvas.
    const std::shared_ptr<Buffer>& share() const { return buffer_; }
    // Whether nobody else holds the memory, such as an array that views it.
    bool is_unshared() const;

private:
    Canvas(const Plan& plan, int channels);
    std::ptrdiff_t offset(int image, int row, int column) const {
        return (image * geometry_.plane + (row + 1) * geometry_.row + column + 1) * pitch_;
    }

    Geometry geometry_;
    int channels_, pitch_;
    // Zeros before the first plane and after the last: a 5x5 conv looks two rows and pixels out.
    std::ptrdiff_t guard_;
    std::shared_ptr<Buffer> buffer_;
};

// Images outside the engine, (batch, height, width, channels), with the floats from one to the next
// along each axis.
template <class Value>
struct ImageView {
    Value* data;
    std::ptrdiff_t size[4], stride[4];
};

// Copies images into a canvas of their size, each times its scale; null for 1.
void copy_images(
    Canvas& canvas, const ImageView<const float>& images, const float* scale, int threads);

// Raises std::invalid_argument unless images have the size of a canvas, and this many channels.
void check_size(const Canvas& canvas, const ImageView<const float>& images, int channels);

}  // namespace adadsr
