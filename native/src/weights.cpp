#include "weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bfloat16.h"
#include "canvas.h"
#include "cpu_cache.h"

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

// G g G^T of one pair of channels. In double: packing happens once, and its error stays.
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
        for (int i = 0; i < 3; ++i)
            points[point] += half[point / kWindow][i] * kTransform[point % kWindow][i];
    }
}

bool splits_upsampling(const Kernels& kernels, int in_channels, int out_channels, bool may_split) {
    return may_split && kernels.upsample_split && in_channels % kSplitStep == 0 &&
           in_channels <= kMostSplitChannels && out_channels <= kMostSplitOutputs;
}

// Outputs of a panel of `UpsamplingWeights`: one to three vectors where these hold all outputs.
int upsampling_panel(const Kernels& kernels, int out_channels, bool is_split) {
    const int outputs = round_up(round_up(out_channels, kChannelStep), kernels.width);
    return is_split ? kernels.width : outputs <= 3 * kernels.width ? outputs : kernels.panel;
}

}  // namespace

Weights::Weights(const Kernels& kernels, const Layout& layout, const float* bias)
    : kernels_(&kernels),
      in_channels_(layout.in_channels),
      out_channels_(layout.out_channels),
      upscale_factor_(layout.upscale_factor),
      parts_(layout.shuffled ? layout.upscale_factor * layout.upscale_factor : 1),
      k_(round_up(layout.in_channels, kChannelStep)),
      panel_(layout.panel) {
    const int packed = parts_ * round_up(out_channels_ / parts_, kChannelStep);
    panels_ = round_up(packed, panel_) / panel_;
    packed_ = Buffer(static_cast<std::size_t>(layout.matrices) * k_ * panels_ * panel_);
    bias_ = Buffer(static_cast<std::size_t>(panels_) * panel_);
    if (!bias) return;
    for (int out = 0; out < out_channels_; ++out) bias_.data()[packed_channel(out)] = bias[out];
}

int Weights::packed_channel(int out) const {
    // PixelShuffle takes channel c * parts + part; a store wants the channels of a part together.
    return out % parts_ * round_up(out_channels_ / parts_, kChannelStep) + out / parts_;
}

void Weights::set_slopes(const float* slopes) {
    slopes_ = Buffer(bias_.size());
    for (int out = 0; out < out_channels_; ++out) slopes_.data()[packed_channel(out)] = slopes[out];
}

float& Weights::at(int outer, int inner, int inners, int in, int out) {
    const int packed = packed_channel(out), panel = packed / panel_, lane = packed % panel_;
    const std::size_t matrix = (static_cast<std::size_t>(outer) * panels_ + panel) * inners + inner;
    return packed_.data()[(matrix * k_ + in) * panel_ + lane];
}

void Weights::pack_taps(const float* weight, int taps) {
    for (int out = 0; out < out_channels_; ++out) {
        for (int in = 0; in < in_channels_; ++in) {
            for (int tap = 0; tap < taps; ++tap) at(0, tap, taps, in, out) = *weight++;
        }
    }
}

void Weights::split() {
    constexpr int pairs = kSplitStep / 2, lanes = 16;  // rows and columns of a register
    Buffer parts(packed_size() * kSplitParts / 2);
    auto* to = reinterpret_cast<std::uint16_t*>(parts.data());
    const float *from = packed(), *end = packed() + packed_size();
    const int group = kSplitStep * panel();
    for (; from < end; to += group * kSplitParts) {
        for (int in = 0; in < kSplitStep; ++in) {
            for (int lane = 0; lane < panel(); ++lane) {
                const int row = lane / lanes * pairs + in % pairs;
                const int at = 2 * (row * lanes + lane % lanes) + in / pairs;
                float rest = *from++;
                for (int part = 0; part < kSplitParts; ++part) {
                    const std::uint16_t nearest = nearest_bfloat16(rest);
                    to[part * group + at] = nearest;
                    rest -= widened(nearest);
                }
            }
        }
    }
    replace_packed(std::move(parts));
}

