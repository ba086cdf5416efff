// Sizes of the processor's caches, from which the engine derives how much it computes together.
#pragma once

#include <cstddef>

namespace adadsr {

// Size in bytes of the data cache of a level, 1 to 3, that a core can use. Where the system does
// not say, as in some virtual machines: 32 KiB, 512 KiB and 8 MiB, which few processors fall below.
// Raises std::invalid_argument for another level.
std::size_t cache_bytes(int level);

}  // namespace adadsr
