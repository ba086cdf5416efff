#include "simd_plain.h"

#include "direct.h"
#include "enlarge.h"
#include "strip.h"
#include "winograd.h"

namespace adadsr {

extern const Kernels kernels_plain;
const Kernels kernels_plain = {"plain", kPanel, Vec::few_rows, conv_tiles, conv_pixels, Vec::width, enlarge, strip};

}  // namespace adadsr