TileWeights::TileWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels,
    int in_channels, int upscale_factor)
    : Weights(
          kernels,
          {in_channels, out_channels, upscale_factor, true, kernels.bf16 ? kTaps : kPoints,
           kernels.panel},
          bias) {
    if (is_bf16()) {
        make_room_for_bf16();
        pack_bf16(weight);
        share_pages();
        return;
    }
    pack_points(weight);
    is_split_ = kernels.min_split_tiles && k() % kSplitStep == 0;
    if (in_chunks()) divide_into_chunks();
    if (in_rounds()) no_bias_ = Buffer(static_cast<std::size_t>(panels()) * panel());
    if (is_split_) split();
    share_pages();
    divide_scratch();
}

TileWeights::TileWeights(const Kernels& kernels, int out_channels, int in_channels)
    : Weights(
          kernels,
          {in_channels, out_channels, 1, true, kernels.bf16 ? kTaps : kPoints, kernels.panel},
          nullptr),
      is_zero_(static_cast<std::size_t>(kPoints) * panels()) {
    is_bf16() ? make_room_for_bf16() : divide_scratch();
}

void TileWeights::make_room_for_bf16() {
    const std::size_t lines = static_cast<std::size_t>(bf16_channels(k())) / 2;
    replace_packed(Buffer(kTaps * lines * panels() * panel()));
}

void TileWeights::pack_points(const float* weight) {
    double points[kPoints];
    // Output channels inside: they are neighbours in the packed weights.
    for (int in = 0; in < in_channels(); ++in) {
        for (int out = 0; out < out_channels(); ++out) {
            const std::size_t pair = static_cast<std::size_t>(out) * in_channels() + in;
            transform(weight + pair * kTaps, points);
            for (int point = 0; point < kPoints; ++point) {
                at(point, 0, 1, in, out) = static_cast<float>(points[point]);
            }
        }
    }
    const std::size_t matrix = static_cast<std::size_t>(k()) * panel();
    for (const float* from = packed(); from < packed() + packed_size(); from += matrix) {
        is_zero_.push_back(std::all_of(from, from + matrix, [](float x) { return x == 0; }));
    }
}

void TileWeights::divide_into_chunks() {
    Buffer chunks(packed_size());
    float* to = chunks.data();
    for (int begin = 0; begin < k(); begin += kSplitChunk) {
        const int floats = std::min(kSplitChunk, k() - begin) * panel();
        for (int matrix = 0; matrix < kPoints * panels(); ++matrix, to += floats) {
            std::copy_n(packed() + (matrix * k() + begin) * panel(), floats, to);
        }
    }
    replace_packed(std::move(chunks));
}

void TileWeights::pack_bf16(const float* weight) {
    // As the kernel takes them: (out, 3, 3, in), output channels where they are packed.
    const int outs = panels() * panel(), ins = in_channels();
    std::vector<float> taps(static_cast<std::size_t>(outs) * kTaps * ins);
    is_zero_.assign(static_cast<std::size_t>(kTaps) * panels(), 1);
    for (int out = 0; out < out_channels(); ++out) {
        const int row = packed_channel(out);
        for (int in = 0; in < ins; ++in) {
            for (int tap = 0; tap < kTaps; ++tap, ++weight) {
                taps[(static_cast<std::size_t>(row) * kTaps + tap) * ins + in] = *weight;
                if (*weight != 0) is_zero_[tap * panels() + row / panel()] = 0;
            }
        }
    }
    kernels().bf16->pack(taps.data(), ins, outs, false, packed_data());
}

void TileWeights::divide_scratch() {
    if (in_chunks()) {
        points_ = kPoints;
        group_ = panels();
        return;
    }
    constexpr int channels = 64;  // of a group: enough products for each window that is read again
    const int few = std::min(panels(), std::max(1, channels / panel()));
    const std::ptrdiff_t all = window_step(kPassPoints) + kPoints * panels() * panel();
    const std::ptrdiff_t grouped = window_step(kPoints) + kPoints * few * panel();
    points_ = all <= grouped ? kPassPoints : kPoints;
    group_ = all <= grouped ? panels() : few;
}

float* TileWeights::replaced_weights() {
    if (is_split_) {
        replace_packed(Buffer(packed_size() / kSplitParts * 2));
        is_split_ = false;
        divide_scratch();
    }
    std::fill(is_zero_.begin(), is_zero_.end(), std::uint8_t{0});
    return packed_data();
}

