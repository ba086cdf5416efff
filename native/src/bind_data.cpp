// Python's canvases, depth maps, lists of positions and scratch memory.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "engine.h"
#include "refuse.h"

namespace adadsr {
namespace {

using namespace nb::literals;

// The images of a canvas without what surrounds them, (batch, height, width, channels).
template <class Value>
nb::object view_of(Canvas& canvas, Value* first, std::int64_t pitch) {
    const Geometry& g = canvas.geometry();
    const std::size_t shape[4] = {
        static_cast<std::size_t>(g.batch), static_cast<std::size_t>(g.height),
        static_cast<std::size_t>(g.width), static_cast<std::size_t>(canvas.channels())};
    const std::int64_t strides[4] = {g.plane * pitch, g.row * pitch, pitch, 1};
    // The array holds the memory, not the canvas: that is what `is_unshared` counts.
    nb::capsule owner(new std::shared_ptr<Buffer>(canvas.share()), [](void* memory) noexcept {
        delete static_cast<std::shared_ptr<Buffer>*>(memory);
    });
    return nb::cast(nb::ndarray<nb::numpy, Value, nb::ndim<4>>(first, 4, shape, owner, strides));
}

nb::object view(Canvas& canvas) {
    if (canvas.has_floats()) return view_of(canvas, canvas.pixel(0, 0, 0), canvas.pitch());
    return view_of(canvas, canvas.bf16(0, 0, 0), canvas.bf16_pitch());
}

Precision precision_of(const std::string& precision) {
    if (precision == "float32") return Precision::kFloat32;
    if (precision == "bfloat16") return Precision::kBfloat16;
    if (precision == "both") return Precision::kBoth;
    refuse("precision '", precision, "' is not float32, bfloat16 or both");
}

void copy_into(
    Canvas& canvas, const Images<const float>& images, int threads,
    const std::optional<Floats<1>>& scale) {
    const auto batch = static_cast<std::size_t>(canvas.geometry().batch);
    if (scale && scale->shape(0) != batch) {
        refuse(scale->shape(0), " scales for ", batch, " images; give one for each");
    }
    const float* scales = scale ? scale->data() : nullptr;
    const auto from = view_images(images);
    const GilReleased unlocked;
    copy_images(canvas, from, scales, at_least_one(threads));
}

void copy_depths(Depths& depths, const Floats<3>& map) {
    if (map.size() >= 1u << 31) {
        refuse("a depth map has to have fewer than 2^31 values");
    }
    const auto size = [&](int axis) { return static_cast<int>(map.shape(axis)); };
    const GilReleased unlocked;
    depths.copy_from(map.data(), size(0), size(1), size(2));
}

void bind_canvas(nb::module_& module) {
    nb::class_<Canvas>(module, "Canvas")
        .def(
            "__init__",
            [](Canvas* self, int batch, int height, int width, int channels,
               const std::string& precision) {
                new (self) Canvas(batch, height, width, channels, precision_of(precision));
            },
            "batch"_a, "height"_a, "width"_a, "channels"_a, "precision"_a = "float32")
        .def_prop_ro("tiles", &Canvas::tiles)
        .def_prop_ro("pixels", &Canvas::pixels)
        .def_prop_ro("bytes", &Canvas::bytes)
        .def_static(
            "bytes_of",
            [](int batch, int height, int width, int channels, const std::string& precision) {
                const Canvas::Plan plan(batch, height, width, channels, precision_of(precision));
                return plan.floats * sizeof(float);
            },
            "batch"_a, "height"_a, "width"_a, "channels"_a, "precision"_a = "float32")
        .def_prop_ro("is_unshared", &Canvas::is_unshared)
        .def(
            "copy_from", &copy_into, nb::arg("images").noconvert(), "threads"_a,
            nb::arg("scale").noconvert() = nb::none())
        .def(
            "round",
            [](Canvas& canvas, int threads) { round_images(canvas, at_least_one(threads)); },
            "threads"_a, Unlocked())
        .def("view", &view);
}

void bind_lists(nb::module_& module) {
    nb::class_<Depths>(module, "Depths")
        .def(nb::init<>())
        .def(
            "__init__",
            [](Depths* self, const Floats<3>& map) { copy_depths(*new (self) Depths, map); },
            nb::arg("map").noconvert())
        .def_static(
            "with_room",
            [](std::size_t count) {
                Depths depths;
                depths.values.reserve(count);
                return depths;
            },
            "count"_a)
        .def_prop_ro(
            "bytes", [](const Depths& depths) { return depths.values.capacity() * sizeof(float); })
        .def("copy_from", &copy_depths, nb::arg("map").noconvert());
    nb::class_<Positions>(module, "Positions")
        .def(nb::init<>())
        .def(
            "__init__",
            [](Positions* self, const Contiguous<std::int32_t, 1>& numbers) {
                new (self) Positions(Positions::listed(numbers.data(), numbers.size()));
            },
            nb::arg("numbers").noconvert())
        .def_static("all", &Positions::all, "count"_a)
        .def_static("with_room", &Positions::with_room, "count"_a)
        .def("span", &Positions::span, "first"_a, "last"_a)
        .def_prop_ro(
            "bytes",
            [](const Positions& positions) {
                return positions.numbers.capacity() * sizeof(std::int32_t);
            })
        .def("__len__", &Positions::size)
        .def("tolist", [](const Positions& positions) {
            return std::vector<std::int32_t>(positions.numbers.begin(), positions.numbers.end());
        });
}

}  // namespace

void bind_data(nb::module_& module) {
    bind_canvas(module);
    bind_lists(module);
    nb::class_<Scratch>(module, "Scratch")
        .def(
            "__init__",
            [](Scratch* self, std::size_t bytes) {
                new (self) Scratch;
                self->reserve((bytes + sizeof(float) - 1) / sizeof(float), 1);
            },
            "bytes"_a = 0)
        .def_prop_ro("bytes", &Scratch::bytes);
}

}  // namespace adadsr
