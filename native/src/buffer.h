// Zeroed memory that starts at a cache line, and the number of allocations.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace adadsr {

// How often this process has allocated memory for features, weights, positions or depths.
inline std::atomic<std::int64_t>& allocations() {
    static std::atomic<std::int64_t> count{0};
    return count;
}

// Allocator of a vector whose allocations count.
template <class Value>
struct Counted : std::allocator<Value> {
    template <class Other>
    struct rebind {
        using other = Counted<Other>;
    };
    Value* allocate(std::size_t count) {
        ++allocations();
        return std::allocator<Value>::allocate(count);
    }
};

class Buffer {
public:
    Buffer() = default;

    explicit Buffer(std::size_t floats) : size_(floats) {
        // Pages of calloc are zero already and take no memory before they are written.
        raw_.reset(std::calloc(floats * sizeof(float) + kLine, 1));
        if (!raw_) throw std::bad_alloc();
        ++allocations();
        const auto address = reinterpret_cast<std::uintptr_t>(raw_.get());
        start_ = reinterpret_cast<float*>((address + kLine - 1) / kLine * kLine);
        ask_for_large_pages();
    }

    float* data() { return start_; }
    const float* data() const { return start_; }
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kLine = 64, kPage = 4096, kLargePage = 1 << 21;

    // The first write to a page is a page fault; large pages have 512 times fewer.
    void ask_for_large_pages() const {
#ifdef __linux__
        const std::size_t bytes = size_ * sizeof(float);
        if (bytes < 2 * kLargePage) return;
        const auto first = (reinterpret_cast<std::uintptr_t>(start_) + kPage - 1) / kPage * kPage;
        madvise(
            reinterpret_cast<void*>(first), bytes - kPage,
            MADV_HUGEPAGE);  // a hint: refusal does not matter
#endif
    }

    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<void, Free> raw_;
    float* start_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace adadsr
