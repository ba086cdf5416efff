// 3x3 convs of 4x4 tiles by Winograd's F(4x4, 3x3), with the points 0, +-sqrt(1/2), +-sqrt(2) and
// infinity:
//     tile = A^T [ sum over channels of (G g G^T) * (B^T window B) ] A
// takes 36 products for a pair of channels instead of 144. `TileWeights` applies G when it packs.
#pragma once

#include "store_tile.h"

namespace adadsr {
namespace {

constexpr float kRoot = 1.41421356237309505f, kHalfRoot = kRoot / 2, kQuarterRoot = kRoot / 4;

// out = B^T in
ADADSR_INLINE void transform_input(const Vec (&in)[kWindow], Vec (&out)[kWindow]) {
    const Vec half = Vec::fill(0.5f), two_and_half = Vec::fill(2.5f), two = Vec::fill(2);
    const Vec root = Vec::fill(kRoot), half_root = Vec::fill(kHalfRoot);
    const Vec even_near = in[4] - two * in[2], odd_near = half_root * in[3] - root * in[1];
    const Vec even_far = in[4] - half * in[2], odd_far = root * in[3] - half_root * in[1];
    out[0] = in[0] + in[4] - two_and_half * in[2];
    out[1] = even_near + odd_near;
    out[2] = even_near - odd_near;
    out[3] = even_far + odd_far;
    out[4] = even_far - odd_far;
    out[5] = in[1] + in[5] - two_and_half * in[3];
}

// The horizontal transform of a finished row of the vertical one.
ADADSR_INLINE void store_points(const Vec (&row)[kWindow], float* to) {
    Vec out[kWindow];
    transform_input(row, out);
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) out[x].store(to + x * kChannelStep);
}

// out = A^T in
ADADSR_INLINE void transform_output(const Vec (&in)[kWindow], Vec (&out)[kTile]) {
    const Vec near_sum = in[1] + in[2], near_difference = in[1] - in[2];
    const Vec far_sum = in[3] + in[4], far_difference = in[3] - in[4];
    out[0] = in[0] + near_sum + far_sum;
    out[1] = fma(Vec::fill(kHalfRoot), near_difference, Vec::fill(kRoot) * far_difference);
    out[2] = fma(Vec::fill(0.5f), near_sum, Vec::fill(2) * far_sum);
    out[3] = fma(
        Vec::fill(kQuarterRoot), near_difference, fma(Vec::fill(2 * kRoot), far_difference, in[5]));
}

// One vector of channels of a window. pixel, row: floats to the next ones.
struct Window {
    const float* first;
    std::ptrdiff_t pixel, row;

    Vec at(int y, int x) const { return Vec::load(first + y * row + x * pixel); }
};

// Two rows of the transformed window from its even and odd rows: even + odd, and even - odd.
ADADSR_INLINE void load_pair(
    const Window& window, float by_second, float by_third, float by_first, float* first,
    float* second) {
    Vec sum[kWindow], difference[kWindow];
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) {
        const Vec even = window.at(4, x) - Vec::fill(by_second) * window.at(2, x);
        const Vec odd =
            Vec::fill(by_third) * window.at(3, x) - Vec::fill(by_first) * window.at(1, x);
        sum[x] = even + odd;
        difference[x] = even - odd;
    }
    store_points(sum, first);
    store_points(difference, second);
}

// Rows of points that are made together: six would not fit into the registers.
constexpr int kPasses = 3, kPassRows[kPasses][2] = {{0, 5}, {1, 2}, {3, 4}};

// Two rows of B^T window B of one vector of channels.
inline void load_pass(const Window& window, int pass, float* first, float* second) {
    if (pass == 1) return load_pair(window, 2, kHalfRoot, kRoot, first, second);
    if (pass == 2) return load_pair(window, 0.5f, kRoot, kHalfRoot, first, second);
    Vec top[kWindow], bottom[kWindow];
#pragma GCC unroll 6
    for (int x = 0; x < kWindow; ++x) {
        top[x] = window.at(0, x) + window.at(4, x) - Vec::fill(2.5f) * window.at(2, x);
        bottom[x] = window.at(1, x) + window.at(5, x) - Vec::fill(2.5f) * window.at(3, x);
    }
    store_points(top, first);
    store_points(bottom, second);
}

// B^T window B of one vector of channels.
inline void load_points(const Window& window, float* to) {
    constexpr int line = kWindow * kChannelStep;
    for (int pass = 0; pass < kPasses; ++pass) {
        const auto& rows = kPassRows[pass];
        load_pass(window, pass, to + rows[0] * line, to + rows[1] * line);
    }
}

// A tile's points in scratch, as `tile_step` says.
class FloatPoints {
public:
    static constexpr int step = kChannelStep;  // floats from one point to the next

