// The engine's threads. It has its own: a second OpenMP runtime in a process spins against the
// first one's threads, and linking to torch's would bind the extension to one build of torch.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace adadsr {

class Pool {
public:
    // The pool of this process.
    static Pool& instance();

    // Calls body(task, worker) for each task in 0 .. tasks - 1 and returns when all are done. Up to
    // `threads` threads work, numbered from 0, which is the caller. `body` must not throw, and must
    // not call the pool.
    //
    // Any number of threads may call at the same time. The pool has as many helpers as the largest
    // call asked for, and they are shared: a helper that finds no task left in one call joins the
    // call with the fewest helpers. Each caller works on its own tasks meanwhile, so no call waits
    // for another, and nobody is left on one thread while helpers are idle.
    template <class Body>
    void run(int tasks, int threads, const Body& body) {
        const auto call = [](const void* data, int task, int worker) {
            (*static_cast<const Body*>(data))(task, worker);
        };
        run_erased(tasks, threads, call, &body);
    }

private:
    // A call of `run`, on the stack of its caller.
    struct Work {
        void (*call)(const void* data, int task, int worker);
        const void* data;
        int tasks;
        int open;         // helpers that may still join
        int workers = 1;  // numbers given out
        std::atomic<int> next_task{0};
        std::atomic<int> helping{0};
    };

    void run_erased(int tasks, int threads, void (*call)(const void*, int, int), const void* data);
    void start_helpers(int wanted);
    void help();
    // The work that a helper should join, null for none. Under the lock.
    Work* neediest();
    static void drain(Work& work, int worker);

    std::mutex mutex_;  // of all below, and of `open` and `workers` of each work
    std::condition_variable begun_, finished_;
    std::vector<std::thread> threads_;
    std::vector<Work*> works_;             // of callers that have not finished their tasks
    std::atomic<std::uint64_t> round_{0};  // counts works; helpers also read it without the lock
};

}  // namespace adadsr
