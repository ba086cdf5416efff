// Python's packed weights: what of an array's shape a kind of conv needs.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "dispatch.h"
#include "refuse.h"
#include "weights.h"

namespace adadsr {
namespace {

using namespace nb::literals;

using Slopes = std::optional<Floats<1>>;

constexpr std::size_t kMostChannels = 1 << 16, kMostImageChannels = 1 << 10;

// The shape of a conv's weight (out, in, side, side), checked against its bias.
struct Shape {
    int out, in;

    Shape(const Floats<4>& weight, const Floats<1>& bias, std::size_t side)
        : out(static_cast<int>(weight.shape(0))), in(static_cast<int>(weight.shape(1))) {
        if (weight.shape(2) != side || weight.shape(3) != side) {
            refuse(
                "the weight is of a ", weight.shape(2), "x", weight.shape(3), " conv, not of a ",
                side, "x", side, " one");
        }
        for (const std::size_t channels : {weight.shape(0), weight.shape(1)}) {
            if (channels < 1 || channels > kMostChannels) {
                refuse("a conv has from 1 to 65536 channels, not ", channels);
            }
        }
        if (bias.shape(0) != weight.shape(0)) {
            refuse("the bias has ", bias.shape(0), " channels, the weight ", weight.shape(0));
        }
    }
};

// Sets the slopes of a PReLU, one for each output channel.
void add_slopes(Weights& weights, const Slopes& slopes) {
    if (!slopes) return;
    if (slopes->shape(0) != static_cast<std::size_t>(weights.out_channels())) {
        refuse(
            slopes->shape(0), " slopes for ", weights.out_channels(),
            " channels; give one for each");
    }
    weights.set_slopes(slopes->data());
}

void check_upscale_factor(int factor, int out) {
    if (factor < 1 || factor > 4) {
        refuse("an upscale factor is from 1 to 4, not ", factor);
    }
    if (out % (factor * factor)) {
        refuse(
            out,
            " output channels are not divisible by the square of the upscale "
            "factor, ",
            factor * factor);
    }
}

void make_tiles(
    TileWeights* self, const Floats<4>& weight, const Floats<1>& bias, const std::string& isa,
    int upscale_factor, const Slopes& slopes) {
    const Shape shape(weight, bias, 3);
    check_upscale_factor(upscale_factor, shape.out);
    const Kernels& kernels = kernels_named(isa.c_str());
    const GilReleased unlocked;
    new (self)
        TileWeights(kernels, weight.data(), bias.data(), shape.out, shape.in, upscale_factor);
    add_slopes(*self, slopes);
}

void make_pixels(
    PixelWeights* self, const Floats<4>& weight, const Floats<1>& bias, const std::string& isa) {
    const Shape shape(weight, bias, 3);
    const Kernels& kernels = kernels_named(isa.c_str());
    const GilReleased unlocked;
    new (self) PixelWeights(kernels, weight.data(), bias.data(), shape.out, shape.in);
}

void make_upsampling(
    UpsamplingWeights* self, const Floats<4>& weight, const Floats<1>& bias, const std::string& isa,
    int upscale_factor, bool split) {
    const Shape shape(weight, bias, 5);
    check_upscale_factor(upscale_factor, shape.out);
    const Kernels& kernels = kernels_named(isa.c_str());
    const GilReleased unlocked;
    new (self) UpsamplingWeights(
        kernels, weight.data(), bias.data(), shape.out, shape.in, upscale_factor, split);
}

void make_head(
    HeadWeights* self, const Floats<4>& weight, const Floats<1>& bias, const Floats<1>& mean,
    const std::string& isa, const Slopes& slopes) {
    const Shape shape(weight, bias, 3);
    if (mean.shape(0) != weight.shape(1)) {
        refuse("the mean has ", mean.shape(0), " channels, the images ", shape.in);
    }
    if (weight.shape(1) > kMostImageChannels) {
        refuse("a head takes images of at most 1024 channels, not ", shape.in);
    }
    const Kernels& kernels = kernels_named(isa.c_str());
    new (self) HeadWeights(kernels, weight.data(), bias.data(), mean.data(), shape.out, shape.in);
    add_slopes(*self, slopes);
}

void make_patches(
    PatchWeights* self, const Floats<4>& weight, const Floats<1>& bias, const std::string& isa) {
    const std::size_t side = weight.shape(2);
    if (side < 1 || side > static_cast<std::size_t>(kMostPatchSide)) {
        refuse("a patch has a side of 1 to ", kMostPatchSide, " pixels, not ", side);
    }
    const Shape shape(weight, bias, side);
    const Kernels& kernels = kernels_named(isa.c_str());
    const GilReleased unlocked;
    new (self) PatchWeights(
        kernels, weight.data(), bias.data(), shape.out, shape.in, static_cast<int>(side));
}

void make_attention(
    Attention* self, const Floats<4>& squeeze, const Floats<1>& squeeze_bias,
    const Floats<4>& excite, const Floats<1>& excite_bias) {
    const Shape down(squeeze, squeeze_bias, 1), up(excite, excite_bias, 1);
    if (down.in != up.out || down.out != up.in || down.out > down.in) {
        refuse(
            "channel attention is two 1x1 convs, to fewer channels and back, not ", down.in, " to ",
            down.out, " and ", up.in, " to ", up.out);
    }
    new (self) Attention(
        down.in, down.out, squeeze.data(), squeeze_bias.data(), excite.data(), excite_bias.data());
}

// The bytes of scratch that all threads together need.
template <class Packed>
std::size_t scratch_bytes(const Packed& weights, int threads) {
    return weights.scratch() * at_least_one(threads) * sizeof(float);
}

}  // namespace

void bind_weights(nb::module_& module) {
    const auto weight = [] { return nb::arg("weight").noconvert(); };
    const auto bias = [] { return nb::arg("bias").noconvert(); };
    nb::class_<TileWeights>(module, "TileWeights")
        .def(
            "__init__", &make_tiles, weight(), bias(), "isa"_a, "upscale_factor"_a = 1,
            nb::arg("slopes").noconvert() = nb::none())
        .def_prop_ro("bytes", &TileWeights::bytes)
        .def_prop_ro("is_bfloat16", &TileWeights::is_bf16)
        .def("scratch_bytes", &scratch_bytes<TileWeights>, "threads"_a);
    nb::class_<PixelWeights>(module, "PixelWeights")
        .def("__init__", &make_pixels, weight(), bias(), "isa"_a)
        .def_prop_ro("bytes", &PixelWeights::bytes);
    nb::class_<UpsamplingWeights>(module, "UpsamplingWeights")
        .def(
            "__init__", &make_upsampling, weight(), bias(), "isa"_a, "upscale_factor"_a,
            nb::kw_only(), "split"_a = true)
        .def_prop_ro("bytes", &UpsamplingWeights::bytes);
    nb::class_<HeadWeights>(module, "HeadWeights")
        .def(
            "__init__", &make_head, weight(), bias(), nb::arg("mean").noconvert(), "isa"_a,
            nb::arg("slopes").noconvert() = nb::none())
        .def_prop_ro("bytes", &HeadWeights::bytes)
        .def(
            "scratch_bytes",
            [](const HeadWeights& weights, int width, int threads) {
                return weights.scratch(std::max(1, width)) * at_least_one(threads) * sizeof(float);
            },
            "width"_a, "threads"_a);
    nb::class_<PatchWeights>(module, "PatchWeights")
        .def("__init__", &make_patches, weight(), bias(), "isa"_a)
        .def_prop_ro("bytes", &PatchWeights::bytes)
        .def("scratch_bytes", &scratch_bytes<PatchWeights>, "threads"_a);
    nb::class_<Attention>(module, "Attention")
        .def(
            "__init__", &make_attention, nb::arg("squeeze").noconvert(),
            nb::arg("squeeze_bias").noconvert(), nb::arg("excite").noconvert(),
            nb::arg("excite_bias").noconvert())
        .def_prop_ro("macs", &Attention::macs);
}

}  // namespace adadsr
