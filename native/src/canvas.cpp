#include "canvas.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace adadsr {

Canvas::Plan::Plan(int batch, int height, int width, int channels) {
    if (batch < 1 || height < 1 || width < 1 || channels < 1) {
        throw std::invalid_argument(
            "a canvas of " + std::to_string(batch) + " images of " + std::to_string(height) + "x" +
            std::to_string(width) + " pixels with " + std::to_string(channels) + " channels; give at least 1 of each");
    }
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    const std::int64_t rows = (static_cast<std::int64_t>(height) + kTile - 1) / kTile * kTile + 2;
    const std::int64_t columns = (static_cast<std::int64_t>(width) + kTile - 1) / kTile * kTile + 2;
    if (rows > most / columns || rows * columns > most / batch || channels > most / 64) {
        throw std::invalid_argument("a canvas has to have fewer than 2^31 pixels; run the image in tiles");
    }
    pitch = round_up(channels, kChannelStep);
    geometry = {batch, height, width, static_cast<int>(rows / kTile), static_cast<int>(columns / kTile), 0, 0};
    geometry.row = columns;
    geometry.plane = rows * columns;
    guard = (geometry.row + 2 + kMostAtOnce) * pitch;
    floats = static_cast<std::size_t>(geometry.plane) * batch * pitch + 2 * guard;
}

Canvas::Canvas(const Plan& plan, int channels)
    : geometry_(plan.geometry),
      channels_(channels),
      pitch_(plan.pitch),
      guard_(plan.guard),
      buffer_(std::make_shared<Buffer>(plan.floats)) {}

bool Canvas::same_size(const Canvas& other) const {
    const Geometry &a = geometry_, &b = other.geometry_;
    return a.batch == b.batch && a.height == b.height && a.width == b.width;
}

bool Canvas::spare() const {
    if (buffer_.use_count() != 1) return false;
    std::atomic_thread_fence(std::memory_order_acquire);  // what others did with the memory is done
    return true;
}

void Depths::take(const float* from, int batch, int rows, int columns) {
    const float* end = from + static_cast<std::size_t>(batch) * rows * columns;
    if (std::any_of(from, end, [](float value) { return std::isnan(value); })) {
        throw std::invalid_argument("the depth map has a value that is not a number");
    }
    values.assign(from, end);
    this->batch = batch;
    this->rows = rows;
    this->columns = columns;
}

Positions Positions::with_room(int count) {
    Positions positions;
    positions.numbers.reserve(std::max(0, count));
    return positions;
}

Positions Positions::all(int count) {
    Positions positions;
    positions.span(0, count);
    return positions;
}

void Positions::span(std::int32_t first, std::int32_t last) {
    if (first < 0) throw std::invalid_argument("positions have to be at least 0");
    numbers.resize(std::max(0, last - first));
    std::iota(numbers.begin(), numbers.end(), first);
    limit = numbers.empty() ? 0 : last;
}

Positions Positions::listed(const std::int32_t* from, std::size_t count) {
    Positions positions;
    positions.numbers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        if (from[i] < (i ? positions.limit : 0) || from[i] == std::numeric_limits<std::int32_t>::max()) {
            throw std::invalid_argument("positions have to rise and to be at least 0");
        }
        positions.add(from[i]);
    }
    return positions;
}

void select_between(const Depths& depths, float low, float high, int first, int last, Positions& found) {
    found.clear();
    const auto count = std::min(last, static_cast<int>(depths.values.size()));
    for (std::int32_t i = std::max(0, first); i < count; ++i) {
        if (depths.values[i] > low && depths.values[i] <= high) found.add(i);
    }
}

int select_pixels(const Depths& depths, float low, float worth, Positions& tiles, Positions& pixels) {
    if (&tiles == &pixels) throw std::invalid_argument("tiles and pixels are one list; give two");
    tiles.clear();
    pixels.clear();
    std::int32_t tile = 0;
    int total = 0;
    for (int image = 0; image < depths.batch; ++image) {
        for (int top = 0; top < depths.rows; top += kTile) {
            for (int left = 0; left < depths.columns; left += kTile, ++tile) {
                std::int32_t active[kTilePixels];
                int count = 0;
                for (int y = top; y < std::min(top + kTile, depths.rows); ++y) {
                    for (int x = left; x < std::min(left + kTile, depths.columns); ++x) {
                        const std::int32_t pixel = (image * depths.rows + y) * depths.columns + x;
                        if (depths.values[pixel] > low) active[count++] = pixel;
                    }
                }
                total += count;
                if (count > worth) {
                    tiles.add(tile);
                } else {
                    for (int i = 0; i < count; ++i) pixels.add(active[i]);
                }
            }
        }
    }
    return total;
}

}  // namespace adadsr
