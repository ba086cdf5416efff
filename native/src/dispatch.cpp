// Which instruction sets were compiled, and which of them this machine has.
#include <string>
#include <vector>

#ifdef ADADSR_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "dispatch.h"
#include "refuse.h"

namespace adadsr {

extern const Kernels kernels_plain;
#ifdef ADADSR_X86
extern const Kernels kernels_avx512, kernels_avx2;
#endif
#ifdef ADADSR_AMX
extern const Kernels kernels_amx, kernels_amx_bf16;
#endif
#ifdef ADADSR_NEON
extern const Kernels kernels_neon;
#endif

namespace {

#ifdef ADADSR_AMX
// Whether this process may use AMX with bfloat16. Linux grants it on request only, since it adds
// 8 KiB to the state of each thread that uses it.
bool may_use_amx() {
    constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
    constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & bf16) || !(d & tile)) return false;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

#endif

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#ifdef ADADSR_X86
    const bool fma = __builtin_cpu_supports("fma");
    const bool avx512 = fma && __builtin_cpu_supports("avx512f");
#ifdef ADADSR_AMX
    static const bool amx = avx512 && __builtin_cpu_supports("avx512bf16") && may_use_amx();
    if (amx) found.insert(found.end(), {&kernels_amx, &kernels_amx_bf16});
#endif
    if (avx512) found.push_back(&kernels_avx512);
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
    for (const Kernels* kernels : available()) {
        if (!kernels->bf16) names.push_back(kernels->name);
    }
    return names;
}

const Kernels* bf16_kernels() {
    for (const Kernels* kernels : available()) {
        if (kernels->bf16) return kernels;
    }
    return nullptr;
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
