// The weights of convs, packed in the order in which the kernels of one instruction set read them.
#pragma once

#include <utility>
#include <vector>

#include "buffer.h"
#include "kernels.h"

namespace adadsr {

// Weights in panels of output channels. Channels that pad a pixel or a panel have weights and a
// bias of zero.
class Weights {
public:
    const Kernels& kernels() const { return *kernels_; }
    int in_channels() const { return in_channels_; }
    int out_channels() const { return out_channels_; }
    int upscale_factor() const { return upscale_factor_; }
    // Inner dimension of the products: input channels, padded as a pixel of a canvas is.
    int k() const { return k_; }
    int panel() const { return panel_; }
    int panels() const { return panels_; }
    std::size_t bytes() const {
        return (packed_.size() + bias_.size() + slopes_.size()) * sizeof(float);
    }
    const float* packed() const { return packed_.data(); }
    std::size_t packed_size() const { return packed_.size(); }
    const float* bias() const { return bias_.data(); }
    // Slope of a PReLU for each sum, packed as the bias is; null if none was set.
    const float* slopes() const { return slopes_.data(); }
    // slopes: (out). The PReLU follows the conv.
    void set_slopes(const float* slopes);

protected:
    // Where an output channel is packed, among those of all panels.
    int packed_channel(int out) const;
    // How a kind of weights is packed. shuffled: whether PixelShuffle(upscale_factor) follows, so
    // that the outputs of each pixel that it makes are packed together. matrices: of in x out
    // channels, one for each tap or point. panel: output channels of a panel.
    struct Layout {
        int in_channels, out_channels, upscale_factor;
        bool shuffled;
        int matrices, panel;
    };
    Weights(const Kernels& kernels, const Layout& layout, const float* bias);

    // Packs the weight (out, in, taps) of a conv, the taps of a panel one after the other.
    void pack_taps(const float* weight, int taps);
    // A weight, in matrix `inner` of the `inners` inside a panel and `outer` of those around
    // panels.
    float& at(int outer, int inner, int inners, int in, int out);
    float* packed_data() { return packed_.data(); }
    void replace_packed(Buffer packed) { packed_ = std::move(packed); }
    // Moves the packed weights to pages that they share with those of other convs.
    void share_pages() { packed_ = std::move(packed_).in_shared_pages(); }
    float* bias_data() { return bias_.data(); }
    // Splits each weight into three numbers of bfloat16: [in channel][lane], 32 input channels at a
    // time, becomes [part][lane / 16][in channel % 16][lane % 16][in channel / 16 % 2].
    void split();

private:
    const Kernels* kernels_;
    int in_channels_, out_channels_, upscale_factor_, parts_, k_, panel_, panels_;
    Buffer packed_, bias_, slopes_;
};

// For tiles: G g G^T of each pair of channels, as [point][panel][in channel][lane], split where the
// instruction set multiplies bfloat16; where there are more inputs than outputs, in chunks of
// kSplitChunk inputs, [chunk][point][panel][in channel][lane]. An instruction set that rounds to
// bfloat16 multiplies the weights themselves, as [panel][tap][in channel / 32][lane / 16][in
// channel % 32 / 2][lane % 16][in channel % 2].
class TileWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out). PixelShuffle(upscale_factor) follows the conv.
    TileWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels,
        int in_channels, int upscale_factor = 1);
    // Weights of zero, to be replaced (`repack`).
    TileWeights(const Kernels& kernels, int out_channels, int in_channels);
    // [point][panel], or [tap][panel] of bfloat16: whether all its weights are zero, as where a
    // conv has fewer than 3x3 taps.
    const std::uint8_t* is_zero() const { return is_zero_.data(); }
    // Whether `Kernels::conv_split_tiles` or `conv_split_chunks` runs them.
    bool is_split() const { return is_split_; }
    // Whether they are split, and in chunks.
    bool in_chunks() const { return is_split_ && k() > panels() * panel(); }
    // Whether a conv had better run its chunks in rounds, each for all tiles, since all weights
    // together fill the second-level cache.
    bool in_rounds() const { return in_chunks() && panels() > 1; }
    // Those of the chunk that begins with this input channel, and zeros in place of a bias.
    const float* chunk(int begin) const {
        return packed() +
               static_cast<std::ptrdiff_t>(begin) * kPoints * panels() * panel() * kSplitParts / 2;
    }
    const float* no_bias() const { return no_bias_.data(); }
    // Whether `Bf16Kernels` run them.
    bool is_bf16() const { return kernels().bf16 != nullptr; }
    // Fewest tiles that the kernel computes together.
    int min_tiles() const {
        if (is_bf16()) return kAdjoiningTiles;
        return is_split_ ? kernels().min_split_tiles : kernels().min_tiles;
    }
    // Most tiles of one call of the kernel: as many as fit into the second-level cache, but enough
    // to be worth a look at all weights; `min_tiles` of split weights. The sums of a tile do not
    // depend on it.
    int tiles_per_call() const;
    // Points of a window and panels of products that scratch holds at a time: all panels and a
    // third of the points, or all points and a few panels, whichever is less.
    int points() const { return points_; }
    int group() const { return group_; }
    // Floats of scratch for one thread.
    std::size_t scratch() const {
        if (is_bf16()) return bf16_windows(k()) + bf16_sums(panels() * panel());
        return tiles_per_call() * tile_floats();
    }
    // What `repack` writes, never split. No weight counts as zero from then on: to look for zeros
    // at every step of a training would cost more than they save.
    float* replaced_weights();
    float* replaced_bias() { return bias_data(); }

