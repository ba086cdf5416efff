#include "weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace adadsr {
namespace {

// G of F(4x4, 3x3) at the points 0, +-sqrt(1/2), +-sqrt(2) and infinity.
constexpr double kRoot = 1.4142135623730951;
constexpr double kTransform[kWindow][3] = {
    {1, 0, 0},
    {-2.0 / 3, -kRoot / 3, -1.0 / 3},
    {-2.0 / 3, kRoot / 3, -1.0 / 3},
    {1.0 / 6, kRoot / 6, 1.0 / 3},
    {1.0 / 6, -kRoot / 6, 1.0 / 3},
    {0, 0, 1},
};

// G g G^T of one pair of channels; in double, since packing is done once and what is lost here is lost for good.
void transform(const float* taps, double (&points)[kPoints]) {
    double half[kWindow][3];
    for (int y = 0; y < kWindow; ++y) {
        for (int x = 0; x < 3; ++x) {
            half[y][x] = 0;
            for (int i = 0; i < 3; ++i) half[y][x] += kTransform[y][i] * taps[3 * i + x];
        }
    }
    for (int point = 0; point < kPoints; ++point) {
        points[point] = 0;
        for (int i = 0; i < 3; ++i) points[point] += half[point / kWindow][i] * kTransform[point % kWindow][i];
    }
}

}  // namespace

Weights::Weights(
    const Kernels& kernels, int in_channels, int out_channels, int factor, int steps, int panel, const float* bias)
    : kernels_(&kernels),
      in_channels_(in_channels),
      out_channels_(out_channels),
      factor_(factor),
      depth_(round_up(in_channels, kChannelStep)),
      panel_(panel) {
    const int parts = factor * factor, packed = parts * round_up(out_channels / parts, kChannelStep);
    panels_ = round_up(packed, panel) / panel;
    packed_ = Buffer(static_cast<std::size_t>(steps) * depth_ * panels_ * panel);
    bias_ = Buffer(static_cast<std::size_t>(panels_) * panel);
    for (int out = 0; out < out_channels; ++out) bias_.data()[place(out)] = bias[out];
}

int Weights::place(int out) const {
    // PixelShuffle takes channel c * parts + part; a store wants the channels of a part together.
    const int parts = factor_ * factor_;
    return out % parts * round_up(out_channels_ / parts, kChannelStep) + out / parts;
}

float& Weights::at(int outer, int inner, int inners, int in, int out) const {
    const int packed = place(out), panel = packed / panel_, lane = packed % panel_;
    const std::size_t matrix = (static_cast<std::size_t>(outer) * panels_ + panel) * inners + inner;
    return packed_.data()[(matrix * depth_ + in) * panel_ + lane];
}

TileWeights::TileWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels, int factor)
    : Weights(kernels, in_channels, out_channels, factor, kPoints, kernels.panel, bias) {
    double points[kPoints];
    // Output channels inside: they are neighbours in the packed weights.
    for (int in = 0; in < in_channels; ++in) {
        for (int out = 0; out < out_channels; ++out) {
            transform(weight + (static_cast<std::size_t>(out) * in_channels + in) * kTaps, points);
            for (int point = 0; point < kPoints; ++point) at(point, 0, 1, in, out) = static_cast<float>(points[point]);
        }
    }
}

int TileWeights::tiles_at_once() const {
    constexpr std::size_t cached = 896 * 1024 / sizeof(float);
    constexpr int fewest = 12, most = 24;  // multiples of `Kernels::rows` of every instruction set
    const int rows = kernels().rows, fitting = static_cast<int>(cached / tile_floats()) / rows * rows;
    return std::clamp(fitting, fewest, most);
}

EnlargingWeights::EnlargingWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels, int factor)
    : Weights(
          kernels, in_channels, out_channels, 1, kLargeTaps,
          out_channels <= kernels.width ? kernels.width : kernels.panel, bias),
      enlarges_(factor) {
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            const float* taps = weight + (static_cast<std::size_t>(out) * in_channels + in) * kLargeTaps;
            for (int tap = 0; tap < kLargeTaps; ++tap) at(0, tap, kLargeTaps, in, out) = taps[tap];
        }
    }
}

HeadWeights::HeadWeights(
    const Kernels& kernels, const float* weight, const float* bias, const float* mean, int out_channels,
    int image_channels)
    : Weights(kernels, kTaps * image_channels, out_channels, 1, 1, kernels.panel, bias), mean_(image_channels) {
    std::copy_n(mean, image_channels, mean_.data());
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < image_channels; ++in) {
            const float* taps = weight + (static_cast<std::size_t>(out) * image_channels + in) * kTaps;
            for (int y = 0; y < 3; ++y) {
                for (int x = 0; x < 3; ++x) at(0, 0, 1, (x * 3 + y) * image_channels + in, out) = taps[y * 3 + x];
            }
        }
    }
}

std::size_t HeadWeights::scratch(int width) const {
    return static_cast<std::size_t>(width + 2) * 3 * image_channels();
}

EmbeddingWeights::EmbeddingWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels, int side)
    : Weights(kernels, in_channels, out_channels, 1, side * side, kernels.panel, bias), side_(side) {
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            const float* taps = weight + (static_cast<std::size_t>(out) * in_channels + in) * side * side;
            for (int tap = 0; tap < side * side; ++tap) at(0, tap, side * side, in, out) = taps[tap];
        }
    }
}

PixelWeights::PixelWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels)
    : Weights(kernels, in_channels, out_channels, 1, kTaps, kernels.panel, bias) {
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            const float* taps = weight + (static_cast<std::size_t>(out) * in_channels + in) * kTaps;
            for (int tap = 0; tap < kTaps; ++tap) at(0, tap, kTaps, in, out) = taps[tap];
        }
    }
}

Attention::Attention(
    int channels, int squeezed, const float* squeeze, const float* squeeze_bias, const float* excite,
    const float* excite_bias)
    : squeeze_(squeeze, squeeze + static_cast<std::size_t>(channels) * squeezed),
      squeeze_bias_(squeeze_bias, squeeze_bias + squeezed),
      excite_(excite, excite + static_cast<std::size_t>(channels) * squeezed),
      excite_bias_(excite_bias, excite_bias + channels) {}

void Attention::weights(const float* means, float* between, float* scale) const {
    const auto product = [](const std::vector<float>& matrix, const std::vector<float>& bias, const float* x, float* y) {
        const std::size_t length = matrix.size() / bias.size();
        for (std::size_t row = 0; row < bias.size(); ++row) {
            y[row] = std::inner_product(x, x + length, matrix.begin() + row * length, bias[row]);
        }
    };
    product(squeeze_, squeeze_bias_, means, between);
    for (std::size_t i = 0; i < squeeze_bias_.size(); ++i) between[i] = between[i] < 0 ? 0 : between[i];  // a NaN stays
    product(excite_, excite_bias_, between, scale);
    for (std::size_t i = 0; i < excite_bias_.size(); ++i) scale[i] = 1 / (1 + std::exp(-scale[i]));
}

}  // namespace adadsr
