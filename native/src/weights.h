// The weights of a 3x3 conv as the kernels of one instruction set read them.
#pragma once

#include <vector>

#include "buffer.h"
#include "canvas.h"
#include "geometry.h"

namespace adadsr {

// The kernels of an instruction set; raises std::invalid_argument where there are none of that name on this machine.
const Kernels& kernels_named(const char* name);
// Names of the instruction sets that this machine has, the fastest first.
std::vector<const char*> kernel_names();

// Weights in panels of output channels. Channels that pad a pixel or a panel have weights and a bias of zero.
class Weights {
public:
    const Kernels& kernels() const { return *kernels_; }
    int in_channels() const { return in_channels_; }
    int out_channels() const { return out_channels_; }
    int factor() const { return factor_; }
    int depth() const { return depth_; }
    int panel() const { return panel_; }
    int panels() const { return panels_; }
    std::size_t bytes() const { return (packed_.size() + bias_.size()) * sizeof(float); }
    const float* packed() const { return packed_.data(); }
    const float* bias() const { return bias_.data(); }

protected:
    // steps: matrices of in x out channels that a kernel reads one after the other. factor: see `TileWeights`. panel:
    // output channels of a panel.
    Weights(
        const Kernels& kernels, int in_channels, int out_channels, int factor, int steps, int panel, const float* bias);

    // Where an output channel lies among the packed ones.
    int place(int out) const;

    // The weight of a pair of channels: of matrix `outer` of those around the panels, `inner` of `inners` inside them.
    float& at(int outer, int inner, int inners, int in, int out) const;

private:
    const Kernels* kernels_;
    int in_channels_, out_channels_, factor_, depth_, panel_, panels_;
    Buffer packed_, bias_;
};

// For tiles: G g G^T of each pair of channels, laid out [point][panel][in channel][lane].
class TileWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out). factor: PixelShuffle(factor) follows, from out to out / factor^2 channels.
    TileWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels,
        int factor = 1);
    // Tiles that a thread runs at once at most: as many as the second-level cache holds, but enough to be worth a look at
    // all weights.
    int tiles_at_once() const;
    // Floats of scratch for one thread.
    std::size_t scratch() const { return tiles_at_once() * tile_floats(); }

private:
    std::size_t tile_floats() const { return tile_step(depth()) + tile_step(panels() * panel()); }
};

// For 5x5 convs that enlarge (`Enlargement`): laid out [panel][tap][in channel][lane].
class EnlargingWeights : public Weights {
public:
    // weight: (out, in, 5, 5). bias: (out). out is ordered as PixelShuffle(factor) takes it.
    EnlargingWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels, int factor);
    int enlarges() const { return enlarges_; }

private:
    int enlarges_;
};

// For heads (`Strip`): a 3x3 conv of images less their mean, laid out [panel][column of taps][row of taps][in channel][lane].
class HeadWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out). mean: (in), subtracted from each pixel of the image.
    HeadWeights(
        const Kernels& kernels, const float* weight, const float* bias, const float* mean, int out_channels,
        int image_channels);
    int image_channels() const { return in_channels() / kTaps; }
    const float* mean() const { return mean_.data(); }
    // Floats of scratch for one thread that runs rows of so many pixels.
    std::size_t scratch(int width) const;

private:
    Buffer mean_;
};

// For embeddings of tiles (`Strip`): a conv of side x side pixels with a stride of `side`, laid out
// [panel][tap][in channel][lane].
class EmbeddingWeights : public Weights {
public:
    // weight: (out, in, side, side). bias: (out).
    EmbeddingWeights(
        const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels, int side);
    int side() const { return side_; }
    // Floats of scratch for one thread: a tile.
    std::size_t scratch() const { return static_cast<std::size_t>(side_) * side_ * depth(); }

private:
    int side_;
};

// For pixels: laid out [panel][tap][in channel][lane].
class PixelWeights : public Weights {
public:
    // weight: (out, in, 3, 3). bias: (out).
    PixelWeights(const Kernels& kernels, const float* weight, const float* bias, int out_channels, int in_channels);
};

// Channel attention: 1x1 convs of the channels' means over an image, channels -> squeezed -> channels, with a ReLU between
// and a sigmoid at the end.
class Attention {
public:
    // squeeze: (squeezed, channels). excite: (channels, squeezed). Biases: (squeezed) and (channels).
    Attention(
        int channels, int squeezed, const float* squeeze, const float* squeeze_bias, const float* excite,
        const float* excite_bias);
    int channels() const { return static_cast<int>(excite_bias_.size()); }
    // Multiply-accumulates for an image.
    std::size_t macs() const { return squeeze_.size() + excite_.size(); }
    // The weight of each channel in (0, 1) from its mean. between: room for as many floats.
    void weights(const float* means, float* between, float* scale) const;

private:
    std::vector<float> squeeze_, squeeze_bias_, excite_, excite_bias_;
};

}  // namespace adadsr
