#include "weights.h"

#include <algorithm>

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

Weights::Weights(const Kernels& kernels, int in_channels, int out_channels, int steps, const float* bias)
    : kernels_(&kernels),
      in_channels_(in_channels),
      out_channels_(out_channels),
      depth_(round_up(in_channels, kChannelStep)),
      panels_(round_up(round_up(out_channels, kChannelStep), kernels.panel) / kernels.panel),
      packed_(static_cast<std::size_t>(steps) * depth_ * panels_ * kernels.panel),
      bias_(static_cast<std::size_t>(panels_) * kernels.panel) {
    std::copy_n(bias, out_channels, bias_.data());
}

float& Weights::at(int outer, int panel, int inner, int inners, int in, int lane) const {
    const std::size_t matrix = (static_cast<std::size_t>(outer) * panels_ + panel) * inners + inner;
    return packed_.data()[(matrix * depth_ + in) * kernels_->panel + lane];
}

TileWeights::TileWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels)
    : Weights(kernels, in_channels, out_channels, kPoints, bias) {
    double points[kPoints];
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            transform(weight + (static_cast<std::size_t>(out) * in_channels + in) * kTaps, points);
            for (int point = 0; point < kPoints; ++point) {
                at(point, out / kernels.panel, 0, 1, in, out % kernels.panel) = static_cast<float>(points[point]);
            }
        }
    }
}

std::size_t TileWeights::scratch(int tiles) const {
    const int rounded = round_up(tiles, kernels().rows);
    return kPoints * (point_step(rounded, depth()) + point_step(rounded, panels() * kernels().panel));
}

PixelWeights::PixelWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels)
    : Weights(kernels, in_channels, out_channels, kTaps, bias) {
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < in_channels; ++in) {
            for (int tap = 0; tap < kTaps; ++tap) {
                at(0, out / kernels.panel, tap, kTaps, in, out % kernels.panel) =
                    weight[(static_cast<std::size_t>(out) * in_channels + in) * kTaps + tap];
            }
        }
    }
}

}  // namespace adadsr
