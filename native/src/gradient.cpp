// What training adds to convs at lists of tiles: weights that change, and their gradients.
#include <algorithm>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

// Tiles of a partial sum. It is fixed, so the result depends neither on threads nor on caches.
constexpr int kTilesPerSum = 32;
constexpr int kTilesPerLoad = 8;

// Scratch of a gradient: what the kernel loads for some tiles, and the sums so far.
struct GradientScratch {
    std::size_t windows, gradients, totals, sums, bias;

    GradientScratch(const GradientJob& job, int tiles) {
        const auto floats = [&](std::ptrdiff_t each) { return static_cast<std::size_t>(each); };
        windows = floats(tile_step(job.in_pitch)) * tiles;
        gradients = floats(tile_step(job.out_pitch)) * tiles;
        totals = floats(job.out_pitch) * tiles;
        sums = floats(kPoints) * job.out_pitch * job.in_pitch;
        bias = floats(job.out_pitch);
    }
    std::size_t size() const { return windows + gradients + totals + sums + bias; }
};

// A gradient in the making: a round loads some partial sums' tiles, then adds them up.
class Rounds {
public:
    Rounds(const Kernels& kernels, const GradientJob& job, int tiles, Scratch& scratch, int threads)
        : kernels_(kernels.gradient), job_(job), tiles_(tiles), threads_(threads) {
        most_ = std::min(threads * kTilesPerSum, tiles);
        const GradientScratch sizes(job, most_);
        windows_ = scratch.reserve(sizes.size(), 1);
        gradients_ = windows_ + sizes.windows;
        totals_ = gradients_ + sizes.gradients;
        sums_ = totals_ + sizes.totals;
        bias_ = sums_ + sizes.sums;
        std::fill_n(sums_, sizes.sums + sizes.bias, 0.0f);
    }

    void run() {
        for (int first = 0; first < tiles_; first += most_) {
            const int count = std::min(most_, tiles_ - first);
            load(first, count);
            Pool::instance().run(kPoints + 1, threads_, [&](int point, int) {
                for (int from = 0; from < count; from += kTilesPerSum) {
                    add(point, from, std::min(kTilesPerSum, count - from));
                }
            });
        }
    }

    // Writes weights (out, 3, 3, in) and a bias (out).
    void finish(int in_channels, int out_channels, float* weight, float* bias) const {
        std::copy_n(bias_, out_channels, bias);
        const std::ptrdiff_t point_step =
            static_cast<std::ptrdiff_t>(job_.out_pitch) * job_.in_pitch;
        std::vector<float> taps(static_cast<std::size_t>(threads_) * kTaps * job_.in_pitch);
        Pool::instance().run(out_channels, threads_, [&](int out, int worker) {
            float* rows = taps.data() + static_cast<std::size_t>(worker) * kTaps * job_.in_pitch;
            const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(out) * job_.in_pitch;
            kernels_.transform_back(sums_ + row, point_step, job_.in_pitch, rows);
            float* to = weight + static_cast<std::ptrdiff_t>(out) * kTaps * in_channels;
            for (int tap = 0; tap < kTaps; ++tap, to += in_channels) {
                std::copy_n(rows + tap * job_.in_pitch, in_channels, to);
            }
        });
    }

private:
    void load(int first, int count) {
        Pool::instance().run(
            (count + kTilesPerLoad - 1) / kTilesPerLoad, threads_, [&](int piece, int) {
                const int from = piece * kTilesPerLoad;
                kernels_.load(
                    job_, first + from, std::min(kTilesPerLoad, count - from),
                    windows_ + from * tile_step(job_.in_pitch),
                    gradients_ + from * tile_step(job_.out_pitch), totals_ + from * job_.out_pitch);
            });
    }

    // Adds a partial sum of a point, or after the last point, of the bias.
    void add(int point, int from, int count) {
        if (point < kPoints) {
            const std::size_t matrix = static_cast<std::size_t>(job_.out_pitch) * job_.in_pitch;
            kernels_.multiply(
                job_, count, point, windows_ + from * tile_step(job_.in_pitch),
                gradients_ + from * tile_step(job_.out_pitch), sums_ + point * matrix);
            return;
        }
        for (int channel = 0; channel < job_.out_pitch; ++channel) {
            float sum = 0;
            for (int i = 0; i < count; ++i) sum += totals_[(from + i) * job_.out_pitch + channel];
            bias_[channel] += sum;
        }
    }

    const GradientKernels& kernels_;
    const GradientJob& job_;
    int tiles_, threads_, most_;
    float *windows_, *gradients_, *totals_, *sums_, *bias_;
};