    FloatPoints(float* tile, int points) : tile_(tile), points_(points) {}
    // Where the points of a vector of channels go.
    float* of(int channel) { return tile_ + tile_offset(channel, points_); }
    // Called once they are written.
    void finish(int) {}

private:
    float* tile_;
    int points_;
};

// Prefetch distance in tiles: windows are too far apart for the hardware prefetcher.
constexpr int kPrefetchTiles = 4;

// Prefetches a cache line of channels of a window, without the two columns that it usually shares
// with the tile before.
inline void prefetch_window(const float* window, std::ptrdiff_t pixel, std::ptrdiff_t row) {
#pragma GCC unroll 6
    for (int y = 0; y < kWindow; ++y) {
#pragma GCC unroll 4
        for (int x = kWindow - kTile; x < kWindow; ++x) {
            __builtin_prefetch(window + y * row + x * pixel);
        }
    }
}

// B^T window B of some channels of a tile of one canvas, or two of its rows. pass: their number;
// below 0 for all rows. window, ahead: numbers of the first pixels of its window and of a later
// tile's. begin: number of the first channel in scratch.
template <class Points>
inline void load_channels(
    const float* source, int pitch, std::ptrdiff_t row, std::ptrdiff_t window, std::ptrdiff_t ahead,
    int channels, int pass, Points& to, int begin) {
    const float *from = source + window * pitch, *later = source + ahead * pitch;
    for (int channel = 0; channel < channels; channel += Vec::width) {
        // Later passes find the windows in the cache.
        if (pass < 1 && channel % kChannelStep == 0) {
            prefetch_window(later + channel, pitch, row * pitch);
        }
        const Window part{from + channel, pitch, row * pitch};
        float* first = to.of(begin + channel);
        if (pass < 0) {
            load_points(part, first);
        } else {
            load_pass(part, pass, first, first + kWindow * kChannelStep);
        }
        to.finish(begin + channel);
    }
}

// B^T window B of some tiles and some of the channels that are read, laid out in scratch as
// `Points` says; or two of its rows. begin, end: of the channels. pass: number of the rows; below 0
// for all of them. step: floats from tile to tile.
template <class Points>
inline void load_tiles(
    const ConvJob& job, const std::int32_t* tiles, int count, int begin, int end, int pass,
    std::ptrdiff_t step, float* scratch) {
    const std::ptrdiff_t row = job.geometry.row;
    const int points = pass < 0 ? kPoints : kPassPoints;
    for (int i = 0; i < count; ++i, scratch += step) {
        const int later = i + kPrefetchTiles < count ? i + kPrefetchTiles : count - 1;
        const std::ptrdiff_t window = Corner(job.geometry, tiles[i]).window;
        const std::ptrdiff_t ahead = Corner(job.geometry, tiles[later]).window;
        Points to(scratch, points);
        for (int channel = begin; channel < end;) {
            const float* source = job.source + channel;
            int pitch = job.in_pitch, left = job.in_pitch - channel;
            if (left <= 0) {
                const FurtherChannel further(channel, job.in_pitch, job.more_pitch);
                source = job.more[further.canvas] + further.channel;
                pitch = job.more_pitch;
                left = pitch - further.channel;
            }
            const int channels = left < end - channel ? left : end - channel;
            load_channels(source, pitch, row, window, ahead, channels, pass, to, channel - begin);
            channel += channels;
        }
    }
}

// A^T products A of one vector of channels.
inline void sum_points(const float* from, Vec (&tile)[kTile][kTile]) {
    Vec half[kTile][kWindow];
    for (int x = 0; x < kWindow; ++x) {
        Vec in[kWindow], out[kTile];
        for (int y = 0; y < kWindow; ++y) {
            in[y] = Vec::load(from + (y * kWindow + x) * kChannelStep);
        }
        transform_output(in, out);
        for (int y = 0; y < kTile; ++y) half[y][x] = out[y];
    }
    for (int y = 0; y < kTile; ++y) transform_output(half[y], tile[y]);
}

// Sums of zero for one panel of one point of some tiles.
inline void clear_panel(const ConvJob& job, int tiles, float* to) {
    const std::ptrdiff_t step = tile_step(job.group * kPanel);
    for (int tile = 0; tile < tiles; ++tile, to += step) {
        Vec::fill(0).store(to);
        Vec::fill(0).store(to + tile_offset(Vec::width));
    }
}

// Products of float32 windows and weights.
struct FloatProducts {
    using Points = FloatPoints;
    static constexpr int min_tiles = Vec::min_rows;

    // Floats from tile to tile in scratch.
    static std::ptrdiff_t step(const ConvJob& job) { return tile_step(job.k, job.points); }

    // The weights of one panel of one point; panels follow each other.
    static const float* panel(const ConvJob& job, int number) {
        return job.weights + static_cast<std::ptrdiff_t>(number) * job.k * kPanel;
    }

