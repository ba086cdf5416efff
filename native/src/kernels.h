// What all instruction sets share: the layout of features, the jobs of the kernels, and the table
// of what an instruction set offers.
//
// The files of an instruction set include this one, so nothing here has external linkage: a linker
// that finds an inline function twice keeps either copy, also the one with AVX-512, for everybody.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

namespace adadsr {

constexpr int kTile = 4;                    // side of a tile in pixels
constexpr int kTilePixels = kTile * kTile;  // pixels of a tile
constexpr int kWindow = kTile + 2;          // side of the input window of a 3x3 conv of a tile
constexpr int kPoints = kWindow * kWindow;  // products of Winograd's F(4x4, 3x3)
constexpr int kPassPoints = kPoints / 3;    // those of two rows of points, which are made together
constexpr int kTaps = 9;                    // weights of a 3x3 conv for one pair of channels
constexpr int kUpsampleTaps = 25;           // of the 5x5 conv that upsamples
constexpr int kChannelStep = 16;     // pixels are padded to a multiple of 16 floats, a cache line
constexpr int kSplitStep = 32;       // channels that a row of a register of AMX holds
constexpr int kSplitParts = 3;       // bfloat16 numbers that add up to a float32
constexpr int kSplitChunk = 64;      // channels that AMX reads at a time, if not all
constexpr int kBf16Tiles = 16;       // tiles of which AMX computes the same pixel together
constexpr int kBf16CallTiles = 64;   // of one call of a conv in bfloat16, at most
constexpr int kAdjoiningTiles = 4;   // of a row, whose pixels fill a register of AMX
constexpr int kUpsamplePixels = 12;  // pixels of a row that `upsample` computes together, at most
constexpr int kMostSplitChannels = 256;  // of pixels that `upsample` splits
constexpr int kMostSplitOutputs = 64;    // of such a conv
constexpr int kMostPatchSide = 16;       // of a patch for an adapter, in pixels

// Size of a canvas. An image starts one pixel inside its plane and is surrounded by zeros. Planes
// hold whole tiles, so every tile has a whole window: its top left pixel lies at
// (4 * tile row, 4 * tile column) of the plane.
struct Geometry {
    int batch, height, width;     // the images, in pixels
    int tile_rows, tile_columns;  // tiles of an image, including those that overhang its border
    std::ptrdiff_t row, plane;    // pixels from one row or image to the next
};

static constexpr int tiles_of(const Geometry& g) { return g.batch * g.tile_rows * g.tile_columns; }
static constexpr int pixels_of(const Geometry& g) { return g.batch * g.height * g.width; }

// What happens to a finished sum at a pixel: out = gate * (relu(sum + bias) + factor * also) +
// plus, or with PReLU in place of ReLU. With an upscale factor f a pixel becomes f x f pixels of
// `out`, row by row, each from its own sums: PixelShuffle on channels packed in this order.
struct Store {
    // What is stored of the first pixel of a canvas f times the size of the one read; null if that
    // holds only bfloat16.
    float* out;
    // The same in bfloat16, for `Bf16Kernels`, and the numbers of a pixel; null without.
    std::uint16_t* bf16;
    int bf16_pitch;
    std::ptrdiff_t row, plane;  // of that canvas
    int upscale_factor;
    const float* plus;  // first pixel of a canvas like `out` to be added, may be `out`; or null
    const float* also;  // another one, added before the gate; or null
    float also_factor;  // what it is multiplied by
    // Another one: results of the ReLU become 0 where it is not above 0, which is how a gradient
    // passes a ReLU backwards; or null.
    const float* passed;
    int pitch;            // floats of a pixel of `out` and of the canvases like it
    const float* bias;    // padded with zeros to whole panels
    const float* slopes;  // slope of PReLU for each sum, padded in the same way; null for one slope
    bool relu;
    const float* depths;  // depth in blocks of each position; null for a gate of 1
    int depth_side;       // pixels along the side of what shares a depth: 1 or kTile
    float block;          // the gate is clamp(depth - block, 0, 1)
    float slope;          // slope of PReLU; 1 for none
};

// A 3x3 conv of a canvas at a list of positions, which are tiles or pixels numbered in raster order
// image by image.
struct ConvJob {
    Geometry geometry;
    const float* source;  // first pixel of the canvas; null if it holds only bfloat16
    int in_pitch;         // floats of a pixel of `source`
    // First pixels of canvases with further channels, all of the same number; null for none.
    const float* const* more;
    int more_pitch, n_more;  // floats of a pixel of each, and their number
    // The same in bfloat16, for `Bf16Kernels`, and the numbers of a pixel; null without.
    const std::uint16_t* bf16;
    const std::uint16_t* const* more_bf16;
    int bf16_pitch, more_bf16_pitch;
    int k;                 // channels that are read: those of `source` and then of `more`
    int begin;             // the first of the channels that k counts; 0 but in rounds of chunks
    const float* weights;  // as the kernel's `Weights` pack them, zeros for padded channels
    int panels;            // output channels in panels of `Kernels::panel`
    const std::uint8_t* is_zero;  // of tiles, [point][panel]: whether all its weights are zero
    int points;  // of tiles: points of a window in scratch at a time, kPoints or kPassPoints
    int group;   // of tiles: panels whose products are in scratch at a time
    const std::int32_t* positions;
    Store store;
};

// A 5x5 conv that turns each pixel of a canvas into f x f pixels of an image outside the engine.
// Output channels are ordered as PixelShuffle takes them: [channel][row][column].
struct UpsampleJob {
    Geometry geometry;
    const float* source;   // first pixel of the canvas
    int in_pitch;          // floats of a pixel of `source`
    const float* weights;  // [panel][row of taps][tap][in channel][lane], or split
    const float* bias;     // padded with zeros to whole panels
    int panel, panels;     // outputs of a panel: one to three vectors
    float* out;            // first image of the batch
    std::ptrdiff_t image_stride, row_stride, column_stride, channel_stride;  // of `out`, in floats
    int channels, upscale_factor;
};

// A conv whose window consists of a few runs of consecutive floats: out = prelu(sum + bias) for
// neighbouring outputs.
struct RowConvJob {
    int runs, length;             // runs of a window, and floats of each
    std::ptrdiff_t step;          // floats from one output's window to the next, in each run
    const float* weights;         // [panel][run][float][lane]
    std::ptrdiff_t panel_floats;  // from one panel's weights to the next
    int panels;                   // output channels in panels of `Kernels::panel`
    const float* bias;            // padded with zeros to whole panels
    float slope;                  // slope of PReLU; 1 for none
    const float* slopes;          // its slope for each channel; null for one slope
    int pitch;                    // floats from one output to the next
};

// The gradient of a 3x3 conv's weights, summed over a list of tiles.
struct GradientJob {
    Geometry geometry;
    const float* source;  // first pixel of the canvas that the conv read
    int in_pitch;
    const std::uint16_t* bf16;  // the same in bfloat16, for `Bf16Kernels`
    int bf16_pitch;
    const float* gradient;  // of what the conv returned, on a canvas of the same size
    int out_pitch;
    const std::int32_t* tiles;
};

// What training adds (`gradient.h`).
struct GradientKernels {
    // G g G^T of neighbouring pairs of channels. taps: [tap][floats]. to: points follow point_step
    // floats apart.
    void (*transform_taps)(const float* taps, int floats, float* to, std::ptrdiff_t point_step);
    // G^T sums G, the adjoint: back to taps.
    void (*transform_back)(const float* sums, std::ptrdiff_t point_step, int floats, float* taps);
    // For the tiles first .. first + count - 1 of a job: the transformed windows, the transformed
    // gradients, both laid out as `tile_step` says, and the gradients' totals, [tile][out channel].
    void (*load)(
        const GradientJob& job, int first, int count, float* windows, float* gradients,
        float* totals);
    // Adds the products of one point of these tiles to sums, [out channel][in channel].
    void (*multiply)(
        const GradientJob& job, int count, int point, const float* windows, const float* gradients,
        float* sums);
};

// Convs and their gradients with factors rounded to bfloat16 (`bf16_kernels.h`).
struct Bf16Kernels {
    // Rounds to the nearest. count: a multiple of kChannelStep.
    void (*round)(const float* from, std::ptrdiff_t count, std::uint16_t* to);
    // Packs weights as `TileWeights` says. weight: (out, 3, 3, in), or with adjoint
    // (in, 3, 3, out), for the gradient of a conv's input.
    void (*pack)(const float* weight, int in, int out, bool adjoint, float* packed);
    // As `Kernels::conv_tiles`, from bfloat16. scratch: `bf16_windows` and `bf16_sums`.
    void (*conv_tiles)(const ConvJob& job, int first, int count, float* scratch);
    // Loads kBf16Tiles tiles at most: pairs of pixels of the windows and of the gradients, and the
    // gradients' totals, [tile][out channel].
    void (*load)(
        const GradientJob& job, int first, int count, float* windows, float* gradients,
        float* totals);
    // Adds the products of some groups of tiles to the sums of a part: one tap, 32 out channels and
    // 32 in channels, [out / 16][in / 16][out % 16][in % 16]. part: (out / 32 * (in channels / 32)
    // + in / 32) * 9 + tap.
    void (*multiply)(
        const GradientJob& job, int groups, int part, const float* windows, const float* gradients,
        float* sums);
};

// What one instruction set offers.
struct Kernels {
    const char* name;
    int width;      // floats of a vector
    int panel;      // output channels that are computed together
    int min_tiles;  // fewest tiles that are computed together; scratch holds a multiple of it
    // Run the positions first .. first + count - 1 of a job.
    void (*conv_tiles)(const ConvJob& job, int first, int count, float* scratch);
    void (*conv_pixels)(const ConvJob& job, int first, int count);
    // Runs the pixels first .. last - 1 of a row of an image.
    void (*upsample)(const UpsampleJob& job, int image, int row, int first, int last);
    // Runs `count` outputs, the first of them at `to`. runs: starts of the first one's window.
    void (*row_conv)(const RowConvJob& job, const float* const* runs, int count, float* to);
    GradientKernels gradient;
    // The same as conv_tiles and min_tiles for weights in three parts (`TileWeights::is_split`), as
    // a whole and in chunks; null and 0 where there are none.
    void (*conv_split_tiles)(const ConvJob& job, int first, int count, float* scratch) = nullptr;
    void (*conv_split_chunks)(const ConvJob& job, int first, int count, float* scratch) = nullptr;
    int min_split_tiles = 0;
    // The same as upsample for weights in three parts (`UpsamplingWeights::is_split`), or null.
    void (*upsample_split)(const UpsampleJob& job, int image, int row, int first, int last) =
        nullptr;
    // Of a set that rounds factors to bfloat16: they run in place of `conv_tiles` and `gradient`.
    const Bf16Kernels* bf16 = nullptr;
};

// Floats from one tile to the next in scratch, where a tile is [channels / 16][point][16 channels]:
// transforms then read and write consecutively, and the product of a point uses all of each cache
// line. An odd number of cache lines spreads the tiles over the sets of the cache. points: of a
// tile in scratch at a time.
static constexpr std::ptrdiff_t tile_step(int channels, int points = kPoints) {
    return static_cast<std::ptrdiff_t>(points) * channels + kChannelStep;
}

// The same for tiles of parts: [channels / 32][point][part][32 channels], two channels in a float's
// place.
static constexpr std::ptrdiff_t split_step(int channels, int points) {
    return tile_step(channels * kSplitParts / 2, points);
}

// Channels padded to whole rows of registers of AMX.
static constexpr int bf16_channels(int channels) {
    return (channels + kSplitStep - 1) / kSplitStep * kSplitStep;
}

// Floats of scratch for the windows of kBf16Tiles tiles in bfloat16, two channels in a float's
// place, and for their sums of out channels. The last row is padding (`bf16_kernels.h`).
static constexpr std::size_t bf16_windows(int channels) {
    return static_cast<std::size_t>(kPoints) * bf16_channels(channels) / 2 * (kBf16Tiles + 1);
}
static constexpr std::size_t bf16_sums(int channels) {
    return static_cast<std::size_t>(kTilePixels) * bf16_channels(channels) * (kBf16Tiles + 1);
}

// Offset of a channel's first point in a tile of scratch; points follow kChannelStep floats apart.
static constexpr std::ptrdiff_t tile_offset(int channel, int points = kPoints) {
    const int lane = channel % kChannelStep;
    return static_cast<std::ptrdiff_t>(channel - lane) * points + lane;
}

}  // namespace adadsr