// The same in bfloat16. A round loads some groups of tiles, then adds up their products part by
// part: one tap, 32 out channels and 32 in channels.
class Bf16Rounds {
public:
    Bf16Rounds(
        const Kernels& kernels, const GradientJob& job, int tiles, Scratch& scratch, int threads)
        : kernels_(*kernels.bf16),
          job_(job),
          tiles_(tiles),
          threads_(threads),
          in_(bf16_channels(job.in_pitch)),
          out_(bf16_channels(job.out_pitch)),
          groups_(std::min(threads * kGroupsPerRound, (tiles + kBf16Tiles - 1) / kBf16Tiles)) {
        const std::size_t windows = groups_ * window_floats();
        const std::size_t gradients = groups_ * gradient_floats();
        const std::size_t totals = static_cast<std::size_t>(groups_) * kBf16Tiles * job.out_pitch;
        const std::size_t sums = static_cast<std::size_t>(kTaps) * in_ * out_;
        windows_ = scratch.reserve(windows + gradients + totals + sums + job.out_pitch, 1);
        gradients_ = windows_ + windows;
        sums_ = gradients_ + gradients;
        totals_ = sums_ + sums;
        bias_ = totals_ + totals;
        std::fill_n(sums_, sums, 0.0f);
        std::fill_n(bias_, job.out_pitch, 0.0f);
    }

    void run() {
        const int parts = kTaps * (in_ / kPart) * (out_ / kPart);
        for (int first = 0; first < tiles_; first += groups_ * kBf16Tiles) {
            const int count = std::min(groups_ * kBf16Tiles, tiles_ - first);
            const int groups = (count + kBf16Tiles - 1) / kBf16Tiles;
            Pool::instance().run(groups, threads_, [&](int group, int) {
                const int from = group * kBf16Tiles;
                kernels_.load(
                    job_, first + from, std::min(kBf16Tiles, count - from),
                    windows_ + group * window_floats(), gradients_ + group * gradient_floats(),
                    totals_ + static_cast<std::ptrdiff_t>(from) * job_.out_pitch);
            });
            Pool::instance().run(parts, threads_, [&](int part, int) {
                kernels_.multiply(
                    job_, groups, part, windows_, gradients_, sums_ + part * kPart * kPart);
            });
            for (int i = 0; i < count; ++i) {
                const float* total = totals_ + static_cast<std::ptrdiff_t>(i) * job_.out_pitch;
                for (int channel = 0; channel < job_.out_pitch; ++channel) {
                    bias_[channel] += total[channel];
                }
            }
        }
    }

    // Writes weights (out, 3, 3, in) and a bias (out).
    void finish(int in_channels, int out_channels, float* weight, float* bias) const {
        std::copy_n(bias_, out_channels, bias);
        for (int out = 0; out < out_channels; ++out) {
            for (int tap = 0; tap < kTaps; ++tap) {
                for (int in = 0; in < in_channels; in += kBlock) {
                    const int panel = out / kPart * (in_ / kPart) + in / kPart;
                    const int block = out % kPart / kBlock * 2 + in % kPart / kBlock;
                    const float* row = sums_ + (panel * kTaps + tap) * kPart * kPart +
                                       (block * kBlock + out % kBlock) * kBlock;
                    weight = std::copy_n(row, std::min(kBlock, in_channels - in), weight);
                }
            }
        }
    }

private:
    static constexpr int kGroupsPerRound = 2;      // so few that they stay in the cache
    static constexpr int kPart = 32, kBlock = 16;  // channels of a part, and of its registers

    // A float holds two pixels of one channel, not two channels of one pixel.
    std::size_t window_floats() const { return bf16_windows(2 * in_); }
    std::size_t gradient_floats() const { return kBf16Tiles * kTilePixels / 2 * out_; }

    const Bf16Kernels& kernels_;
    const GradientJob& job_;
    int tiles_, threads_, in_, out_, groups_;
    float *windows_, *gradients_, *totals_, *sums_, *bias_;
};

void check_pair(const Canvas& first, const Canvas& second, const Positions& tiles) {
    if (!first.same_size(second)) refuse("the two canvases differ in size");
    tiles.check_below(first.tiles());
}

// The gradient of a conv's weights, by rounds of either kind.
template <class Kind>
void sum_weight_gradient(
    const Kernels& kernels, const Canvas& source, const Canvas& gradient, const Positions& tiles,
    float* weight, float* bias, Scratch& scratch, int threads) {
    check_pair(source, gradient, tiles);
    GradientJob job{};
    job.geometry = source.geometry();
    job.source = source.data();
    job.in_pitch = source.pitch();
    job.bf16 = source.bf16();
    job.bf16_pitch = source.bf16_pitch();
    job.gradient = gradient.data();
    job.out_pitch = gradient.pitch();
    job.tiles = tiles.numbers.data();
    const auto lock = scratch.lock();
    Kind rounds(kernels, job, tiles.size(), scratch, threads);
    rounds.run();
    rounds.finish(source.channels(), gradient.channels(), weight, bias);
}

// Calls visit(image, row, column, depth) for each pixel of some rows of a canvas.
template <class Visit>
void visit_row(const Geometry& g, const Depths& depths, int side, int task, const Visit& visit) {
    const int image = task / g.height, row = task % g.height;
    const float* line =
        depths.values.data() +
        (static_cast<std::ptrdiff_t>(image) * depths.rows + row / side) * depths.columns;
    for (int column = 0; column < g.width; ++column) visit(image, row, column, line[column / side]);
}

}  // namespace

