// The Python module `adadsr.sparse._native`. Arrays cross as DLPack; std::invalid_argument becomes ValueError.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>

#include "engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace adadsr {
namespace {

template <int Dimensions>
using Floats = nb::ndarray<const float, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Any = nb::ndarray<const float, nb::ndim<4>, nb::device::cpu>;
using Images = nb::ndarray<float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Map = Floats<3>;
using Numbers = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// The images of a canvas without what surrounds them, (batch, height, width, channels); keeps the memory alive.
nb::ndarray<float> view(const Canvas& canvas) {
    const Geometry& g = canvas.geometry();
    const std::size_t shape[4] = {
        static_cast<std::size_t>(g.batch), static_cast<std::size_t>(g.height), static_cast<std::size_t>(g.width),
        static_cast<std::size_t>(canvas.channels())};
    const std::int64_t strides[4] = {g.plane * canvas.pitch(), g.row * canvas.pitch(), canvas.pitch(), 1};
    nb::capsule owner(new std::shared_ptr<Buffer>(canvas.buffer()), [](void* buffer) noexcept {
        delete static_cast<std::shared_ptr<Buffer>*>(buffer);
    });
    return nb::ndarray<float>(canvas.image(), 4, shape, owner, strides);
}

void check_channels(std::size_t out, std::size_t in) {
    constexpr std::size_t most = 1 << 16;
    if (!out || !in || out > most || in > most) throw std::invalid_argument("a conv has from 1 to 65536 channels");
}

void check_conv(const Floats<4>& weight, const Floats<1>& bias, std::size_t side = 3) {
    if (weight.shape(2) != side || weight.shape(3) != side) {
        throw std::invalid_argument("the weight is not of a " + std::to_string(side) + "x" + std::to_string(side) + " conv");
    }
    check_channels(weight.shape(0), weight.shape(1));
    if (bias.shape(0) != weight.shape(0)) throw std::invalid_argument("the bias does not have the weight's channels");
}

void make_tile_weights(TileWeights* place, Floats<4> weight, Floats<1> bias, const std::string& isa, int factor) {
    check_conv(weight, bias);
    const auto out = static_cast<int>(weight.shape(0)), in = static_cast<int>(weight.shape(1));
    if (factor < 1 || factor > 4 || out % (factor * factor)) {
        throw std::invalid_argument("the factor is from 1 to 4, and its square divides the channels that come out");
    }
    new (place) TileWeights(kernels_named(isa.c_str()), weight.data(), bias.data(), out, in, factor);
}

void make_pixel_weights(PixelWeights* place, Floats<4> weight, Floats<1> bias, const std::string& isa) {
    check_conv(weight, bias);
    const auto out = static_cast<int>(weight.shape(0)), in = static_cast<int>(weight.shape(1));
    new (place) PixelWeights(kernels_named(isa.c_str()), weight.data(), bias.data(), out, in);
}

void make_enlarging_weights(
    EnlargingWeights* place, Floats<4> weight, Floats<1> bias, const std::string& isa, int factor) {
    check_conv(weight, bias, 5);
    const auto out = static_cast<int>(weight.shape(0)), in = static_cast<int>(weight.shape(1));
    if (factor < 1 || factor > 4 || out % (factor * factor)) {
        throw std::invalid_argument("the factor is from 1 to 4, and its square divides the channels that come out");
    }
    new (place) EnlargingWeights(kernels_named(isa.c_str()), weight.data(), bias.data(), out, in, factor);
}

void make_attention(
    Attention* place, Floats<4> squeeze, Floats<1> squeeze_bias, Floats<4> excite, Floats<1> excite_bias) {
    const std::size_t squeezed = squeeze_bias.shape(0), channels = excite_bias.shape(0);
    const auto fits = [](const Floats<4>& weight, std::size_t out, std::size_t in) {
        return weight.shape(0) == out && weight.shape(1) == in && weight.shape(2) == 1 && weight.shape(3) == 1;
    };
    check_channels(squeezed, channels);
    if (squeezed > channels) throw std::invalid_argument("channel attention squeezes to fewer channels, not to more");
    if (!fits(squeeze, squeezed, channels) || !fits(excite, channels, squeezed)) {
        throw std::invalid_argument("channel attention is two 1x1 convs, from the channels to fewer and back");
    }
    new (place) Attention(
        static_cast<int>(channels), static_cast<int>(squeezed), squeeze.data(), squeeze_bias.data(), excite.data(),
        excite_bias.data());
}

void make_head_weights(HeadWeights* place, Floats<4> weight, Floats<1> bias, Floats<1> mean, const std::string& isa) {
    check_conv(weight, bias);
    if (mean.shape(0) != weight.shape(1)) throw std::invalid_argument("the mean does not have the image's channels");
    const auto out = static_cast<int>(weight.shape(0)), in = static_cast<int>(weight.shape(1));
    if (in > 1 << 10) throw std::invalid_argument("a head takes images of at most 1024 channels");
    new (place) HeadWeights(kernels_named(isa.c_str()), weight.data(), bias.data(), mean.data(), out, in);
}

void make_embedding_weights(EmbeddingWeights* place, Floats<4> weight, Floats<1> bias, const std::string& isa) {
    const std::size_t side = weight.shape(2);
    if (side < 1 || side > 16) throw std::invalid_argument("a tile has from 1 to 16 pixels along a side");
    check_conv(weight, bias, side);
    const auto out = static_cast<int>(weight.shape(0)), in = static_cast<int>(weight.shape(1));
    new (place) EmbeddingWeights(
        kernels_named(isa.c_str()), weight.data(), bias.data(), out, in, static_cast<int>(side));
}

// Images as an array (batch, height, width, channels) with any strides.
Strided strided(const Any& images) {
    Strided result{images.data(), {}, {}};
    for (int axis = 0; axis < 4; ++axis) {
        result.size[axis] = static_cast<std::ptrdiff_t>(images.shape(axis));
        result.stride[axis] = images.stride(axis);
    }
    return result;
}

Finish make_finish(bool relu, float slope, const Depths* depths, float block, const Canvas* plus) {
    Finish finish;
    finish.relu = relu;
    finish.slope = slope;
    finish.depths = depths;
    finish.block = block;
    finish.plus = plus;
    return finish;
}

void take_depths(Depths& depths, const Map& map) {
    constexpr std::size_t most = 1u << 31;
    if (map.size() >= most) throw std::invalid_argument("a depth map has to have fewer than 2^31 values");
    depths.take(
        map.data(), static_cast<int>(map.shape(0)), static_cast<int>(map.shape(1)), static_cast<int>(map.shape(2)));
}

void bind_data(nb::module_& module) {
    nb::class_<Canvas>(module, "Canvas")
        .def(nb::init<int, int, int, int>(), "batch"_a, "height"_a, "width"_a, "channels"_a)
        .def_prop_ro("tiles", &Canvas::tiles)
        .def_prop_ro("pixels", &Canvas::pixels)
        .def_prop_ro("bytes", [](const Canvas& canvas) { return canvas.buffer()->size() * sizeof(float); })
        .def_static("bytes_of", [](int batch, int height, int width, int channels) {
            return Canvas::Plan(batch, height, width, channels).floats * sizeof(float);
        }, "batch"_a, "height"_a, "width"_a, "channels"_a)
        .def_prop_ro("spare", &Canvas::spare)
        .def("take", [](const Canvas& canvas, Any images, int threads, std::optional<Floats<1>> scale) {
            if (scale && scale->shape(0) != static_cast<std::size_t>(canvas.geometry().batch)) {
                throw std::invalid_argument("give a scale for each image");
            }
            const float* scales = scale ? scale->data() : nullptr;
            const nb::gil_scoped_release unlocked;
            take(canvas, strided(images), scales, std::max(1, threads));
        }, nb::arg("images").noconvert(), "threads"_a, nb::arg("scale").noconvert() = nb::none())
        .def("view", &view);
    nb::class_<Depths>(module, "Depths")
        .def(nb::init<>())
        .def("__init__", [](Depths* place, Map map) { take_depths(*new (place) Depths, map); }, nb::arg("map").noconvert())
        .def_static("with_room", [](std::size_t count) {
            Depths depths;
            depths.values.reserve(count);
            return depths;
        }, "count"_a)
        .def_prop_ro("bytes", [](const Depths& depths) { return depths.values.capacity() * sizeof(float); })
        .def("take", &take_depths, nb::arg("map").noconvert());
    nb::class_<Positions>(module, "Positions")
        .def(nb::init<>())
        .def("__init__", [](Positions* place, Numbers numbers) {
            new (place) Positions(Positions::listed(numbers.data(), numbers.size()));
        }, nb::arg("numbers").noconvert())
        .def_static("all", &Positions::all, "count"_a)
        .def_static("with_room", &Positions::with_room, "count"_a)
        .def("span", &Positions::span, "first"_a, "last"_a)
        .def_prop_ro("bytes", [](const Positions& positions) { return positions.numbers.capacity() * sizeof(std::int32_t); })
        .def("__len__", [](const Positions& positions) { return positions.numbers.size(); })
        .def("tolist", [](const Positions& positions) {
            return std::vector<std::int32_t>(positions.numbers.begin(), positions.numbers.end());
        });
    nb::class_<Scratch>(module, "Scratch")
        .def("__init__", [](Scratch* place, std::size_t bytes) {
            new (place) Scratch;
            place->reserve((bytes + sizeof(float) - 1) / sizeof(float), 1);
        }, "bytes"_a = 0)
        .def_prop_ro("bytes", &Scratch::bytes);
}

void bind_weights(nb::module_& module) {
    nb::class_<TileWeights>(module, "TileWeights")
        .def_prop_ro("bytes", &TileWeights::bytes)
        .def("scratch_bytes", [](const TileWeights& weights, int threads) {
            return weights.scratch() * std::max(1, threads) * sizeof(float);
        }, "threads"_a)
        .def("__init__", &make_tile_weights, nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), "isa"_a,
            "factor"_a = 1);
    nb::class_<PixelWeights>(module, "PixelWeights")
        .def_prop_ro("bytes", &PixelWeights::bytes)
        .def("__init__", &make_pixel_weights, nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), "isa"_a);
    nb::class_<EnlargingWeights>(module, "EnlargingWeights")
        .def_prop_ro("bytes", &EnlargingWeights::bytes)
        .def("__init__", &make_enlarging_weights, nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), "isa"_a,
            "factor"_a);
    nb::class_<Attention>(module, "Attention")
        .def_prop_ro("macs", &Attention::macs)
        .def("__init__", &make_attention, nb::arg("squeeze").noconvert(), nb::arg("squeeze_bias").noconvert(),
            nb::arg("excite").noconvert(), nb::arg("excite_bias").noconvert());
    nb::class_<HeadWeights>(module, "HeadWeights")
        .def_prop_ro("bytes", &HeadWeights::bytes)
        .def("scratch_bytes", [](const HeadWeights& weights, int width, int threads) {
            return weights.scratch(std::max(1, width)) * std::max(1, threads) * sizeof(float);
        }, "width"_a, "threads"_a)
        .def("__init__", &make_head_weights, nb::arg("weight").noconvert(), nb::arg("bias").noconvert(),
            nb::arg("mean").noconvert(), "isa"_a);
    nb::class_<EmbeddingWeights>(module, "EmbeddingWeights")
        .def_prop_ro("bytes", &EmbeddingWeights::bytes)
        .def("scratch_bytes", [](const EmbeddingWeights& weights, int threads) {
            return weights.scratch() * std::max(1, threads) * sizeof(float);
        }, "threads"_a)
        .def("__init__", &make_embedding_weights, nb::arg("weight").noconvert(), nb::arg("bias").noconvert(), "isa"_a);
    module.def("isas", [] {
        std::vector<std::string> names;
        for (const char* name : kernel_names()) names.emplace_back(name);
        return names;
    });
}

