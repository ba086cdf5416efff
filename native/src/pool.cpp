#include "pool.h"

#include <algorithm>
#include <system_error>

#ifndef _WIN32
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace adadsr {
namespace {

// Looks at a flag before a thread goes to sleep: about 50 microseconds, the time between two layers.
constexpr int kLooks = 2000;

void rest() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

template <class Condition>
bool look_for(const Condition& condition) {
    for (int i = 0; i < kLooks; ++i) {
        if (condition()) return true;
        rest();
    }
    return false;
}

}  // namespace

Pool& Pool::instance() {
    // Never destroyed: its threads sleep until the process ends.
    static std::atomic<Pool*> current{nullptr};
#ifndef _WIN32
    // A forked child has none of the threads and, maybe, a lock that one of them held: it starts anew.
    static const int registered = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
    (void)registered;
#endif
    Pool* pool = current;
    if (!pool) {
        Pool* created = new Pool;
        if (current.compare_exchange_strong(pool, created)) return *created;
        delete created;
    }
    return *pool;
}

void Pool::run_erased(int tasks, int threads, Call call, const void* data) {
    const int helpers = std::min(threads, tasks) - 1;
    std::unique_lock<std::mutex> only(one_caller_, std::defer_lock);
    if (helpers < 1 || !only.try_lock()) {
        for (int task = 0; task < tasks; ++task) call(data, task, 0);
        return;
    }
    start_helpers(helpers);
    const Work work{call, data, tasks, std::min<int>(helpers, static_cast<int>(threads_.size()))};
    next_task_ = 0;
    still_helping_ = work.helpers;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        work_ = work;
        ++round_;
    }
    begun_.notify_all();
    drain(work, 0);
    const auto done = [this] { return still_helping_ == 0; };
    if (!look_for(done)) {
        std::unique_lock<std::mutex> lock(mutex_);
        finished_.wait(lock, done);
    }
}

void Pool::start_helpers(int wanted) {
    while (static_cast<int>(threads_.size()) < wanted) {
        try {
            threads_.emplace_back(&Pool::help, this, static_cast<int>(threads_.size()) + 1);
        } catch (const std::system_error&) {
            return;  // no more threads to be had; those that there are do the work
        }
    }
}

void Pool::help(int helper) {
    std::uint64_t seen = 0;
    for (;;) {
        const auto begun = [this, &seen] { return round_ != seen; };
        look_for(begun);
        Work work;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            begun_.wait(lock, begun);
            seen = round_;
            work = work_;
        }
        if (helper > work.helpers) continue;
        drain(work, helper);
        if (--still_helping_ == 0) {
            const std::lock_guard<std::mutex> lock(mutex_);
            finished_.notify_one();
        }
    }
}

void Pool::drain(const Work& work, int worker) {
    for (int task = next_task_++; task < work.tasks; task = next_task_++) work.call(work.data, task, worker);
}

}  // namespace adadsr
