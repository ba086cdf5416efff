// The registers of AMX, which hold matrices: how a thread uses them until `_tile_release`.
#pragma once

#include <cstdint>

namespace adadsr {
namespace {

constexpr int kRegisterRows = 16;         // of a register
constexpr int kRegisterFloats = 16 * 16;  // of a whole register
constexpr int kRowBytes = 64;             // of a row of a register

// 0 .. 3 are sums, 4 .. 7 hold factors. Layout of AMX's configuration.
struct RegisterShape {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(RegisterShape) == 64, "the form of AMX's configuration");
// Not on a stack: GCC tells its optimizer that the instruction reads only the first eight bytes.
const RegisterShape kRegisterShape;

}  // namespace
}  // namespace adadsr
