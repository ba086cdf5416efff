#include "cpu_cache.h"
#include "refuse.h"

#include <array>
#include <fstream>
#include <string>

#ifdef __APPLE__
#include <sys/sysctl.h>
#elif defined(__unix__)
#include <unistd.h>
#endif

namespace adadsr {
namespace {

constexpr std::size_t kFallback[] = {32u << 10, 512u << 10, 8u << 20};

// All of these return 0 where the system does not say.
#ifdef __APPLE__
std::size_t reported_bytes(int level) {
    static constexpr const char* names[] = {"hw.l1dcachesize", "hw.l2cachesize", "hw.l3cachesize"};
    std::int64_t bytes = 0;
    std::size_t length = sizeof bytes;
    const bool known = sysctlbyname(names[level - 1], &bytes, &length, nullptr, 0) == 0;
    return known && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}
#else
std::size_t sysconf_bytes(int level) {
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static constexpr int names[] = {
        _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    const long bytes = sysconf(names[level - 1]);
    return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
#else
    return (void)level, 0;
#endif
}

// Linux lists the caches of a core as index0, index1, ..., with sizes such as "2048K".
std::size_t sysfs_bytes(int level) {
    for (int index = 0;; ++index) {
        const std::string folder =
            "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
        int found = 0;
        std::string type;
        std::size_t kibibytes = 0;
        if (!(std::ifstream(folder + "level") >> found)) return 0;
        std::ifstream(folder + "type") >> type;
        std::ifstream(folder + "size") >> kibibytes;
        if (found == level && type != "Instruction") return kibibytes << 10;
    }
}

std::size_t reported_bytes(int level) {
    const std::size_t bytes = sysconf_bytes(level);
    return bytes ? bytes : sysfs_bytes(level);
}
#endif

}  // namespace

std::size_t cache_bytes(int level) {
    if (level < 1 || level > 3) {
        refuse("a cache has level 1, 2 or 3, not ", level);
    }
    static const std::array<std::size_t, 3> sizes = [] {
        std::array<std::size_t, 3> found{};
        for (int i = 0; i < 3; ++i) {
            found[i] = reported_bytes(i + 1);
            if (!found[i]) found[i] = kFallback[i];
        }
        return found;
    }();
    return sizes[level - 1];
}

}  // namespace adadsr
