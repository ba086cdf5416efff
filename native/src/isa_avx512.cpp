#include "simd_avx512.h"

#include "direct.h"
#include "enlarge.h"
#include "strip.h"
#include "winograd.h"

namespace adadsr {

extern const Kernels kernels_avx512;
const Kernels kernels_avx512 = {"avx512", kPanel, Vec::few_rows, conv_tiles, conv_pixels, Vec::width, enlarge, strip};

}  // namespace adadsr
