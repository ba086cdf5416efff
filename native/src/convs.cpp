// 3x3 convs at lists of tiles and pixels.
#include <algorithm>
#include <string>
#include <vector>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

constexpr int kPixelsPerCall = 96;
constexpr int kPixelStep = 6;  // pixels that `conv_pixels` computes together

std::string size_of(const Canvas& canvas) {
    const Geometry& g = canvas.geometry();
    return std::to_string(g.batch) + "x" + std::to_string(g.height) + "x" +
           std::to_string(g.width) + "x" + std::to_string(canvas.channels());
}

// What a conv reads besides its source, of which nothing may be written.
void check_further(
    const Weights& weights, const Canvas& source, const Further& more, const Canvas& out) {
    if (more.empty()) return;
    if (std::count(more.begin(), more.end(), nullptr)) refuse("a canvas of `more` is None");
    const Canvas& first = *more[0];
    for (const Canvas* canvas : more) {
        if (!canvas->same_size(source) || canvas->channels() != first.channels()) {
            refuse(
                "further channels of ", size_of(*canvas), " beside a source of ", size_of(source),
                " and others of ", size_of(first));
        }
        if (canvas->shares_memory(out)) refuse("the conv reads what it writes");
    }
    const int count = static_cast<int>(more.size());
    if (weights.k() != source.pitch() + count * first.pitch()) {
        refuse(
            "a conv of ", weights.in_channels(), " channels does not fit a source of ",
            size_of(source), " and ", count, " canvases of ", size_of(first));
    }
}

// A canvas that is read where `out` is written. factor: upscale factor of the conv.
void check_like_out(const char* name, const Canvas* canvas, const Canvas& out, int factor) {
    if (!canvas) return;
    if (factor != 1) refuse(name, " needs a conv without an upscale factor");
    if (!canvas->same_size(out) || canvas->channels() != out.channels()) {
        refuse(name, " is ", size_of(*canvas), ", not ", size_of(out), " as out is");
    }
}

void check(
    const Weights& weights, const Canvas& source, const Further& more, const Canvas& out,
    const Positions& positions, int count, const Finish& finish) {
    const int f = weights.upscale_factor(), parts = f * f;
    const Geometry &from = source.geometry(), &to = out.geometry();
    if (from.batch != to.batch || from.height * f != to.height || from.width * f != to.width) {
        refuse(
            "out is ", size_of(out), ", which is not ", f, " times the size of the source, ",
            size_of(source));
    }
    if (source.shares_memory(out)) refuse("source and out are the same canvas; give two");
    const bool is_read = !more.empty() || source.channels() == weights.in_channels();
    if (!is_read || out.channels() * parts != weights.out_channels()) {
        refuse(
            "a conv of ", weights.in_channels(), " to ", weights.out_channels(),
            " channels does not fit a source of ", size_of(source), " and out of ", size_of(out),
            " with an upscale factor of ", f);
    }
    check_further(weights, source, more, out);
    check_like_out("plus", finish.plus, out, f);
    check_like_out("passed", finish.passed, out, f);
    check_like_out("also", finish.also, out, f);
    positions.check_below(count);
}

// Refuses canvases that hold another precision than a conv reads or writes.
void check_precisions(
    bool is_bf16, const Canvas& source, const Further& more, const Canvas& out,
    const Finish& finish) {
    if (finish.plus) finish.plus->check_floats("plus");
    if (finish.passed) finish.passed->check_floats("passed");
    if (finish.also) finish.also->check_floats("also");
    if (!is_bf16) {
        source.check_floats("source");
        out.check_floats("out");
        for (const Canvas* canvas : more) canvas->check_floats("more");
        return;
    }
    const auto check_bf16 = [](const Canvas& canvas, const char* name) {
        if (!canvas.has_bf16()) {
            refuse(name, " holds only float32; give one of precision bfloat16 or both");
        }
    };
    check_bf16(source, "source");
    for (const Canvas* canvas : more) check_bf16(*canvas, "more");
}

