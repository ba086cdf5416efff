// The kernels in plain C++.
#include "kernels.h"

// clang-format off: the kernels are written in terms of the vector.
#include "simd_plain.h"
// clang-format on
#include "direct.h"
#include "gradient.h"
#include "row_conv.h"
#include "upsample.h"
#include "winograd.h"

namespace adadsr {

extern const Kernels kernels_plain;
const Kernels kernels_plain = {
    "plain",
    Vec::width,
    kPanel,
    Vec::min_rows,
    conv_tiles,
    conv_pixels,
    upsample,
    row_conv,
    {transform_taps, transform_back, load_gradients, multiply_gradients}};

}  // namespace adadsr
