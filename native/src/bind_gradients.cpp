// What training adds, for Python: weights that change, and gradients.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "dispatch.h"
#include "engine.h"
#include "refuse.h"

namespace adadsr {
namespace {

using namespace nb::literals;
template <int Dimensions>
using Written = nb::ndarray<float, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

// Raises std::invalid_argument unless an array is (out, 3, 3, in).
template <class Array>
void check_weight(const Array& weight, int out, int in) {
    const std::size_t shape[4] = {
        static_cast<std::size_t>(out), 3, 3, static_cast<std::size_t>(in)};
    for (int axis = 0; axis < 4; ++axis) {
        if (weight.shape(axis) != shape[axis]) {
            refuse(
                "a weight of ", weight.shape(0), "x", weight.shape(1), "x", weight.shape(2), "x",
                weight.shape(3), ", not ", out, "x3x3x", in);
        }
    }
}

template <class Array>
void check_bias(const Array& bias, int out) {
    if (bias.shape(0) != static_cast<std::size_t>(out)) {
        refuse("the bias has ", bias.shape(0), " channels, the weight ", out);
    }
}

void replace(
    TileWeights& self, const Floats<4>& weight, const std::optional<Floats<1>>& bias, bool adjoint,
    int threads) {
    const int in = self.in_channels(), out = self.out_channels();
    if (self.upscale_factor() != 1) refuse("weights with an upscale factor cannot be replaced");
    check_weight(weight, adjoint ? in : out, adjoint ? out : in);
    if (bias) check_bias(*bias, out);
    const float* values = bias ? bias->data() : nullptr;
    const float* taps = weight.data();
    const GilReleased unlocked;
    repack(self, taps, values, adjoint, at_least_one(threads));
}

void find_weight_gradient(
    const std::string& isa, const Canvas& source, const Canvas& gradient, const Positions& tiles,
    const Written<4>& weight, const Written<1>& bias, Scratch& scratch, int threads) {
    check_weight(weight, gradient.channels(), source.channels());
    check_bias(bias, gradient.channels());
    const Kernels& kernels = kernels_named(isa.c_str());
    float *to_weight = weight.data(), *to_bias = bias.data();
    const GilReleased unlocked;
    weight_gradient(
        kernels, source, gradient, tiles, to_weight, to_bias, scratch, at_least_one(threads));
}

}  // namespace

void bind_gradients(nb::module_& module) {
    module.def(
        "blank_weights",
        [](int in_channels, int out_channels, const std::string& isa) {
            if (in_channels < 1 || out_channels < 1) {
                refuse("a conv of ", in_channels, " to ", out_channels, " channels");
            }
            return TileWeights(kernels_named(isa.c_str()), out_channels, in_channels);
        },
        "in_channels"_a, "out_channels"_a, "isa"_a);
    module.def(
        "repack", &replace, "weights"_a, nb::arg("weight").noconvert(),
        nb::arg("bias").noconvert().none(), "adjoint"_a, "threads"_a);
    module.def(
        "weight_gradient", &find_weight_gradient, "isa"_a, "source"_a, "gradient"_a, "tiles"_a,
        nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), "scratch"_a, "threads"_a);
    module.def(
        "multiply_gate",
        [](const Canvas& source, const Depths& depths, float block, Canvas& out, int threads) {
            multiply_gate(source, depths, block, out, at_least_one(threads));
        },
        "source"_a, "depths"_a, "block"_a, "out"_a, "threads"_a, Unlocked());
    module.def(
        "gate_gradient",
        [](const Canvas& update, const Canvas& gradient, const Positions& tiles,
           const Images<float>& out, int threads) {
            const auto to = view_images(out);
            const GilReleased unlocked;
            gate_gradient(update, gradient, tiles, to, at_least_one(threads));
        },
        "update"_a, "gradient"_a, "tiles"_a, nb::arg("out").noconvert(), "threads"_a);
}

}  // namespace adadsr