// First pixels of further canvases, in both precisions, as a job points to them.
struct FirstPixels {
    std::vector<const float*> floats;
    std::vector<const std::uint16_t*> bf16;

    explicit FirstPixels(const Further& more) {
        for (const Canvas* canvas : more) {
            floats.push_back(canvas->data());
            bf16.push_back(canvas->bf16());
        }
    }
};

// The job without further canvases.
ConvJob make_job(
    const Weights& weights, const Canvas& source, Canvas& out, const Positions& positions,
    const Finish& finish) {
    const Geometry& to = out.geometry();
    Store store{};
    store.out = out.has_floats() ? out.data() : nullptr;
    store.bf16 = out.has_bf16() ? out.bf16() : nullptr;
    store.bf16_pitch = out.bf16_pitch();
    store.row = to.row;
    store.plane = to.plane;
    store.upscale_factor = weights.upscale_factor();
    store.plus = finish.plus ? finish.plus->data() : nullptr;
    store.passed = finish.passed ? finish.passed->data() : nullptr;
    store.also = finish.also ? finish.also->data() : nullptr;
    store.also_factor = finish.also_factor;
    store.pitch = out.pitch();
    store.bias = weights.bias();
    store.slopes = weights.slopes();
    store.relu = finish.relu;
    store.depths = finish.depths ? finish.depths->values.data() : nullptr;
    store.depth_side = finish.depths ? depth_side(*finish.depths, source.geometry()) : 1;
    store.block = finish.block;
    store.slope = finish.slope;
    ConvJob job{};
    job.geometry = source.geometry();
    job.source = source.data();
    job.in_pitch = source.pitch();
    job.bf16 = source.bf16();
    job.bf16_pitch = source.bf16_pitch();
    job.k = weights.k();
    job.begin = 0;
    job.weights = weights.packed();
    job.panels = weights.panels();
    job.positions = positions.numbers.data();
    job.store = store;
    return job;
}

// Whether a conv can run as several that add to what those before it stored.
bool is_linear(const Finish& finish, const TileWeights& weights) {
    const bool has_slope = finish.relu || finish.slope != 1 || weights.slopes() || finish.passed;
    return !has_slope && weights.upscale_factor() == 1;
}

// What a conv runs one after the other, each for all tiles: all of it, or its chunks if the weights
// had better run in rounds and it is linear.
std::vector<ConvJob> rounds_of(const ConvJob& whole, const TileWeights& weights, bool is_linear) {
    if (!weights.in_rounds() || !is_linear) return {whole};
    std::vector<ConvJob> rounds;
    for (int begin = 0; begin < whole.k; begin += kSplitChunk) {
        ConvJob round = whole;
        round.begin = begin;
        round.k = std::min(kSplitChunk, whole.k - begin);
        round.weights = weights.chunk(begin);
        if (begin) {
            round.store.plus = round.store.out;
            round.store.also = nullptr;
            round.store.bias = weights.no_bias();
        }
        rounds.push_back(round);
    }
    return rounds;
}

// Rounds what a conv in float32 wrote at some tiles of a list, if `out` also holds bfloat16.
// geometry: of the canvas that was read.
void round_tiles(
    const Positions& tiles, int first, int count, const Geometry& geometry, Canvas& out) {
    if (!out.has_bf16()) return;
    const int f = out.geometry().height / geometry.height;
    for (int i = first; i < first + count; ++i) {
        const TilePlace tile(geometry, tiles.numbers[i]);
        for (int y = 0; y < tile.height * f; ++y) {
            out.round(tile.image, tile.row * f + y, tile.column * f, tile.width * f);
        }
    }
}