void repack(
    TileWeights& weights, const float* weight, const float* bias, bool adjoint, int threads) {
    const Kernels& kernels = weights.kernels();
    const int panel = weights.panel(), panels = weights.panels(), k = weights.k();
    const int in = weights.in_channels(), out = weights.out_channels();
    if (bias) std::copy_n(bias, out, weights.replaced_bias());
    if (weights.is_bf16()) {
        return kernels.bf16->pack(weight, in, out, adjoint, weights.replaced_weights());
    }
    const std::ptrdiff_t panel_floats = static_cast<std::ptrdiff_t>(k) * panel;
    // Floats from one in channel, tap and out channel of the weight to the next.
    const std::ptrdiff_t in_step = adjoint ? kTaps * out : 1;
    const std::ptrdiff_t tap_step = adjoint ? -out : in;
    const std::ptrdiff_t out_step = adjoint ? 1 : kTaps * in;
    const float* origin = adjoint ? weight + (kTaps - 1) * out : weight;
    float* packed = weights.replaced_weights();
    std::vector<float> taps(static_cast<std::size_t>(threads) * kTaps * panel);
    Pool::instance().run(in, threads, [&](int row, int worker) {
        float* staged = taps.data() + static_cast<std::size_t>(worker) * kTaps * panel;
        for (int part = 0; part < panels; ++part) {
            const int lanes = std::clamp(out - part * panel, 0, panel);
            const float* from = origin + row * in_step + part * panel * out_step;
            for (int tap = 0; tap < kTaps; ++tap) {
                float* to = staged + tap * panel;
                for (int lane = 0; lane < lanes; ++lane) {
                    to[lane] = from[tap * tap_step + lane * out_step];
                }
                std::fill(to + lanes, to + panel, 0.0f);
            }
            float* to = packed + part * panel_floats + row * panel;
            kernels.gradient.transform_taps(staged, panel, to, panels * panel_floats);
        }
    });
}

void weight_gradient(
    const Kernels& kernels, const Canvas& source, const Canvas& gradient, const Positions& tiles,
    float* weight, float* bias, Scratch& scratch, int threads) {
    gradient.check_floats("gradient");
    if (!kernels.bf16) {
        source.check_floats("source");
    } else if (!source.has_bf16()) {
        refuse("source holds only float32; give one of precision bfloat16 or both");
    }
    const auto sum = kernels.bf16 ? sum_weight_gradient<Bf16Rounds> : sum_weight_gradient<Rounds>;
    sum(kernels, source, gradient, tiles, weight, bias, scratch, threads);
}

void multiply_gate(
    const Canvas& source, const Depths& depths, float block, Canvas& out, int threads) {
    if (!source.same_size(out) || source.channels() != out.channels()) {
        refuse("source and out differ in size");
    }
    source.check_floats("source");
    out.check_floats("out");
    const Geometry& g = source.geometry();
    const int side = depth_side(depths, g), pitch = source.pitch();
    Pool::instance().run(g.batch * g.height, threads, [&](int task, int) {
        visit_row(g, depths, side, task, [&](int image, int row, int column, float depth) {
            const float weight = std::clamp(depth - block, 0.0f, 1.0f);
            const float* from = source.pixel(image, row, column);
            float* to = out.pixel(image, row, column);
            for (int c = 0; c < pitch; ++c) to[c] = weight * from[c];
        });
        out.round(task / g.height, task % g.height, 0, g.width);
    });
}

void gate_gradient(
    const Canvas& update, const Canvas& gradient, const Positions& tiles,
    const ImageView<float>& out, int threads) {
    update.check_floats("update");
    gradient.check_floats("gradient");
    check_pair(update, gradient, tiles);
    const Geometry& g = update.geometry();
    const std::ptrdiff_t rows = out.size[1], columns = out.size[2];
    const bool per_pixel = rows == g.height && columns == g.width;
    if (out.size[0] != g.batch || out.size[3] != 1 ||
        !(per_pixel || (rows == g.tile_rows && columns == g.tile_columns))) {
        refuse("the gradient of the gates has neither the pixels nor the tiles of the canvas");
    }
    const int side = per_pixel ? 1 : kTile, pitch = update.pitch();
    Pool::instance().run(tiles.size(), threads, [&](int task, int) {
        const TilePlace tile(g, tiles.numbers[task]);
        const int image = tile.image;
        for (int y = tile.row; y < tile.row + tile.height; ++y) {
            for (int x = tile.column; x < tile.column + tile.width; ++x) {
                const float *a = update.pixel(image, y, x), *b = gradient.pixel(image, y, x);
                float sum = 0;
                for (int c = 0; c < pitch; ++c) sum += a[c] * b[c];
                out.data
                    [image * out.stride[0] + y / side * out.stride[1] + x / side * out.stride[2]] +=
                    sum;
            }
        }
    });
}

}  // namespace adadsr
