#include "simd_neon.h"

#include "direct.h"
#include "enlarge.h"
#include "strip.h"
#include "winograd.h"

namespace adadsr {

extern const Kernels kernels_neon;
const Kernels kernels_neon = {"neon", kPanel, Vec::few_rows, conv_tiles, conv_pixels, Vec::width, enlarge, strip};

}  // namespace adadsr