// Cuts `count` positions into pieces of at most `most`, the same number for each thread and equal
// up to whole steps, and calls run(first, length, worker) for each.
template <class Run>
void run_pieces(int count, int most, int step, int threads, const Run& run) {
    const int steps = (count + step - 1) / step;
    const int rounds = (count + threads * most - 1) / (threads * most);
    const int pieces = std::min(steps, rounds * threads);
    const auto begin = [&](int piece) {
        const auto first = static_cast<int>(static_cast<std::int64_t>(steps) * piece / pieces);
        return std::min(count, first * step);
    };
    Pool::instance().run(pieces, threads, [&](int piece, int worker) {
        run(begin(piece), begin(piece + 1) - begin(piece), worker);
    });
}

}  // namespace

int depth_side(const Depths& depths, const Geometry& geometry) {
    if (depths.batch == geometry.batch) {
        if (depths.rows == geometry.height && depths.columns == geometry.width) return 1;
        if (depths.rows == geometry.tile_rows && depths.columns == geometry.tile_columns) {
            return kTile;
        }
    }
    refuse(
        "a depth map of ", depths.batch, "x", depths.rows, "x", depths.columns,
        " has neither the pixels nor the tiles of the canvas");
}

float* Scratch::reserve(std::size_t floats, int workers) {
    const std::size_t needed = floats * workers;
    if (memory_.size() < needed) memory_ = Buffer(needed);
    return memory_.data();
}

void conv_tiles(
    const TileWeights& weights, const Canvas& source, const Further& more, Canvas& out,
    const Positions& tiles, const Finish& finish, Scratch& scratch, int threads) {
    check(weights, source, more, out, tiles, source.tiles(), finish);
    check_precisions(weights.is_bf16(), source, more, out, finish);
    const FirstPixels first_pixels(more);
    ConvJob whole = make_job(weights, source, out, tiles, finish);
    whole.n_more = static_cast<int>(more.size());
    whole.more = first_pixels.floats.data();
    whole.more_bf16 = first_pixels.bf16.data();
    whole.more_pitch = more.empty() ? 0 : more[0]->pitch();
    whole.more_bf16_pitch = more.empty() ? 0 : more[0]->bf16_pitch();
    whole.is_zero = weights.is_zero();
    whole.points = weights.points();
    whole.group = weights.group();
    if (!tiles.size()) return;
    const Kernels& kernels = weights.kernels();
    const auto kernel = weights.is_bf16()     ? kernels.bf16->conv_tiles
                        : weights.in_chunks() ? kernels.conv_split_chunks
                        : weights.is_split()  ? kernels.conv_split_tiles
                                              : kernels.conv_tiles;
    const int most = weights.tiles_per_call();
    const std::size_t floats = weights.scratch();  // for any list, so that it is allocated once
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    for (const ConvJob& job : rounds_of(whole, weights, is_linear(finish, weights))) {
        const auto run = [&](int first, int count, int worker) {
            kernel(job, first, count, memory + worker * floats);
            if (!weights.is_bf16()) round_tiles(tiles, first, count, source.geometry(), out);
        };
        run_pieces(tiles.size(), most, weights.min_tiles(), threads, run);
    }
}

void conv_pixels(
    const PixelWeights& weights, const Canvas& source, Canvas& out, const Positions& pixels,
    const Finish& finish, int threads) {
    check(weights, source, {}, out, pixels, source.pixels(), finish);
    check_precisions(false, source, {}, out, finish);
    const ConvJob job = make_job(weights, source, out, pixels, finish);
    if (job.store.depth_side != 1) {
        refuse("a conv of pixels needs a depth for each pixel, not for each tile");
    }
    if (!pixels.size()) return;
    const auto run = [&](int first, int count, int) {
        weights.kernels().conv_pixels(job, first, count);
        for (int i = first; i < first + count && out.has_bf16(); ++i) {
            const PixelPlace pixel(out.geometry(), pixels.numbers[i]);
            out.round(pixel.image, pixel.row, pixel.column, 1);
        }
    };
    run_pieces(pixels.size(), kPixelsPerCall, kPixelStep, threads, run);
}

}  // namespace adadsr
