#include <algorithm>
#include <stdexcept>
#include <string>

#include "engine.h"
#include "pool.h"

namespace adadsr {
namespace {

constexpr int kMostPixels = 96;  // at once in a thread

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

int depth_side(const Depths& depths, const Geometry& geometry) {
    if (depths.batch == geometry.batch) {
        if (depths.rows == geometry.height && depths.columns == geometry.width) return 1;
        if (depths.rows == geometry.tile_rows && depths.columns == geometry.tile_columns) return kTile;
    }
    refuse(
        "a depth map of " + std::to_string(depths.batch) + "x" + std::to_string(depths.rows) + "x" +
        std::to_string(depths.columns) + " has neither the pixels nor the tiles of the canvas");
}

Job make_job(
    const Weights& weights, const Canvas& source, const Canvas& out, const Positions& positions, int count,
    const Finish& finish) {
    const int factor = weights.factor(), parts = factor * factor;
    const Geometry &from = source.geometry(), &to = out.geometry();
    if (from.batch != to.batch || from.height * factor != to.height || from.width * factor != to.width) {
        refuse("the canvas that is stored has to have " + std::to_string(factor) + " times the size of the one read");
    }
    if (source.buffer() == out.buffer()) refuse("a conv cannot store into the canvas that it reads");
    if (source.channels() != weights.in_channels() || out.channels() * parts != weights.out_channels()) {
        refuse(
            "a conv of " + std::to_string(weights.in_channels()) + " to " + std::to_string(weights.out_channels()) +
            " channels, enlarging " + std::to_string(factor) + " times, from a canvas of " +
            std::to_string(source.channels()) + " to one of " + std::to_string(out.channels()));
    }
    if (finish.plus && !(finish.plus->same_size(out) && finish.plus->channels() == out.channels())) {
        refuse("what is added has to have the size and channels of the canvas that is stored");
    }
    if (positions.limit > count) {
        refuse("position " + std::to_string(positions.limit - 1) + " is not one of " + std::to_string(count));
    }
    const Store store = {
        out.data(), to.row, to.plane, factor, finish.plus ? finish.plus->data() : nullptr, out.pitch(), weights.bias(), finish.relu,
        finish.depths ? finish.depths->values.data() : nullptr,
        finish.depths ? depth_side(*finish.depths, source.geometry()) : 1, finish.block, finish.slope};
    return {source.geometry(), source.data(), source.pitch(), weights.packed(), weights.panels(),
            positions.numbers.data(), store};
}

// Cuts `count` positions into pieces of at most `most`, as many for each thread and equal as far as they are whole steps,
// and calls run(first, length, worker) for each.
template <class Run>
void run_pieces(int count, int most, int step, int threads, const Run& run) {
    const int steps = (count + step - 1) / step, rounds = (count + threads * most - 1) / (threads * most);
    const int pieces = std::min(steps, rounds * threads);
    const auto begin = [&](int piece) {
        return std::min(count, static_cast<int>(static_cast<std::int64_t>(steps) * piece / pieces) * step);
    };
    Pool::instance().run(pieces, threads, [&](int piece, int worker) {
        run(begin(piece), begin(piece + 1) - begin(piece), worker);
    });
}

}  // namespace

float* Scratch::reserve(std::size_t floats_a_worker, int workers) {
    const std::size_t floats = floats_a_worker * workers;
    if (memory_.size() < floats) memory_ = Buffer(floats);
    return memory_.data();
}

void conv_tiles(
    const TileWeights& weights, const Canvas& source, const Canvas& out, const Positions& tiles, const Finish& finish,
    Scratch& scratch, int threads) {
    const Job job = make_job(weights, source, out, tiles, source.tiles(), finish);
    const int count = static_cast<int>(tiles.numbers.size());
    if (!count) return;
    const std::size_t floats = weights.scratch();  // for the largest list, so that it is got once
    const auto lock = scratch.lock();
    float* memory = scratch.reserve(floats, threads);
    run_pieces(count, weights.tiles_at_once(), weights.kernels().rows, threads, [&](int first, int length, int worker) {
        weights.kernels().conv_tiles(job, first, length, memory + worker * floats);
    });
}

void conv_pixels(
    const PixelWeights& weights, const Canvas& source, const Canvas& out, const Positions& pixels,
    const Finish& finish, int threads) {
    const Job job = make_job(weights, source, out, pixels, source.pixels(), finish);
    if (job.store.depth_side != 1) refuse("a conv of pixels needs a depth for each pixel, not for each tile");
    const int count = static_cast<int>(pixels.numbers.size());
    if (!count) return;
    run_pieces(count, kMostPixels, 6, threads, [&](int first, int length, int) {
        weights.kernels().conv_pixels(job, first, length);
    });
}

}  // namespace adadsr
