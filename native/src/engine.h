// What the extension offers: checked operations on canvases, run by all threads.
#pragma once

#include <mutex>

#include "canvas.h"
#include "weights.h"

namespace adadsr {

// Memory that the threads compute in. It grows to what the largest operation needs and is then used again and again.
// One operation at a time uses it: others that are given the same scratch wait.
class Scratch {
public:
    std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(in_use_); }
    // Under the lock: at least so many floats for each of some workers.
    float* reserve(std::size_t floats_a_worker, int workers);
    std::size_t bytes() const { return memory_.size() * sizeof(float); }

private:
    std::mutex in_use_;
    Buffer memory_;
};

// What a conv does with its sums, as in `Store`: out = gate * relu(sum) + plus, or with PReLU instead of ReLU.
struct Finish {
    bool relu = false;
    float slope = 1;  // of what is negative: PReLU
    const Depths* depths = nullptr;
    float block = 0;
    const Canvas* plus = nullptr;
};

// The conv at a list of tiles; what hangs over the image is computed and not stored. All raise std::invalid_argument
// where sizes, channels or positions do not fit together, and where `out` is what is read.
void conv_tiles(
    const TileWeights& weights, const Canvas& source, const Canvas& out, const Positions& tiles, const Finish& finish,
    Scratch& scratch, int threads);

// The conv at a list of pixels.
void conv_pixels(
    const PixelWeights& weights, const Canvas& source, const Canvas& out, const Positions& pixels,
    const Finish& finish, int threads);

// Ordinary images, (batch, channels, height, width) in memory.
struct Enlarged {
    float* data;
    int batch, channels, height, width;
};

constexpr int kPlaces = 4;  // first, between, last, only: along an axis

// The rows top .. bottom - 1 of a canvas, enlarged into images. weights: for each place of a row and of a column, in this
// order, since a conv that sees zeros beyond the border of what was enlarged has other weights there.
void enlarge(
    const std::vector<const EnlargingWeights*>& weights, const Canvas& source, const Enlarged& out, int top, int bottom,
    int threads);

// Any images in memory, (batch, height, width, channels), with the floats from one to the next along each axis.
struct Strided {
    const float* data;
    std::ptrdiff_t size[4], stride[4];
};

// Copy images into a canvas of their size, each times its scale; null for 1.
void take(const Canvas& canvas, const Strided& images, const float* scale, int threads);

// The head: images less their mean, and a 3x3 conv of them into a canvas.
void head(const HeadWeights& weights, const Strided& images, const Canvas& out, Scratch& scratch, int threads);

// out = prelu(conv(source)) for each tile of `source`, one pixel of `out`. Tiles that hang over the border see the last
// row and column repeated.
void embed(
    const EmbeddingWeights& weights, const Canvas& source, const Canvas& out, float slope, Scratch& scratch,
    int threads);

// Zero at a list of tiles.
void clear_tiles(const Canvas& canvas, const Positions& tiles);

// Floats of scratch that `attend` needs for so many positions.
std::size_t sums_floats(int batch, int channels, int positions);

// out += attention(update) at tiles and pixels; what lies elsewhere counts as zero in the means over the image.
void attend(
    const Attention& attention, const Canvas& out, const Canvas& update, const Positions& tiles, const Positions& pixels,
    Scratch& scratch, int threads);

}  // namespace adadsr