    // One panel of one point of some tiles: to = from * weights, or += with Add, summed over k
    // channels.
    template <bool Add>
    static void multiply_part(
        const ConvJob& job, const float* weights, int k, int tiles, const float* from, float* to) {
        constexpr int many = Vec::max_rows, few = Vec::min_rows;
        const std::ptrdiff_t from_step = step(job), to_step = tile_step(job.group * kPanel);
        int tile = 0;
        for (; tile + many <= tiles; tile += many) {
            multiply_even<many, Add>(
                from + tile * from_step, from_step, job.points, weights, k, to + tile * to_step,
                to_step);
        }
        if (tile < tiles) {
            multiply_even<few, Add>(
                from + tile * from_step, from_step, job.points, weights, k, to + tile * to_step,
                to_step);
        }
    }

    // One panel of one point of some tiles: to = from * weights.
    static void multiply(
        const ConvJob& job, const float* weights, int tiles, const float* from, float* to) {
        for (int channel = 0; channel < job.k; channel += kPartialSum) {
            const int left = job.k - channel, k = left < kPartialSum ? left : kPartialSum;
            const float* part = from + tile_offset(channel, job.points);
            if (channel == 0) {
                multiply_part<false>(job, weights, k, tiles, part, to);
            } else {
                multiply_part<true>(job, weights, k, tiles, part, to);
            }
            weights += static_cast<std::ptrdiff_t>(k) * kPanel;
        }
    }
};

// The panels `begin` .. `end` - 1 of one point of some tiles. to: of panel `begin`.
template <class Products>
inline void multiply_point(
    const ConvJob& job, int point, int begin, int end, int tiles, const float* from, float* to) {
    for (int panel = begin; panel < end; ++panel) {
        const int number = point * job.panels + panel;
        float* sums = to + tile_offset((panel - begin) * kPanel);
        if (job.is_zero[number]) {
            clear_panel(job, tiles, sums);
        } else {
            Products::multiply(job, Products::panel(job, number), tiles, from, sums);
        }
    }
}

// Finishes and stores the panels `begin` .. `end` - 1 of some tiles. products: of panel `begin`.
inline void store_panels(
    const ConvJob& job, const std::int32_t* tiles, int count, int begin, int end,
    const float* products) {
    const std::ptrdiff_t step = tile_step(job.group * kPanel);
    const int sums = packed_channels(job.store), last = end * kPanel < sums ? end * kPanel : sums;
    for (int i = 0; i < count; ++i) {
        store_tile<FloatSink>(
            job, tiles[i], begin * kPanel, last, [&](int packed, const auto& put) {
                Vec tile[kTile][kTile];
                sum_points(products + i * step + tile_offset(packed - begin * kPanel), tile);
                put([&](int y, int x) { return tile[y][x]; });
            });
    }
}

template <class Products>
void conv_tiles_by(const ConvJob& job, int first, int count, float* scratch) {
    using Points = typename Products::Points;
    assert(count > 0 && scratch && job.in_pitch % kChannelStep == 0);
    assert(fits(job) && job.begin == 0);
    assert(job.store.pitch % kChannelStep == 0);
    assert(job.store.depth_side == 1 || job.store.depth_side == kTile);
    assert(job.points == kPoints || (job.points == kPassPoints && job.group == job.panels));
    constexpr int few = Products::min_tiles;
    const int tiles = (count + few - 1) / few * few;
    const std::int32_t* numbers = job.positions + first;
    const std::ptrdiff_t from_step = Products::step(job);
    float* products = scratch + tiles * from_step;
    // slot: of this row of points among those in scratch.
    const auto multiply_row = [&](int row, int slot, int begin, int end) {
        for (int x = 0; x < kWindow; ++x) {
            const int point = row * kWindow + x;
            multiply_point<Products>(
                job, point, begin, end, tiles, scratch + (slot * kWindow + x) * Points::step,
                products + point * kChannelStep);
        }
    };
    if (job.points == kPassPoints) {
        for (int pass = 0; pass < kPasses; ++pass) {
            load_tiles<Points>(job, numbers, count, 0, job.k, pass, from_step, scratch);
            for (int i = 0; i < 2; ++i) multiply_row(kPassRows[pass][i], i, 0, job.panels);
        }
        return store_panels(job, numbers, count, 0, job.panels, products);
    }
    load_tiles<Points>(job, numbers, count, 0, job.k, -1, from_step, scratch);
    for (int begin = 0; begin < job.panels; begin += job.group) {
        const int left = job.panels - begin, end = begin + (left < job.group ? left : job.group);
        for (int row = 0; row < kWindow; ++row) multiply_row(row, row, begin, end);
        store_panels(job, numbers, count, begin, end, products);
    }
}

void conv_tiles(const ConvJob& job, int first, int count, float* scratch) {
    conv_tiles_by<FloatProducts>(job, first, count, scratch);
}

}  // namespace
}  // namespace adadsr
