// What the files of the Python module share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <chrono>
#include <thread>

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

// Releases the interpreter's lock until the end of its scope. Before Python 3.14 the interpreter
// ends threads that ask for the lock while it shuts down, by pthread_exit. To unwind the operation
// then would abort the process, so the thread sleeps until the process ends.
class GilReleased {
public:
    GilReleased() noexcept : state_(PyEval_SaveThread()) {}
    ~GilReleased() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    GilReleased(const GilReleased&) = delete;
    GilReleased& operator=(const GilReleased&) = delete;

private:
    PyThreadState* state_;
};

using Unlocked = nb::call_guard<GilReleased>;

inline int at_least_one(int threads) { return std::max(1, threads); }

void bind_data(nb::module_& module);
void bind_weights(nb::module_& module);
void bind_operations(nb::module_& module);
void bind_gradients(nb::module_& module);

}  // namespace adadsr
