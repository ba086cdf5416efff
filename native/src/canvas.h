// Canvases: the features of some images as all kernels read and write them.
#pragma once

#include <cstdint>
#include <memory>

#include "buffer.h"
#include "kernels.h"

namespace adadsr {

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

// In which precision a canvas holds its features.
enum class Precision { kFloat32, kBfloat16, kBoth };

// Features of some images, channels innermost, in the planes that `Geometry` describes. The border
// around an image and the channels that pad a pixel are zero and stay zero: no kernel stores
// anything else there.
//
// A canvas holds them in float32, in bfloat16, which the convs of `Bf16Kernels` read, or in both,
// in planes of the same geometry. Those convs, `copy_images`, `clear` and `copy` write any canvas.
// The other operations need float32, and round it if the canvas holds both.
class Canvas {
public:
    // The layout of a canvas before it is allocated. Raises std::invalid_argument for a size below
    // 1 and for 2^31 pixels or more.
    struct Plan {
        Geometry geometry;
        Precision precision;
        int pitch, bf16_pitch;
        std::ptrdiff_t guard;  // pixels
        std::size_t floats;    // in all, two numbers of bfloat16 in a float's place

        Plan(int batch, int height, int width, int channels, Precision precision);
    };

    Canvas(
        int batch, int height, int width, int channels, Precision precision = Precision::kFloat32)
        : Canvas(Plan(batch, height, width, channels, precision), channels) {}

    const Geometry& geometry() const { return geometry_; }
    int channels() const { return channels_; }
    int pitch() const { return pitch_; }  // floats of a pixel
    int tiles() const { return tiles_of(geometry_); }
    int pixels() const { return pixels_of(geometry_); }
    // First pixel of the first plane; null without floats.
    float* data() { return has_floats() ? buffer_->data() + guard_ * pitch_ : nullptr; }
    const float* data() const { return const_cast<Canvas&>(*this).data(); }
    bool has_floats() const { return precision_ != Precision::kBfloat16; }
    bool has_bf16() const { return precision_ != Precision::kFloat32; }
    // Raises std::invalid_argument without floats. name: of the canvas.
    void check_floats(const char* name) const;
    int bf16_pitch() const { return bf16_pitch_; }  // numbers of a pixel in bfloat16
    // First pixel of the first plane in bfloat16; null without.
    std::uint16_t* bf16();
    const std::uint16_t* bf16() const { return const_cast<Canvas&>(*this).bf16(); }
    std::uint16_t* bf16(int image, int row, int column) {
        return bf16() + number(image, row, column) * bf16_pitch_;
    }
    // Rounds neighbouring pixels of a row, whose floats have been written. Does nothing unless the
    // canvas holds both precisions.
    void round(int image, int row, int column, int pixels);
    // Sets neighbouring pixels of a row to zero, or to those of a canvas of the same size that
    // holds the same precisions.
    void clear(int image, int row, int column, int pixels);
    void copy(const Canvas& source, int image, int row, int column, int pixels);
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
        return number(image, row, column) * pitch_;
    }
    std::ptrdiff_t number(int image, int row, int column) const {
        return image * geometry_.plane + (row + 1) * geometry_.row + column + 1;
    }

    Geometry geometry_;
    Precision precision_;
    int channels_, pitch_, bf16_pitch_;
    // Pixels of zeros before the first plane and after the last: a 5x5 conv looks two rows and
    // pixels out.
    std::ptrdiff_t guard_;
    std::shared_ptr<Buffer> buffer_;
};

// Where a tile lies: its first pixel, and its size without what overhangs the image.
struct TilePlace {
    int image, row, column, height, width;

    TilePlace(const Geometry& g, int tile) {
        const int per_image = g.tile_rows * g.tile_columns, inside = tile % per_image;
        image = tile / per_image;
        row = inside / g.tile_columns * kTile;
        column = inside % g.tile_columns * kTile;
        height = g.height - row < kTile ? g.height - row : kTile;
        width = g.width - column < kTile ? g.width - column : kTile;
    }
};

// Where a pixel lies.
struct PixelPlace {
    int image, row, column;

    PixelPlace(const Geometry& g, int pixel)
        : image(pixel / g.width / g.height),
          row(pixel / g.width % g.height),
          column(pixel % g.width) {}
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

// Rounds all images of a canvas. Does nothing unless it holds both precisions.
void round_images(Canvas& canvas, int threads);

// Raises std::invalid_argument unless images have the size of a canvas, and this many channels.
void check_size(const Canvas& canvas, const ImageView<const float>& images, int channels);

}  // namespace adadsr
