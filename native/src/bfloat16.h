// Numbers of bfloat16: the upper half of a float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace adadsr {

// Rounds to the nearest, of two to the even one; NaN becomes 0x7fc0.
inline std::uint16_t nearest_bfloat16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const std::uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return static_cast<std::uint16_t>(std::isnan(x) ? 0x7fc0 : nearest);
}

inline float widened(std::uint16_t upper) {
    const std::uint32_t bits = static_cast<std::uint32_t>(upper) << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

}  // namespace adadsr
