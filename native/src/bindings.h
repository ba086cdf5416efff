// What the files of the Python module share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>

#include "canvas.h"

namespace adadsr {

namespace nb = nanobind;

// Arrays that are only read may be read-only. None is converted: a copy in disguise would be slow,
// and one that is written would be lost.
template <class Value, int Dimensions>
using Contiguous = nb::ndarray<const Value, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
template <int Dimensions>
using Floats = Contiguous<float, Dimensions>;
template <class Value>
using Images = nb::ndarray<Value, nb::ndim<4>, nb::device::cpu>;

// Images (batch, height, width, channels) with any strides.
template <class Value>
ImageView<Value> view_images(const Images<Value>& images) {
    ImageView<Value> view{images.data(), {}, {}};
    for (int axis = 0; axis < 4; ++axis) {
        view.size[axis] = static_cast<std::ptrdiff_t>(images.shape(axis));
        view.stride[axis] = images.stride(axis);
    }
    return view;
}

inline int at_least_one(int threads) { return std::max(1, threads); }

void bind_data(nb::module_& module);
void bind_weights(nb::module_& module);
void bind_operations(nb::module_& module);
void bind_gradients(nb::module_& module);

}  // namespace adadsr
