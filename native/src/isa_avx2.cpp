#include "simd_avx2.h"

#include "direct.h"
#include "enlarge.h"
#include "strip.h"
#include "winograd.h"

namespace adadsr {

extern const Kernels kernels_avx2;
const Kernels kernels_avx2 = {"avx2", kPanel, Vec::few_rows, conv_tiles, conv_pixels, Vec::width, enlarge, strip};

}  // namespace adadsr
