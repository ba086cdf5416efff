// Python's operations. None holds the interpreter's lock while it computes.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"
#include "cpu_cache.h"
#include "dispatch.h"
#include "engine.h"
#include "refuse.h"

namespace adadsr {
namespace {

using namespace nb::literals;

void bind_queries(nb::module_& module) {
    module.def("isas", [] {
        std::vector<std::string> names;
        for (const char* name : kernel_names()) names.emplace_back(name);
        return names;
    });
    module.def("bf16_isa", []() -> std::optional<std::string> {
        const Kernels* kernels = bf16_kernels();
        return kernels ? std::optional<std::string>(kernels->name) : std::nullopt;
    });
    module.def("cache_bytes", &cache_bytes, "level"_a);
    module.def("allocations", [] { return allocations().load(); });
    module.def(
        "attention_bytes",
        [](int batch, int channels, int positions) {
            if (batch < 1 || channels < 1 || positions < 0) {
                refuse(positions, " positions of ", batch, " images with ", channels, " channels");
            }
            return attention_floats(batch, channels, positions) * sizeof(float);
        },
        "batch"_a, "channels"_a, "positions"_a);
}

void bind_selections(nb::module_& module) {
    module.def(
        "select_between",
        [](const Depths& depths, float low, float high, int first, int last, Positions& found,
           int threads) {
            select_between(depths, low, high, first, last, found, at_least_one(threads));
        },
        "depths"_a, "low"_a, "high"_a, "first"_a, "last"_a, "found"_a, "threads"_a, Unlocked());
    module.def(
        "select_pixels",
        [](const Depths& depths, float low, float break_even, Positions& tiles, Positions& pixels,
           int threads) {
            return select_pixels(depths, low, break_even, tiles, pixels, at_least_one(threads));
        },
        "depths"_a, "low"_a, "break_even"_a, "tiles"_a, "pixels"_a, "threads"_a, Unlocked());
}

void bind_convs(nb::module_& module) {
    module.def(
        "conv_tiles",
        [](const TileWeights& weights, const Canvas& source, Canvas& out, const Positions& tiles,
           Scratch& scratch, int threads, bool relu, float slope, const Depths* depths, float block,
           const Canvas* plus, const Canvas* passed, const Canvas* also, float also_factor,
           const Further& more) {
            const Finish finish{relu, slope, depths, block, plus, passed, also, also_factor};
            conv_tiles(weights, source, more, out, tiles, finish, scratch, at_least_one(threads));
        },
        "weights"_a, "source"_a, "out"_a, "tiles"_a, "scratch"_a, "threads"_a, nb::kw_only(),
        "relu"_a = false, "slope"_a = 1.0f, "depths"_a = nb::none(), "block"_a = 0.0f,
        "plus"_a = nb::none(), "passed"_a = nb::none(), "also"_a = nb::none(),
        "also_factor"_a = 1.0f, "more"_a = Further(), Unlocked());
    module.def(
        "conv_pixels",
        [](const PixelWeights& weights, const Canvas& source, Canvas& out, const Positions& pixels,
           int threads, bool relu, float slope, const Depths* depths, float block,
           const Canvas* plus) {
            const Finish finish{relu, slope, depths, block, plus};
            conv_pixels(weights, source, out, pixels, finish, at_least_one(threads));
        },
        "weights"_a, "source"_a, "out"_a, "pixels"_a, "threads"_a, nb::kw_only(), "relu"_a = false,
        "slope"_a = 1.0f, "depths"_a = nb::none(), "block"_a = 0.0f, "plus"_a = nb::none(),
        Unlocked());
}

void bind_attention(nb::module_& module) {
    module.def(
        "copy_tiles",
        [](const Canvas& source, Canvas& out, const Positions& tiles, int threads) {
            copy_tiles(source, out, tiles, at_least_one(threads));
        },
        "source"_a, "out"_a, "tiles"_a, "threads"_a, Unlocked());
    module.def(
        "clear_tiles",
        [](Canvas& canvas, const Positions& tiles, int threads) {
            clear_tiles(canvas, tiles, at_least_one(threads));
        },
        "canvas"_a, "tiles"_a, "threads"_a, Unlocked());
    module.def(
        "attend",
        [](const Attention& attention, Canvas& out, const Canvas& update, const Positions& tiles,
           const Positions& pixels, Scratch& scratch, int threads,
           const std::optional<nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>&
               means,
           bool given) {
            const GilReleased unlocked;
            const Means known{means ? means->data() : nullptr, given};
            if (means && (means->shape(0) != static_cast<std::size_t>(out.geometry().batch) ||
                          means->shape(1) != static_cast<std::size_t>(out.channels()))) {
                refuse(
                    "means of ", means->shape(0), "x", means->shape(1), ", not ",
                    out.geometry().batch, "x", out.channels());
            }
            attend(
                attention, out, update, tiles, pixels, scratch, at_least_one(threads),
                means ? &known : nullptr);
        },
        "attention"_a, "out"_a, "update"_a, "tiles"_a, "pixels"_a, "scratch"_a, "threads"_a,
        nb::kw_only(), "means"_a = nb::none(), "given"_a = false);
}

void bind_ends(nb::module_& module) {
    module.def(
        "head",
        [](const HeadWeights& weights, const Images<const float>& images, Canvas& out,
           Scratch& scratch, int threads) {
            const auto from = view_images(images);
            const GilReleased unlocked;
            head(weights, from, out, scratch, at_least_one(threads));
        },
        "weights"_a, nb::arg("images").noconvert(), "out"_a, "scratch"_a, "threads"_a);
    module.def(
        "patch_embed",
        [](const PatchWeights& weights, const Canvas& source, Canvas& out, Scratch& scratch,
           int threads, float slope) {
            patch_embed(weights, source, out, slope, scratch, at_least_one(threads));
        },
        "weights"_a, "source"_a, "out"_a, "scratch"_a, "threads"_a, nb::kw_only(), "slope"_a = 1.0f,
        Unlocked());
    module.def(
        "shuffle_pixels",
        [](const Canvas& source, const Images<float>& out, int top, int left, int factor,
           int threads, const std::optional<Images<const float>>& images) {
            const auto to = view_images(out);
            const auto from = images ? view_images(*images) : ImageView<const float>{};
            const GilReleased unlocked;
            shuffle_pixels(
                source, images ? &from : nullptr, to, top, left, factor, at_least_one(threads));
        },
        "source"_a, nb::arg("out").noconvert(), "top"_a, "left"_a, "factor"_a, "threads"_a,
        nb::arg("images").noconvert() = nb::none());
    module.def(
        "upsample",
        [](const std::vector<const UpsamplingWeights*>& weights, const Canvas& source,
           const Images<float>& out, int top, int left, int threads) {
            const auto to = view_images(out);
            const GilReleased unlocked;
            upsample(weights, source, to, top, left, at_least_one(threads));
        },
        "weights"_a, "source"_a, nb::arg("out").noconvert(), "top"_a, "left"_a, "threads"_a);
}

}  // namespace

void bind_operations(nb::module_& module) {
    bind_queries(module);
    bind_selections(module);
    bind_convs(module);
    bind_attention(module);
    bind_ends(module);
}

}  // namespace adadsr

// Arrays cross as DLPack or by the buffer protocol; std::invalid_argument becomes ValueError.
NB_MODULE(_native, module) {
#ifdef NDEBUG
    // A daemon thread that holds an engine when the process ends is not the user's concern.
    nanobind::set_leak_warnings(false);
#endif
    module.doc() = "Convs of canvases at lists of tiles and pixels, for the native engine.";
    adadsr::bind_data(module);
    adadsr::bind_weights(module);
    adadsr::bind_operations(module);
    adadsr::bind_gradients(module);
}