private:
    // weight: (out, in, 3, 3).
    void pack_points(const float* weight);
    // [point][panel] of all inputs becomes [chunk][point][panel].
    void divide_into_chunks();
    void make_room_for_bf16();
    void pack_bf16(const float* weight);
    void divide_scratch();
    // Floats of a tile's window in scratch.
    std::ptrdiff_t window_step(int points) const {
        const int held = in_chunks() ? kSplitChunk : k();
        return is_split_ ? split_step(held, points) : tile_step(held, points);
    }
    std::size_t tile_floats() const { return window_step(points_) + tile_step(group_ * panel()); }

    std::vector<std::uint8_t> is_zero_;
    Buffer no_bias_;
    bool is_split_ = false;
    int points_ = kPoints, group_ = 1;
};

// For pixels: as [panel][tap][in channel][lane].
class PixelWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out).
    PixelWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels,
        int in_channels);
};

// For 5x5 convs that upsample (`UpsampleJob`): as [panel][tap][in channel][lane], split where the
// instruction set multiplies bfloat16.
class UpsamplingWeights : public Weights {
public:
    // Whether `Kernels::upsample_split` runs them.
    bool is_split() const { return is_split_; }
    // weight: (out, in, 5, 5). bias: (out). out is ordered as PixelShuffle(upscale_factor) takes
    // it. may_split: false for single pixels, where it does not pay.
    UpsamplingWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels,
        int in_channels, int upscale_factor, bool may_split);

private:
    // Weights of zero.
    UpsamplingWeights(
        const Kernels& kernels, const float* bias, int out_channels, int in_channels,
        int upscale_factor, bool is_split);

    bool is_split_;
};

// For heads (`RowConvJob`): a 3x3 conv of images less their mean, as
// [panel][column of taps][row of taps][in channel][lane].
class HeadWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out). mean: (in), subtracted from each pixel of the image.
    HeadWeights(
        const Kernels& kernels, const float* weight, const float* bias, const float* mean,
        int out_channels, int image_channels);
    int image_channels() const { return in_channels() / kTaps; }
    const float* mean() const { return mean_.data(); }
    // Floats of scratch for one thread that runs rows of `width` pixels.
    std::size_t scratch(int width) const;

private:
    Buffer mean_;
};

// For patches (`RowConvJob`): a conv of side x side pixels with a stride of `side`, as
// [panel][tap][in channel][lane].
class PatchWeights : public Weights {
public:
    // weight: (out, in, side, side). bias: (out).
    PatchWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels,
        int in_channels, int side);
    int side() const { return side_; }
    // Floats of scratch for one thread: a patch.
    std::size_t scratch() const { return static_cast<std::size_t>(side_) * side_ * k(); }

private:
    int side_;
};

// Channel attention: two 1x1 convs of the channels' means over an image, to fewer channels and
// back, with a ReLU between them and a sigmoid at the end.
class Attention {
public:
    // squeeze: (squeezed, channels). excite: (channels, squeezed). Biases: (squeezed), (channels).
    Attention(
        int channels, int squeezed, const float* squeeze, const float* squeeze_bias,
        const float* excite, const float* excite_bias);
    int channels() const { return static_cast<int>(excite_bias_.size()); }
    // Multiply-accumulates for an image.
    std::size_t macs() const { return squeeze_.size() + excite_.size(); }
    // The weight in (0, 1) of each channel from the channels' means. between: room for `channels`.
    void weights(const float* means, float* between, float* scale) const;

private:
    std::vector<float> squeeze_, squeeze_bias_, excite_, excite_bias_;
};

}  // namespace adadsr
