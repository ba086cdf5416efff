// Four floats in plain C++, which runs everywhere.
#pragma once

namespace adadsr {
namespace {

struct Vec {
    static constexpr int width = 4, max_rows = 4, min_rows = 4;
    float lane[width];

    static Vec load(const float* from) { return {from[0], from[1], from[2], from[3]}; }
    static Vec fill(float x) { return {x, x, x, x}; }
    void store(float* to) const {
        for (int i = 0; i < width; ++i) to[i] = lane[i];
    }
};

inline Vec operator+(Vec a, Vec b) {
    for (int i = 0; i < Vec::width; ++i) a.lane[i] += b.lane[i];
    return a;
}
inline Vec operator-(Vec a, Vec b) {
    for (int i = 0; i < Vec::width; ++i) a.lane[i] -= b.lane[i];
    return a;
}
inline Vec operator*(Vec a, Vec b) {
    for (int i = 0; i < Vec::width; ++i) a.lane[i] *= b.lane[i];
    return a;
}
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec positive(Vec a) {
    for (int i = 0; i < Vec::width; ++i) a.lane[i] = a.lane[i] < 0 ? 0 : a.lane[i];
    return a;
}
// PReLU: x where it is above 0, otherwise slope * x. NaN stays NaN.
inline Vec leaky(Vec x, Vec slope) {
    for (int i = 0; i < Vec::width; ++i) x.lane[i] *= x.lane[i] < 0 ? slope.lane[i] : 1;
    return x;
}
// x where `of` is above 0, otherwise 0.
inline Vec where_positive(Vec of, Vec x) {
    for (int i = 0; i < Vec::width; ++i) x.lane[i] = of.lane[i] > 0 ? x.lane[i] : 0;
    return x;
}

}  // namespace
}  // namespace adadsr
