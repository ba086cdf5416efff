// Eight floats in AVX2 with FMA.
#pragma once

#include <immintrin.h>

namespace adadsr {
namespace {

struct Vec {
    static constexpr int width = 8, max_rows = 6, min_rows = 6;
    __m256 lanes;

    static Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }
    static Vec fill(float x) { return {_mm256_set1_ps(x)}; }
    void store(float* to) const { _mm256_storeu_ps(to, lanes); }
};

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.lanes, b.lanes)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.lanes, b.lanes)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.lanes, b.lanes)}; }
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes)}; }
// NaN stays NaN, as in torch: the instruction then returns its second operand.
inline Vec positive(Vec a) { return {_mm256_max_ps(_mm256_setzero_ps(), a.lanes)}; }
// PReLU: x where it is above 0, otherwise slope * x. NaN stays NaN.
inline Vec leaky(Vec x, Vec slope) {
    // By the sign bit of x.
    return {_mm256_blendv_ps(x.lanes, (x * slope).lanes, x.lanes)};
}
// x where `of` is above 0, otherwise 0.
inline Vec where_positive(Vec of, Vec x) {
    return {_mm256_and_ps(_mm256_cmp_ps(of.lanes, _mm256_setzero_ps(), _CMP_GT_OQ), x.lanes)};
}

}  // namespace
}  // namespace adadsr
