// Four floats in NEON.
#pragma once

#include <arm_neon.h>

namespace adadsr {
namespace {

struct Vec {
    static constexpr int width = 4, max_rows = 12, min_rows = 6;
    float32x4_t lanes;

    static Vec load(const float* from) { return {vld1q_f32(from)}; }
    static Vec fill(float x) { return {vdupq_n_f32(x)}; }
    void store(float* to) const { vst1q_f32(to, lanes); }
};

inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.lanes, b.lanes)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.lanes, b.lanes)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.lanes, b.lanes)}; }
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.lanes, a.lanes, b.lanes)}; }
// NaN stays NaN, as in torch.
inline Vec positive(Vec a) { return {vmaxq_f32(vdupq_n_f32(0), a.lanes)}; }
// PReLU: x where it is above 0, otherwise slope * x. NaN stays NaN.
inline Vec leaky(Vec x, Vec slope) {
    const uint32x4_t below = vcltq_f32(x.lanes, vdupq_n_f32(0));
    return {vbslq_f32(below, vmulq_f32(x.lanes, slope.lanes), x.lanes)};
}
// x where `of` is above 0, otherwise 0.
inline Vec where_positive(Vec of, Vec x) {
    const uint32x4_t passed = vcgtq_f32(of.lanes, vdupq_n_f32(0));
    return {vreinterpretq_f32_u32(vandq_u32(passed, vreinterpretq_u32_f32(x.lanes)))};
}

}  // namespace
}  // namespace adadsr
