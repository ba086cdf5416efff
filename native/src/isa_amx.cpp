// AVX-512's kernels, and convs that multiply in AMX: with split weights, and in bfloat16. As in the
// other files, only what lies in the region below uses these instructions, and nothing there but
// the tables has external linkage.
#include <immintrin.h>

#include "kernels.h"

#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bf16,fma,amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bf16,fma,amx-tile,amx-bf16")
#endif

// clang-format off: the kernels are written in terms of the vector.
#include "simd_avx512.h"
// clang-format on
#include "bf16_gradient.h"
#include "split_upsample.h"

namespace adadsr {
namespace {

void conv_split_tiles(const ConvJob& job, int first, int count, float* scratch) {
    _tile_loadconfig(&kRegisterShape);
    conv_tiles_by<SplitProducts>(job, first, count, scratch);
    _tile_release();
}

void conv_split_chunks(const ConvJob& job, int first, int count, float* scratch) {
    _tile_loadconfig(&kRegisterShape);
    conv_chunks(job, first, count, scratch);
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

extern const Kernels kernels_avx512, kernels_amx, kernels_amx_bf16;

namespace {

constexpr Bf16Kernels kBf16Kernels = {
    round_bf16, pack_bf16, conv_tiles_bf16, load_gradients_bf16, multiply_gradients_bf16};

Kernels with_amx(Kernels kernels) {
    kernels.name = "amx";
    kernels.conv_split_tiles = conv_split_tiles;
    kernels.conv_split_chunks = conv_split_chunks;
    kernels.min_split_tiles = SplitProducts::min_tiles;
    kernels.upsample_split = upsample_split;
    return kernels;
}

Kernels with_bf16(Kernels kernels) {
    kernels.name = "amx-bf16";
    kernels.bf16 = &kBf16Kernels;
    return kernels;
}

}  // namespace

// kernels_avx512 is a constant, so ready before these.
const Kernels kernels_amx = with_amx(kernels_avx512);
const Kernels kernels_amx_bf16 = with_bf16(kernels_avx512);

}  // namespace adadsr
