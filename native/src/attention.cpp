// Channel attention at lists of positions: means, the weights of the channels, and the addition.
#include <algorithm>
#include <array>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "engine.h"
#include "pool.h"
#include "refuse.h"

namespace adadsr {
namespace {

constexpr int kPiece = 64;  // positions of one task
constexpr int kRows = 3;  // of channels for each image: their means, an intermediate, their weights

int pieces_of(int count) { return (count + kPiece - 1) / kPiece; }

// Tiles and then pixels, as one list.
struct Lists {
    const Positions &tiles, &pixels;

    int size() const { return tiles.size() + pixels.size(); }
    int pieces() const { return pieces_of(size()); }

    // Calls visit(image, row, column, side) for the positions of a piece. Of tiles that overhang
    // the image the pixels inside are visited one by one: what lies outside has to stay zero.
    template <class Visit>
    void visit_piece(const Geometry& g, int piece, const Visit& visit) const {
        const int first = piece * kPiece, last = std::min(size(), first + kPiece);
        for (int i = first; i < last; ++i) {
            if (i >= tiles.size()) {
                const PixelPlace pixel(g, pixels.numbers[i - tiles.size()]);
                visit(pixel.image, pixel.row, pixel.column, 1);
                continue;
            }
            const TilePlace tile(g, tiles.numbers[i]);
            if (tile.height == kTile && tile.width == kTile) {
                visit(tile.image, tile.row, tile.column, kTile);
                continue;
            }
            for (int y = 0; y < tile.height; ++y) {
                for (int x = 0; x < tile.width; ++x) {
                    visit(tile.image, tile.row + y, tile.column + x, 1);
                }
            }
        }
    }
};

// Raises std::invalid_argument if a pixel lies in one of the tiles.
void check_disjoint(const Geometry& g, const Lists& lists, int threads) {
    if (!lists.tiles.size() || !lists.pixels.size()) return;
    std::vector<bool> listed(tiles_of(g));
    for (const std::int32_t tile : lists.tiles.numbers) listed[tile] = true;
    std::atomic<bool> overlap{false};
    Pool::instance().run(pieces_of(lists.pixels.size()), threads, [&](int piece, int) {
        const int first = piece * kPiece, last = std::min(lists.pixels.size(), first + kPiece);
        for (int i = first; i < last; ++i) {
            const PixelPlace pixel(g, lists.pixels.numbers[i]);
            const int row = pixel.image * g.tile_rows + pixel.row / kTile;
            if (listed[row * g.tile_columns + pixel.column / kTile]) overlap = true;
        }
    });
    if (overlap) refuse("a pixel lies in one of the tiles; list it once");
}

// The mean of each channel over each image, (batch, pitch), all other positions counting as zero.
// partial: room for the sums of each piece.
void mean_channels(
    const Canvas& canvas, const Lists& lists, float* partial, float* means, int threads) {
    const Geometry& g = canvas.geometry();
    const int pitch = canvas.pitch(), floats = g.batch * pitch, pieces = lists.pieces();
    // Sums of pieces, and then their sum: more exact, and independent of the threads.
    Pool::instance().run(pieces, threads, [&](int piece, int) {
        float* sums = partial + static_cast<std::size_t>(piece) * floats;
        std::fill_n(sums, floats, 0.0f);
        lists.visit_piece(g, piece, [&](int image, int row, int column, int side) {
            float* to = sums + image * pitch;
            for (int i = 0; i < side * side; ++i) {
                const float* from = canvas.pixel(image, row + i / side, column + i % side);
                for (int channel = 0; channel < pitch; ++channel) to[channel] += from[channel];
            }
        });
    });
    Pool::instance().run(floats / kChannelStep, threads, [&](int step, int) {
        std::array<double, kChannelStep> sums{};
        for (int piece = 0; piece < pieces; ++piece) {
            const float* from =
                partial + static_cast<std::size_t>(piece) * floats + step * kChannelStep;
            for (int lane = 0; lane < kChannelStep; ++lane) sums[lane] += from[lane];
        }
        for (int lane = 0; lane < kChannelStep; ++lane) {
            means[step * kChannelStep + lane] =
                static_cast<float>(sums[lane] / (static_cast<double>(g.height) * g.width));
        }
    });
}

// out += scale * update at the positions. scale: (batch, pitch).
void add_scaled(
    Canvas& out, const Canvas& update, const float* scale, const Lists& lists, int threads) {
    Pool::instance().run(lists.pieces(), threads, [&](int piece, int) {
        lists.visit_piece(out.geometry(), piece, [&](int image, int row, int column, int side) {
            const float* weights = scale + static_cast<std::size_t>(image) * out.pitch();
            for (int i = 0; i < side * side; ++i) {
                const int y = row + i / side, x = column + i % side;
                float* to = out.pixel(image, y, x);
                const float* from = update.pixel(image, y, x);
                for (int c = 0; c < out.channels(); ++c) to[c] += weights[c] * from[c];
            }
            for (int i = 0; i < side; ++i) out.round(image, row + i, column, side);
        });
    });
}

}  // namespace

void clear_tiles(Canvas& canvas, const Positions& tiles, int threads) {
    const Positions no_pixels;
    tiles.check_below(canvas.tiles());
    const Lists lists{tiles, no_pixels};
    Pool::instance().run(lists.pieces(), threads, [&](int piece, int) {
        lists.visit_piece(canvas.geometry(), piece, [&](int image, int row, int column, int side) {
            for (int y = 0; y < side; ++y) {
                canvas.clear(image, row + y, column, side);
            }
        });
    });
}

void copy_tiles(const Canvas& source, Canvas& out, const Positions& tiles, int threads) {
    const Positions no_pixels;
    tiles.check_below(out.tiles());
    if (!source.same_size(out) || source.pitch() != out.pitch()) {
        refuse("source has to have the size and the channels of out");
    }
    if ((out.has_floats() && !source.has_floats()) || (out.has_bf16() && !source.has_bf16())) {
        refuse("source does not hold every precision of out; give one that does");
    }
    const Lists lists{tiles, no_pixels};
    Pool::instance().run(lists.pieces(), threads, [&](int piece, int) {
        lists.visit_piece(out.geometry(), piece, [&](int image, int row, int column, int side) {
            for (int y = 0; y < side; ++y) {
                out.copy(source, image, row + y, column, side);
            }
        });
    });
}

std::size_t attention_floats(int batch, int channels, int positions) {
    const auto rows = static_cast<std::size_t>(std::max(1, pieces_of(positions)) + kRows);
    return rows * batch * round_up(channels, kChannelStep);
}

void attend(
    const Attention& attention, Canvas& out, const Canvas& update, const Positions& tiles,
    const Positions& pixels, Scratch& scratch, int threads, const Means* known) {
    tiles.check_below(out.tiles());
    pixels.check_below(out.pixels());
    out.check_floats("out");
    update.check_floats("update");
    if (!out.same_size(update) || out.channels() != update.channels() ||
        out.shares_memory(update)) {
        refuse("update has to be another canvas of the size of out");
    }
    if (attention.channels() != out.channels()) {
        refuse(
            "the attention has ", attention.channels(), " channels, the canvas ", out.channels());
    }
    const Lists lists{tiles, pixels};
    check_disjoint(out.geometry(), lists, threads);
    const std::size_t floats = static_cast<std::size_t>(out.geometry().batch) * out.pitch();
    const auto lock = scratch.lock();
    float* means =
        scratch.reserve(attention_floats(out.geometry().batch, out.channels(), lists.size()), 1);
    float *between = means + floats, *scale = between + floats, *partial = scale + floats;
    if (!known || !known->given) mean_channels(update, lists, partial, means, threads);
    for (int image = 0; known && image < out.geometry().batch; ++image) {
        float* row = known->values + static_cast<std::ptrdiff_t>(image) * out.channels();
        float* padded = means + static_cast<std::ptrdiff_t>(image) * out.pitch();
        if (!known->given) {
            std::copy_n(padded, out.channels(), row);
            continue;
        }
        std::copy_n(row, out.channels(), padded);
        std::fill(padded + out.channels(), padded + out.pitch(), 0.0f);
    }
    for (std::size_t first = 0; first < floats; first += out.pitch()) {
        attention.weights(means + first, between + first, scale + first);
    }
    add_scaled(out, update, scale, lists, threads);
}

}  // namespace adadsr
