// Sixteen floats in AVX-512.
#pragma once

#include <immintrin.h>

namespace adadsr {
namespace {

struct Vec {
    static constexpr int width = 16, max_rows = 12, min_rows = 6;
    __m512 lanes;

    static Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }
    static Vec fill(float x) { return {_mm512_set1_ps(x)}; }
    void store(float* to) const { _mm512_storeu_ps(to, lanes); }
};

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.lanes, b.lanes)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)}; }
// NaN stays NaN, as in torch: the instruction then returns its second operand.
inline Vec positive(Vec a) { return {_mm512_max_ps(_mm512_setzero_ps(), a.lanes)}; }
// PReLU: x where it is above 0, otherwise slope * x. NaN stays NaN.
inline Vec leaky(Vec x, Vec slope) {
    const __mmask16 below = _mm512_cmp_ps_mask(x.lanes, _mm512_setzero_ps(), _CMP_LT_OQ);
    return {_mm512_mask_mul_ps(x.lanes, below, x.lanes, slope.lanes)};
}
// x where `of` is above 0, otherwise 0.
inline Vec where_positive(Vec of, Vec x) {
    return {_mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask(of.lanes, _mm512_setzero_ps(), _CMP_GT_OQ), x.lanes)};
}

}  // namespace
}  // namespace adadsr
