// The kernels in AVX2. The module is built for the platform's baseline; only what lies in the
// region below uses AVX2, and nothing there but the table has external linkage.
#include <immintrin.h>

#include "kernels.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

// clang-format off: the kernels are written in terms of the vector.
#include "simd_avx2.h"
// clang-format on
#include "direct.h"
#include "gradient.h"
#include "row_conv.h"
#include "upsample.h"
#include "winograd.h"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace adadsr {

extern const Kernels kernels_avx2;
const Kernels kernels_avx2 = {"avx2",
                              Vec::width,
                              kPanel,
                              Vec::min_rows,
                              conv_tiles,
                              conv_pixels,
                              upsample,
                              row_conv,
                              {transform_taps, transform_back, load_gradients, multiply_gradients}};

}  // namespace adadsr
