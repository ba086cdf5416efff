// The operations on canvases. Each checks its arguments, cuts the work into pieces and runs them on
// the pool. All raise std::invalid_argument if sizes, channels or positions do not match.
#pragma once

#include <mutex>
#include <vector>

#include "canvas.h"
#include "positions.h"
#include "weights.h"

namespace adadsr {

// Memory in which the threads compute. It grows to what the largest operation needs and is reused.
// One operation at a time uses it; others that are given the same scratch wait.
class Scratch {
public:
    std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(in_use_); }
    // At least `floats` floats for each worker. Call it under the lock.
    float* reserve(std::size_t floats, int workers);
    std::size_t bytes() const { return memory_.size() * sizeof(float); }

private:
    std::mutex in_use_;
    Buffer memory_;
};

// What a conv does with its sums: out = gate * (relu(sum) + factor * also) + plus, or with PReLU in
// place of ReLU. The weights may have slopes of their own.
struct Finish {
    bool relu = false;
    float slope = 1;  // of PReLU; 1 for none
    const Depths* depths = nullptr;
    float block = 0;  // the gate is clamp(depths - block, 0, 1); 1 without depths
    const Canvas* plus = nullptr;
    const Canvas* passed = nullptr;  // results of the ReLU become 0 where it is not above 0
    const Canvas* also = nullptr;
    float also_factor = 1;
};

// Canvases of channels that a conv of tiles reads after those of its source, which then count with
// their padding: what earlier convs have made. All have the same size and number of channels.
using Further = std::vector<const Canvas*>;

// The conv at a list of tiles. Pixels that overhang the image are computed and not stored. `out`
// must not be what is read, but may be `finish.plus`.
void conv_tiles(
    const TileWeights& weights, const Canvas& source, const Further& more, Canvas& out,
    const Positions& tiles, const Finish& finish, Scratch& scratch, int threads);

// Pixels along the side of what shares a depth: 1 or kTile. Raises std::invalid_argument if a depth
// map has neither the pixels nor the tiles of a canvas.
int depth_side(const Depths& depths, const Geometry& geometry);

// The conv at a list of pixels.
void conv_pixels(
    const PixelWeights& weights, const Canvas& source, Canvas& out, const Positions& pixels,
    const Finish& finish, int threads);

constexpr int kEdgeCases = 4;  // along an axis: the first position, between, the last, the only one

// Upsamples a rectangle of a canvas, from (top, left) on, into images of its size times the factor.
// weights: for each edge case of a row and, inside, of a column, since a conv that sees zeros
// beyond the border has other weights there.
void upsample(
    const std::vector<const UpsamplingWeights*>& weights, const Canvas& source,
    const ImageView<float>& out, int top, int left, int threads);

// The head: a 3x3 conv of images less their mean.
void head(
    const HeadWeights& weights, const ImageView<const float>& images, Canvas& out, Scratch& scratch,
    int threads);

// out = prelu(conv(source)) for each patch of `source`, a pixel of `out`. Patches that overhang the
// border see the last row and column repeated.
void patch_embed(
    const PatchWeights& weights, const Canvas& source, Canvas& out, float slope, Scratch& scratch,
    int threads);

// Replaces the weights. weight: (out, 3, 3, in). adjoint: of the conv whose input gradient these
// weights compute, so that it has as many out channels as they have in channels. bias: (out), null
// to keep it.
void repack(
    TileWeights& weights, const float* weight, const float* bias, bool adjoint, int threads);

// Gradients of a conv's weight, (out, 3, 3, in), and bias, (out), from the canvas that it read and
// the gradient of what it returned, which counts as zero outside a list of tiles. The results do
// not depend on the number of threads.
void weight_gradient(
    const Kernels& kernels, const Canvas& source, const Canvas& gradient, const Positions& tiles,
    float* weight, float* bias, Scratch& scratch, int threads);

// out = gate * source with the gate of a block, at every pixel. out may be source.
void multiply_gate(
    const Canvas& source, const Depths& depths, float block, Canvas& out, int threads);

// Adds the sum of update * gradient over each tile of a list, or each of its pixels, to out
// (batch, rows, columns, 1), which has the canvas's tiles or its pixels.
void gate_gradient(
    const Canvas& update, const Canvas& gradient, const Positions& tiles,
    const ImageView<float>& out, int threads);

// Sets a list of tiles to zero.
void clear_tiles(Canvas& canvas, const Positions& tiles, int threads);

// Copies a list of tiles from one canvas to another of its size and channels.
void copy_tiles(const Canvas& source, Canvas& out, const Positions& tiles, int threads);

// out = PixelShuffle of the part of `source` that begins at (top, left), plus `images` enlarged by
// nearest neighbour, unless null. The factor is that of the sizes of `out` and `images`, or 1.
void shuffle_pixels(
    const Canvas& source, const ImageView<const float>* images, const ImageView<float>& out,
    int top, int left, int factor, int threads);

// Floats of scratch that `attend` needs for this number of positions.
std::size_t attention_floats(int batch, int channels, int positions);

// Means over images, (batch, channels). given: they are read; otherwise those of the canvas are
// written.
struct Means {
    float* values;
    bool given;
};

// out += attention(update) at tiles and pixels; the means over an image count all else as zero.
// Also raises std::invalid_argument if a pixel lies in one of the tiles: it would be added twice,
// by two threads at the same time. means: null for neither.
void attend(
    const Attention& attention, Canvas& out, const Canvas& update, const Positions& tiles,
    const Positions& pixels, Scratch& scratch, int threads, const Means* means = nullptr);

}  // namespace adadsr
