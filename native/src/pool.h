// The engine's threads. They are its own: a second OpenMP runtime beside torch's would have its threads spin against
// torch's, and linking to torch's would bind the extension to one build of torch.
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

    // Calls body(task, worker) for each task in 0 .. tasks - 1, on up to `threads` threads, of which the caller is one
    // and worker 0. Returns when all are done. Where another thread is using the pool the caller works alone: the
    // cores are busy already. `body` must not throw.
    template <class Body>
    void run(int tasks, int threads, const Body& body) {
        run_erased(tasks, threads, [](const void* data, int task, int worker) {
            (*static_cast<const Body*>(data))(task, worker);
        }, &body);
    }

private:
    using Call = void (*)(const void* data, int task, int worker);

    struct Work {
        Call call = nullptr;
        const void* data = nullptr;
        int tasks = 0, helpers = 0;
    };

    void run_erased(int tasks, int threads, Call call, const void* data);
    void start_helpers(int wanted);
    void help(int helper);
    void drain(const Work& work, int worker);

    std::mutex one_caller_;
    std::mutex mutex_;
    std::condition_variable begun_, finished_;
    std::vector<std::thread> threads_;
    Work work_;
    std::atomic<std::uint64_t> round_{0};
    std::atomic<int> next_task_{0}, still_helping_{0};
};

}  // namespace adadsr
