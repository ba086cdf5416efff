// Zeroed memory that starts at a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace adadsr {

class Buffer {
public:
    Buffer() = default;

    explicit Buffer(std::size_t floats) : size_(floats) {
        // calloc gets pages that are zero already, and that take no memory before they are written.
        raw_.reset(std::calloc(floats * sizeof(float) + kLine, 1));
        if (!raw_) throw std::bad_alloc();
        const auto address = reinterpret_cast<std::uintptr_t>(raw_.get());
        start_ = reinterpret_cast<float*>((address + kLine - 1) / kLine * kLine);
    }

    float* data() const { return start_; }
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kLine = 64;

    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<void, Free> raw_;
    float* start_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace adadsr
