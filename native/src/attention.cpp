// What channel attention needs beside convs: sums over active positions, and adding what was weighted by channel.
#include <algorithm>
#include <stdexcept>

#include "engine.h"
#include "pool.h"

namespace adadsr {
namespace {

constexpr int kPiece = 64;  // positions of one task

void check(const Canvas& canvas, const Positions& tiles, const Positions& pixels) {
    if (tiles.limit > canvas.tiles() || pixels.limit > canvas.pixels()) {
        throw std::invalid_argument("a position lies outside the canvas");
    }
}

// Calls visit(image, pixel of the canvas, side) for each position first .. last - 1 of the tiles and then the pixels. Of
// tiles that hang over the image the pixels inside are visited one by one: what lies outside has to stay zero.
template <class Visit>
void visit_positions(
    const Canvas& canvas, const Positions& tiles, const Positions& pixels, int first, int last, const Visit& visit) {
    const Geometry& g = canvas.geometry();
    const int count = static_cast<int>(tiles.numbers.size()), per_image = g.tile_rows * g.tile_columns;
    for (int i = first; i < last; ++i) {
        if (i < count) {
            const int image = tiles.numbers[i] / per_image, tile = tiles.numbers[i] % per_image;
            const int row = tile / g.tile_columns * kTile + 1, column = tile % g.tile_columns * kTile + 1;
            const std::ptrdiff_t at = image * g.plane + row * g.row + column;
            const int rows = std::min(kTile, g.height + 1 - row), columns = std::min(kTile, g.width + 1 - column);
            if (rows == kTile && columns == kTile) {
                visit(image, at, kTile);
                continue;
            }
            for (int y = 0; y < rows; ++y) {
                for (int x = 0; x < columns; ++x) visit(image, at + y * g.row + x, 1);
            }
        } else {
            const int number = pixels.numbers[i - count], line = number / g.width, image = line / g.height;
            visit(image, image * g.plane + (line % g.height + 1) * g.row + number % g.width + 1, 1);
        }
    }
}

constexpr int kRows = 3;  // of channels for each image, beside the sums of the pieces: means, between, weights

int pieces_of(int count) { return std::max(1, (count + kPiece - 1) / kPiece); }

// The mean of each channel over each image, (batch, pitch): what lies elsewhere than at tiles and pixels counts as zero.
// partial: room for the sums of each piece.
void sum_up(
    const Canvas& canvas, const Positions& tiles, const Positions& pixels, float* partial, float* means, int threads) {
    const Geometry& g = canvas.geometry();
    const int count = static_cast<int>(tiles.numbers.size() + pixels.numbers.size()), pitch = canvas.pitch();
    const int pieces = pieces_of(count), floats = g.batch * pitch;
    // Each piece is summed for itself, and then the pieces: that errs less, and does not depend on the threads.
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        float* sums = partial + static_cast<std::size_t>(piece) * floats;
        std::fill_n(sums, floats, 0.0f);
        const int first = piece * kPiece, last = std::min(count, first + kPiece);
        visit_positions(canvas, tiles, pixels, first, last, [&](int image, std::ptrdiff_t at, int side) {
            float* to = sums + image * pitch;
            for (int i = 0; i < side * side; ++i) {
                const float* from = canvas.data() + (at + i / side * g.row + i % side) * pitch;
                for (int channel = 0; channel < pitch; ++channel) to[channel] += from[channel];
            }
        });
    });
    for (int i = 0; i < floats; ++i) {
        double sum = 0;
        for (int piece = 0; piece < pieces; ++piece) sum += partial[static_cast<std::size_t>(piece) * floats + i];
        means[i] = static_cast<float>(sum / (static_cast<double>(g.height) * g.width));
    }
}

// out += scale * update at tiles and pixels; scale: (batch, pitch).
void add_scaled(
    const Canvas& out, const Canvas& update, const float* scale, const Positions& tiles, const Positions& pixels,
    int threads) {
    const Geometry& g = out.geometry();
    const int count = static_cast<int>(tiles.numbers.size() + pixels.numbers.size());
    Pool::instance().run((count + kPiece - 1) / kPiece, threads, [&](int piece, int) {
        const int first = piece * kPiece, last = std::min(count, first + kPiece);
        visit_positions(out, tiles, pixels, first, last, [&](int image, std::ptrdiff_t at, int side) {
            const float* weights = scale + static_cast<std::size_t>(image) * out.pitch();
            for (int i = 0; i < side * side; ++i) {
                const std::ptrdiff_t pixel = (at + i / side * g.row + i % side) * out.pitch();
                for (int channel = 0; channel < out.channels(); ++channel) {
                    out.data()[pixel + channel] += weights[channel] * update.data()[pixel + channel];
                }
            }
        });
    });
}

}  // namespace

void clear_tiles(const Canvas& canvas, const Positions& tiles) {
    check(canvas, tiles, {});
    const Geometry& g = canvas.geometry();
    visit_positions(canvas, tiles, {}, 0, static_cast<int>(tiles.numbers.size()), [&](int, std::ptrdiff_t at, int side) {
        for (int y = 0; y < side; ++y) std::fill_n(canvas.data() + (at + y * g.row) * canvas.pitch(), side * canvas.pitch(), 0.0f);
    });
}

std::size_t sums_floats(int batch, int channels, int positions) {
    return (static_cast<std::size_t>(pieces_of(positions)) + kRows) * batch * round_up(channels, kChannelStep);
}

void attend(
    const Attention& attention, const Canvas& out, const Canvas& update, const Positions& tiles, const Positions& pixels,
    Scratch& scratch, int threads) {
    check(out, tiles, pixels);
    if (!out.same_size(update) || out.channels() != update.channels() || out.buffer() == update.buffer()) {
        throw std::invalid_argument("what is added has to be another canvas of the same size and channels");
    }
    if (attention.channels() != out.channels()) throw std::invalid_argument("the attention has other channels than the canvas");
    const Geometry& g = out.geometry();
    const int count = static_cast<int>(tiles.numbers.size() + pixels.numbers.size()), pitch = out.pitch();
    const auto lock = scratch.lock();
    float* partial = scratch.reserve(sums_floats(g.batch, out.channels(), count), 1);
    const std::size_t floats = static_cast<std::size_t>(g.batch) * pitch;
    float* means = partial + pieces_of(count) * floats;
    float *between = means + floats, *scale = between + floats;
    sum_up(update, tiles, pixels, partial, means, threads);
    for (std::size_t first = 0; first < floats; first += pitch) {
        attention.weights(means + first, between + first, scale + first);
    }
    add_scaled(out, update, scale, tiles, pixels, threads);
}

}  // namespace adadsr