void bind_operations(nb::module_& module) {
    using Unlocked = nb::call_guard<nb::gil_scoped_release>;
    module.def("allocations", [] { return allocations().load(); });
    module.def("select_between", &select_between, "depths"_a, "low"_a, "high"_a, "first"_a, "last"_a, "found"_a);
    module.def("select_pixels", &select_pixels, "depths"_a, "low"_a, "worth"_a, "tiles"_a, "pixels"_a);
    module.def("conv_tiles", [](const TileWeights& weights, const Canvas& source, const Canvas& out,
                                const Positions& tiles, Scratch& scratch, int threads, bool relu, float slope,
                                const Depths* depths, float block, const Canvas* plus) {
        const Finish finish = make_finish(relu, slope, depths, block, plus);
        conv_tiles(weights, source, out, tiles, finish, scratch, std::max(1, threads));
    }, "weights"_a, "source"_a, "out"_a, "tiles"_a, "scratch"_a, "threads"_a, nb::kw_only(), "relu"_a = false,
        "slope"_a = 1.0f, "depths"_a = nb::none(), "block"_a = 0.0f, "plus"_a = nb::none(), Unlocked());
    module.def("conv_pixels", [](const PixelWeights& weights, const Canvas& source, const Canvas& out,
                                 const Positions& pixels, int threads, bool relu, float slope, const Depths* depths,
                                 float block, const Canvas* plus) {
        conv_pixels(weights, source, out, pixels, make_finish(relu, slope, depths, block, plus), std::max(1, threads));
    }, "weights"_a, "source"_a, "out"_a, "pixels"_a, "threads"_a, nb::kw_only(), "relu"_a = false, "slope"_a = 1.0f,
        "depths"_a = nb::none(), "block"_a = 0.0f, "plus"_a = nb::none(), Unlocked());
    module.def("enlarge", [](const std::vector<const EnlargingWeights*>& weights, const Canvas& source, Images out, int top,
                             int bottom, int threads) {
        const auto size = [&out](int axis) { return static_cast<int>(std::min<std::size_t>(out.shape(axis), 1u << 30)); };
        const Enlarged to = {out.data(), size(0), size(1), size(2), size(3)};
        const nb::gil_scoped_release unlocked;
        enlarge(weights, source, to, top, bottom, std::max(1, threads));
    }, "weights"_a, "source"_a, nb::arg("out").noconvert(), "top"_a, "bottom"_a, "threads"_a);
    module.def("clear_tiles", &clear_tiles, "canvas"_a, "tiles"_a, Unlocked());
    module.def("sums_bytes", [](int batch, int channels, int positions) {
        if (batch < 1 || channels < 1 || positions < 0) throw std::invalid_argument("a size is not positive");
        return sums_floats(batch, channels, positions) * sizeof(float);
    }, "batch"_a, "channels"_a, "positions"_a);
    module.def("attend", &attend, "attention"_a, "out"_a, "update"_a, "tiles"_a, "pixels"_a, "scratch"_a, "threads"_a, Unlocked());
}

void bind_front(nb::module_& module) {
    module.def("head", [](const HeadWeights& weights, Any images, const Canvas& out, Scratch& scratch, int threads) {
        const Strided from = strided(images);
        const nb::gil_scoped_release unlocked;
        head(weights, from, out, scratch, std::max(1, threads));
    }, "weights"_a, nb::arg("images").noconvert(), "out"_a, "scratch"_a, "threads"_a);
    module.def("embed", [](const EmbeddingWeights& weights, const Canvas& source, const Canvas& out, Scratch& scratch,
                           int threads, float slope) {
        embed(weights, source, out, slope, scratch, std::max(1, threads));
    }, "weights"_a, "source"_a, "out"_a, "scratch"_a, "threads"_a, nb::kw_only(), "slope"_a = 1.0f,
        nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace
}  // namespace adadsr

NB_MODULE(_native, module) {
    module.doc() = "Convs of canvases at lists of tiles and pixels; `adadsr.sparse.native` is what uses it.";
    adadsr::bind_data(module);
    adadsr::bind_weights(module);
    adadsr::bind_operations(module);
    adadsr::bind_front(module);
}
