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

// Looks at a flag before a thread goes to sleep: 50 microseconds or more, the time between layers.
constexpr int kLooks = 2000;

void relax() {
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
        relax();
    }
    return false;
}

}  // namespace

Pool& Pool::instance() {
    // Never destroyed: its threads sleep until the process ends.
    static std::atomic<Pool*> current{nullptr};
#ifndef _WIN32
    // A forked child has none of the threads, and possibly a lock that one of them held: it gets a
    // pool of its own.
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

void Pool::run_erased(
    int tasks, int threads, void (*call)(const void*, int, int), const void* data) {
    Work work{call, data, tasks, std::min(threads, tasks) - 1};
    if (work.open < 1) return drain(work, 0);
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        start_helpers(work.open);
        works_.push_back(&work);
        ++round_;
    }
    begun_.notify_all();
    drain(work, 0);
    {
        // From here on nobody can join, so `helping` only falls.
        const std::lock_guard<std::mutex> lock(mutex_);
        works_.erase(std::find(works_.begin(), works_.end(), &work));
    }
    const auto done = [&work] { return work.helping == 0; };
    if (!look_for(done)) {
        std::unique_lock<std::mutex> lock(mutex_);
        finished_.wait(lock, done);
    }
}

void Pool::start_helpers(int wanted) {
    while (static_cast<int>(threads_.size()) < wanted) {
        try {
            threads_.emplace_back(&Pool::help, this);
        } catch (const std::system_error&) {
            return;  // the system gives no more threads; the existing ones do the work
        }
    }
}

void Pool::help() {
    std::uint64_t seen = 0;
    for (;;) {
        const auto begun = [this, &seen] { return round_ != seen; };
        look_for(begun);
        std::unique_lock<std::mutex> lock(mutex_);
        begun_.wait(lock, begun);
        seen = round_;
        while (Work* work = neediest()) {
            --work->open;
            ++work->helping;
            const int worker = work->workers++;
            lock.unlock();
            drain(*work, worker);
            // After this the caller may be gone, and its work with it.
            const bool last = --work->helping == 0;
            lock.lock();
            if (last) finished_.notify_all();
            seen = round_;
        }
    }
}

Pool::Work* Pool::neediest() {
    Work* found = nullptr;
    for (Work* work : works_) {
        if (work->open < 1 || work->next_task >= work->tasks) continue;
        if (!found || work->helping < found->helping) found = work;
    }
    return found;
}

void Pool::drain(Work& work, int worker) {
    for (int task = work.next_task++; task < work.tasks; task = work.next_task++) {
        work.call(work.data, task, worker);
    }
}

}  // namespace adadsr