int TileWeights::tiles_per_call() const {
    if (is_bf16()) return kBf16CallTiles;
    // The kernel computes `min_tiles` in any case, and more at a time are slower.
    if (is_split_) return min_tiles();
    constexpr std::size_t fewest = 12, most = 36;  // multiples of every `Kernels::min_tiles`
    // Most of the cache is left to the weights, which pass through it once for each call: where
    // they push tiles out, a conv of 160 channels takes a quarter longer.
    const std::size_t floats = cache_bytes(2) / 8 * 3 / sizeof(float);
    const std::size_t step = min_tiles(), fitting = floats / tile_floats() / step * step;
    return static_cast<int>(std::clamp(fitting, fewest, most));
}

PixelWeights::PixelWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels,
    int in_channels)
    : Weights(kernels, {in_channels, out_channels, 1, false, kTaps, kernels.panel}, bias) {
    pack_taps(weight, kTaps);
}

UpsamplingWeights::UpsamplingWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels,
    int in_channels, int upscale_factor, bool may_split)
    : UpsamplingWeights(
          kernels, bias, out_channels, in_channels, upscale_factor,
          splits_upsampling(kernels, in_channels, out_channels, may_split)) {
    pack_taps(weight, kUpsampleTaps);
    if (is_split_) split();
}

UpsamplingWeights::UpsamplingWeights(
    const Kernels& kernels, const float* bias, int out_channels, int in_channels,
    int upscale_factor, bool is_split)
    : Weights(
          kernels,
          {in_channels, out_channels, upscale_factor, false, kUpsampleTaps,
           upsampling_panel(kernels, out_channels, is_split)},
          bias),
      is_split_(is_split) {}

HeadWeights::HeadWeights(
    const Kernels& kernels, const float* weight, const float* bias, const float* mean,
    int out_channels, int image_channels)
    : Weights(kernels, {kTaps * image_channels, out_channels, 1, false, 1, kernels.panel}, bias),
      mean_(image_channels) {
    std::copy_n(mean, image_channels, mean_.data());
    for (int out = 0; out < out_channels; ++out) {
        for (int in = 0; in < image_channels; ++in) {
            for (int y = 0; y < 3; ++y) {
                for (int x = 0; x < 3; ++x) {
                    at(0, 0, 1, (x * 3 + y) * image_channels + in, out) = *weight++;
                }
            }
        }
    }
}

std::size_t HeadWeights::scratch(int width) const {
    return static_cast<std::size_t>(width + 2) * 3 * image_channels();
}

PatchWeights::PatchWeights(
    const Kernels& kernels, const float* weight, const float* bias, int out_channels,
    int in_channels, int side)
    : Weights(kernels, {in_channels, out_channels, 1, false, side * side, kernels.panel}, bias),
      side_(side) {
    pack_taps(weight, side * side);
}

Attention::Attention(
    int channels, int squeezed, const float* squeeze, const float* squeeze_bias,
    const float* excite, const float* excite_bias)
    : squeeze_(squeeze, squeeze + static_cast<std::size_t>(channels) * squeezed),
      squeeze_bias_(squeeze_bias, squeeze_bias + squeezed),
      excite_(excite, excite + static_cast<std::size_t>(channels) * squeezed),
      excite_bias_(excite_bias, excite_bias + channels) {}

void Attention::weights(const float* means, float* between, float* scale) const {
    const auto product = [](const std::vector<float>& matrix, const std::vector<float>& bias,
                            const float* x, float* y) {
        const std::size_t length = matrix.size() / bias.size();
        for (std::size_t row = 0; row < bias.size(); ++row) {
            y[row] = std::inner_product(x, x + length, matrix.begin() + row * length, bias[row]);
        }
    };
    product(squeeze_, squeeze_bias_, means, between);
    for (std::size_t i = 0; i < squeeze_bias_.size(); ++i)
        between[i] = between[i] < 0 ? 0 : between[i];  // NaN stays NaN
    product(excite_, excite_bias_, between, scale);
    for (std::size_t i = 0; i < excite_bias_.size(); ++i) scale[i] = 1 / (1 + std::exp(-scale[i]));
}

}  // namespace adadsr
