// Which instruction sets were compiled, and which of them this machine has.
#include <string>
#include <vector>

#include "refuse.h"
#include "weights.h"

namespace adadsr {

extern const Kernels kernels_plain;
#ifdef ADADSR_X86
extern const Kernels kernels_avx512, kernels_avx2;
#endif
#ifdef ADADSR_NEON
extern const Kernels kernels_neon;
#endif

namespace {

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#ifdef ADADSR_X86
    const bool fma = __builtin_cpu_supports("fma");
    if (fma && __builtin_cpu_supports("avx512f")) found.push_back(&kernels_avx512);
    if (fma && __builtin_cpu_supports("avx2")) found.push_back(&kernels_avx2);
#endif
#ifdef ADADSR_NEON
    found.push_back(&kernels_neon);
#endif
    found.push_back(&kernels_plain);
    return found;
}

}  // namespace

std::vector<const char*> kernel_names() {
    std::vector<const char*> names;
    for (const Kernels* kernels : available()) names.push_back(kernels->name);
    return names;
}

const Kernels& kernels_named(const char* name) {
    std::string known;
    for (const Kernels* kernels : available()) {
        if (std::string(name) == kernels->name) return *kernels;
        known += (known.empty() ? "" : ", ") + std::string(kernels->name);
    }
    refuse("instruction set '", name, "' is not one of this machine's: ", known);
}

}  // namespace adadsr
