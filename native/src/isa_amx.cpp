// AVX-512 with AMX, which multiplies matrices of bfloat16: the kernels of AVX-512, but for the
// convs of tiles whose weights are in parts. As in the other files, only what lies in the region
// below uses these instructions, and nothing there but the table has external linkage.
#include <immintrin.h>

#include "kernels.h"

#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx512f,fma,amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,amx-tile,amx-bf16")
#endif

// clang-format off: the kernels are written in terms of the vector.
#include "simd_avx512.h"
// clang-format on
#include "split_products.h"

namespace adadsr {
namespace {

void conv_split_tiles(const ConvJob& job, int first, int count, float* scratch) {
    if (!job.is_split) return conv_tiles(job, first, count, scratch);
    _tile_loadconfig(&kRegisterShape);
    conv_tiles_by<SplitProducts>(job, first, count, scratch);
    _tile_release();
}

}  // namespace
}  // namespace adadsr

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace adadsr {

extern const Kernels kernels_avx512;

// Not a constant: the table that it starts from lies in another file.
Kernels kernels_amx() {
    Kernels kernels = kernels_avx512;
    kernels.name = "amx";
    kernels.min_split_tiles = SplitProducts::min_tiles;
    kernels.conv_tiles = conv_split_tiles;
    return kernels;
}

}  // namespace adadsr
