// Where things lie: shared by all instruction sets, so it holds no code that a compiler could emit twice.
#pragma once

#include <cstddef>
#include <cstdint>

namespace adadsr {

constexpr int kTile = 4;                    // side of a tile in pixels
constexpr int kTilePixels = kTile * kTile;  // pixels of a tile
constexpr int kWindow = kTile + 2;          // side of what a 3x3 conv of a tile looks at
constexpr int kPoints = kWindow * kWindow;  // products of Winograd's F(4x4, 3x3)
constexpr int kTaps = 9;                    // weights of a 3x3 conv for one pair of channels
constexpr int kLargeTaps = 25;              // of a 5x5 conv
constexpr int kChannelStep = 16;            // a pixel takes a multiple of so many floats: one cache line

constexpr int kMostAtOnce = 12;             // pixels of a row that a 5x5 conv computes at once, at most

// Size of a canvas. An image starts one pixel inside its plane; what lies around it is zero. Planes hold whole tiles,
// so that every tile has a whole window: its top left pixel lies at (4 * tile row, 4 * tile column) of the plane.
struct Geometry {
    int batch, height, width;        // the images, in pixels
    int tile_rows, tile_columns;     // tiles of an image, those that hang over its border included
    std::ptrdiff_t row, plane;       // pixels from one row or image to the next
};

// What happens to a finished sum at a pixel: out = gate * relu(sum + bias) + plus, or with PReLU instead of ReLU. With a
// factor above 1 a pixel becomes factor x factor pixels of `out`, row by row, each from its own pitch of sums (PixelShuffle, with the channels ordered so).
struct Store {
    float* out;           // first pixel of a canvas, `factor` times as large as the one that is read
    std::ptrdiff_t row, plane;  // of that canvas
    int factor;
    const float* plus;    // first pixel of a canvas like `out` to be added, which may be `out`; null for none
    int pitch;            // floats of a pixel of `out` and `plus`
    const float* bias;    // padded with zeros to whole panels
    bool relu;
    const float* depths;  // depth of each position; null for a gate of 1
    int depth_side;       // pixels along a side of what shares a depth: 1 or kTile
    float block;          // the gate is clamp(depth - block, 0, 1)
    float slope;          // of what is negative: PReLU; 1 for none
};

// A conv of a canvas at a list of positions: tiles or pixels, numbered in raster order image by image.
struct Job {
    Geometry geometry;
    const float* source;  // first pixel of the canvas
    int depth;            // floats of a pixel of `source`
    const float* weights; // packed as the kernel wants them, zeros where channels were padded
    int panels;           // output channels in panels of `Kernels::panel`
    const std::int32_t* positions;
    Store store;
};

// A 5x5 conv that turns each pixel of a canvas into factor x factor pixels of an ordinary image, (channels, rows, columns)
// in memory. Its outputs are ordered as PixelShuffle takes them: [channel][row][column].
struct Enlargement {
    Geometry geometry;
    const float* source;         // first pixel of the canvas
    int depth;                   // floats of a pixel of `source`
    const float* weights;        // [panel][row of taps][tap][in channel][lane]
    const float* bias;           // padded with zeros to whole panels
    int panel, panels;           // outputs of a panel: one vector or two
    float* out;                  // an image after the other
    std::ptrdiff_t row, plane;   // floats to the next row and channel of `out`
    int channels, factor;
};

// A conv whose window is some runs of floats: out = prelu(sum + bias), for outputs that are neighbours.
struct Strip {
    int runs, length;            // runs of a window, and floats of each
    std::ptrdiff_t step;         // floats from an output's window to the next one's, in each run
    const float* weights;        // [panel][run][float][lane]
    std::ptrdiff_t panel_floats; // from one panel's weights to the next one's
    int panels;                  // output channels in panels of `Kernels::panel`
    const float* bias;           // padded with zeros to whole panels
    float slope;                 // of what is negative; 1 for no PReLU
    int pitch;                   // floats from one output to the next
};

// What one instruction set offers. The functions run the positions first .. first + count - 1 of a job.
struct Kernels {
    const char* name;
    int panel;  // output channels that are computed together
    int rows;   // the fewest tiles that are computed together; scratch has room for a multiple of it
    void (*conv_tiles)(const Job& job, int first, int count, float* scratch);
    void (*conv_pixels)(const Job& job, int first, int count);
    int width;  // floats of a vector
    // Runs the pixels first .. last - 1 of a row of an image.
    void (*enlarge)(const Enlargement& job, int image, int row, int first, int last);
    // Runs some outputs, the first of them at `to`. runs: where the first one's window starts.
    void (*strip)(const Strip& job, const float* const* runs, int count, float* to);
};

// Floats from one tile to the next in scratch, which holds tiles as [kChannelStep channels][point][channel]: transforms
// write and read it straight on, and the products of a point use all of each cache line that they fetch. An odd number
// of cache lines spreads the tiles over the sets of the cache.
constexpr std::ptrdiff_t tile_step(int channels) {
    return static_cast<std::ptrdiff_t>(kPoints) * channels + kChannelStep;
}

// Where a channel's first point lies in a tile of scratch; the next points follow kChannelStep floats apart.
constexpr std::ptrdiff_t tile_place(int channel) {
    return static_cast<std::ptrdiff_t>(channel - channel % kChannelStep) * kPoints + channel % kChannelStep;
}

}  // namespace adadsr
