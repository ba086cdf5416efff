// Memory for features and weights, and the number of allocations.
#pragma once

#include <algorithm>
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

// Asks for large pages, of which a processor keeps the addresses of more memory at hand, and whose
// first writes are page faults 512 times less often. A hint: refusal does not matter.
inline void ask_for_large_pages(void* first, std::size_t bytes) {
#ifdef __linux__
    constexpr std::uintptr_t page = 4096;
    const auto start = (reinterpret_cast<std::uintptr_t>(first) + page - 1) / page * page;
    madvise(reinterpret_cast<void*>(start), bytes - page, MADV_HUGEPAGE);
#else
    static_cast<void>(first);
    static_cast<void>(bytes);
#endif
}

constexpr std::size_t kLargePage = 1 << 21;

// Memory that starts at a cache line, zeroed unless it is a copy.
class Buffer {
public:
    Buffer() = default;

    explicit Buffer(std::size_t floats) : size_(floats) {
        // Pages of calloc are zero already and take no memory before they are written.
        raw_.reset(std::calloc(floats * sizeof(float) + kLine, 1), std::free);
        if (!raw_) throw std::bad_alloc();
        ++allocations();
        start_ = at_line(raw_.get());
        if (bytes() >= kOwnPages) ask_for_large_pages(start_, bytes());
    }

    // A copy that shares large pages with other copies made by this thread. To read a network's
    // weights from there is faster, since each of them is too small for pages of its own. A large
    // buffer is not copied.
    Buffer in_shared_pages() && {
        if (bytes() >= kOwnPages || !size_) return std::move(*this);
        struct Block {
            Buffer memory{kBlockFloats};
            std::size_t used = 0;
        };
        // Not owned here: a block goes with the last of its buffers.
        thread_local std::weak_ptr<Block> latest;
        std::shared_ptr<Block> block = latest.lock();
        const std::size_t line = kLine / sizeof(float), room = (size_ + line - 1) / line * line;
        if (!block || block->used + room > kBlockFloats) {
            latest = block = std::make_shared<Block>();
        }
        Buffer copy;
        copy.size_ = size_;
        copy.start_ = block->memory.data() + block->used;
        copy.raw_ = std::shared_ptr<void>(block, copy.start_);
        block->used += room;
        std::copy_n(start_, size_, copy.start_);
        return copy;
    }

    float* data() { return start_; }
    const float* data() const { return start_; }
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kLine = 64, kOwnPages = 2 * kLargePage;
    static constexpr std::size_t kBlockFloats = 8 * kLargePage / sizeof(float);

    std::size_t bytes() const { return size_ * sizeof(float); }
    static float* at_line(void* memory) {
        const auto address = reinterpret_cast<std::uintptr_t>(memory);
        return reinterpret_cast<float*>((address + kLine - 1) / kLine * kLine);
    }

    std::shared_ptr<void> raw_;
    float* start_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace adadsr
