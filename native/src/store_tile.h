// How convs of 4x4 tiles store their sums, whatever made them.
#pragma once

#include "microkernel.h"

namespace adadsr {
namespace {

// Where a tile lies.
struct Corner {
    int image, row, column;  // of the tile's first pixel
    std::ptrdiff_t window;   // the window's first pixel in the canvas

    Corner(const Geometry& geometry, int tile) {
        assert(tile >= 0 && tile < tiles_of(geometry));
        const int per_image = geometry.tile_rows * geometry.tile_columns, inside = tile % per_image;
        image = tile / per_image;
        row = inside / geometry.tile_columns * kTile;
        column = inside % geometry.tile_columns * kTile;
        window = image * geometry.plane + row * geometry.row + column;
    }
};

// Where a channel of a conv's input lies that is not of its first canvas: in which further one, and
// where there.
struct FurtherChannel {
    int canvas, channel;

    FurtherChannel(int channel, int in_pitch, int more_pitch)
        : canvas((channel - in_pitch) / more_pitch), channel((channel - in_pitch) % more_pitch) {}
};

// Gates of the pixels of a tile, 0 where nothing is stored.
struct TileGates {
    float weight[kTilePixels];
    bool stored[kTilePixels];
    bool open = true;  // whether all pixels are stored with a weight of 1

    TileGates(const ConvJob& job, int tile, const Corner& corner) {
        const Geometry& g = job.geometry;
        const Store& store = job.store;
        const bool is_whole = corner.row + kTile <= g.height && corner.column + kTile <= g.width;
        const bool one_gate = store.depths && store.depth_side == kTile;
        open =
            is_whole && (!store.depths || (one_gate && gate(store.depths[tile], store.block) == 1));
        if (open) return;
        for (int i = 0; i < kTilePixels; ++i) {
            const int y = corner.row + i / kTile, x = corner.column + i % kTile;
            weight[i] = 1;
            stored[i] = y < g.height && x < g.width;
            if (!store.depths || !stored[i]) continue;
            const std::ptrdiff_t pixel =
                (static_cast<std::ptrdiff_t>(corner.image) * g.height + y) * g.width + x;
            weight[i] = gate(store.depths[store.depth_side == 1 ? pixel : tile], store.block);
            // A closed gate leaves its pixel untouched even if the sum is not finite.
            if (store.plus && store.plus == store.out && weight[i] == 0) stored[i] = false;
        }
    }
};

// Where finished sums go: to the floats of a canvas.
struct FloatSink {
    static ADADSR_INLINE void put(
        const Store& store, std::ptrdiff_t pixel, int channel, Vec value) {
        value.store(store.out + pixel * store.pitch + channel);
    }
};

// Calls put(y, x, pixel) for the pixels of a tile. first: its first pixel in the canvas.
template <class Put>
ADADSR_INLINE void visit_tile(const Store& store, std::ptrdiff_t first, const Put& put) {
    for (int y = 0; y < kTile; ++y, first += store.row * store.upscale_factor) {
#pragma GCC unroll 4
        for (int x = 0; x < kTile; ++x) put(y, x, first + x * store.upscale_factor);
    }
}

// Finishes and stores one vector of sums of a whole tile after which nothing but a PReLU comes. Not
// in the general loop, so that the compiler keeps bias and slope in registers. get(y, x): sums of a
// pixel.
template <class Sink, class Get>
ADADSR_INLINE void store_plain(
    const Store& store, const Get& get, int packed, std::ptrdiff_t first, int channel) {
    const Vec bias = Vec::load(store.bias + packed);
    const Vec slope = store.slopes ? Vec::load(store.slopes + packed) : Vec::fill(store.slope);
    visit_tile(store, first, [&](int y, int x, std::ptrdiff_t pixel) {
        Sink::put(store, pixel, channel, leaky(get(y, x) + bias, slope));
    });
}

// Finishes and stores one vector of sums of a whole tile after which nothing but a ReLU and a sum
// come. As `store_plain`, apart from the general loop.
template <class Sink, bool Relu, bool Plus, class Get>
ADADSR_INLINE void store_simple(
    const Store& store, const Get& get, int packed, std::ptrdiff_t first, int channel) {
    const Vec bias = Vec::load(store.bias + packed);
    visit_tile(store, first, [&](int y, int x, std::ptrdiff_t pixel) {
        Vec sum = get(y, x) + bias;
        if (Relu) sum = positive(sum);
        if (Plus) sum = sum + Vec::load(store.plus + pixel * store.pitch + channel);
        Sink::put(store, pixel, channel, sum);
    });
}

// Stores sums of one tile into the canvas: those from `begin` to `end` - 1. find(packed, put):
// calls put(get) with what returns one vector of them for a pixel, get(y, x).
template <class Sink, class Find>
inline void store_tile(const ConvJob& job, int tile, int begin, int end, const Find& find) {
    const Store& store = job.store;
    const Corner corner(job.geometry, tile);
    const TileGates gates(job, tile, corner);
    const int f = store.upscale_factor;
    const bool has_more = store.relu || store.passed || store.also || store.plus;
    const bool is_plain = gates.open && !has_more && (!store.slopes || store.slope == 1);
    const bool is_simple = gates.open && !store.passed && !store.also && !store.slopes &&
                           store.slope == 1 && (store.relu || store.plus);
    for (int packed = begin; packed < end; packed += Vec::width) {
        const int part = f == 1 ? 0 : packed / store.pitch;
        const int channel = packed - part * store.pitch;
        const std::ptrdiff_t row = corner.row * f + part / f + 1;
        const std::ptrdiff_t column = corner.column * f + part % f + 1;
        const std::ptrdiff_t first = corner.image * store.plane + row * store.row + column;
        find(packed, [&](const auto& get) {
            if (is_plain) return store_plain<Sink>(store, get, packed, first, channel);
            if (is_simple && !store.plus) {
                return store_simple<Sink, true, false>(store, get, packed, first, channel);
            }
            if (is_simple && store.relu) {
                return store_simple<Sink, true, true>(store, get, packed, first, channel);
            }
            if (is_simple) {
                return store_simple<Sink, false, true>(store, get, packed, first, channel);
            }
            visit_tile(store, first, [&](int y, int x, std::ptrdiff_t pixel) {
                const int i = y * kTile + x;
                if (!gates.open && !gates.stored[i]) return;
                const std::ptrdiff_t at = pixel * store.pitch + channel;
                const float weight = gates.open ? 1 : gates.weight[i];
                Sink::put(store, pixel, channel, finished(store, get(y, x), packed, at, weight));
            });
        });
    }
}

// Sums of a pixel that are stored.
inline int packed_channels(const Store& store) {
    return store.upscale_factor * store.upscale_factor * store.pitch;
}

// Whether the canvases have the channels that are read, and the weights those that are stored.
inline bool fits(const ConvJob& job) {
    const bool reads = job.begin + job.k <= job.in_pitch + job.n_more * job.more_pitch;
    return reads && job.panels * kPanel >= packed_channels(job.store);
}

}  // namespace
}  // namespace adadsr
