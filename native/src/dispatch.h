// The instruction sets of this machine.
#pragma once

#include <vector>

#include "kernels.h"

namespace adadsr {

// The kernels of an instruction set. Raises std::invalid_argument if this machine has none of that
// name.
const Kernels& kernels_named(const char* name);
// Names of the instruction sets of this machine, the fastest first, without one that rounds.
std::vector<const char*> kernel_names();
// The set that rounds factors to bfloat16; null if this machine has none.
const Kernels* bf16_kernels();

}  // namespace adadsr
