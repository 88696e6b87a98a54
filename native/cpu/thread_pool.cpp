#include "thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "../core/error.h"

namespace vantage::cpu {
namespace {

// Below this much work a hand-over costs more than it saves.
constexpr int64_t kSerialCost = 20'000;
constexpr int64_t kMaxTasks = int64_t{1} << 30;
constexpr uint64_t kNoTask = 0xFFFFFFFF;
// A training step issues hundreds of short kernels: a worker stays awake for a moment after each.
constexpr auto kSpin = std::chrono::microseconds(40);

thread_local bool inside_task = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// The quota of a container counts, not only the cores that it sees.
int usable_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long quota = 0, period = 0;
    if (std::fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
      const int allowed = static_cast<int>((quota + period - 1) / period);
      if (allowed < cores) cores = allowed;
    }
    std::fclose(file);
  }
#endif
  return cores < 1 ? 1 : cores;
}

constexpr int kMaxThreads = 256;

int clamp_threads(int count) { return std::clamp(count, 1, kMaxThreads); }

int default_threads() {
  const char* text = std::getenv("VANTAGE_NUM_THREADS");
  if (!text || !*text) return clamp_threads(usable_cores());
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  if (*end || count < 1 || count > kMaxThreads) fail("VANTAGE_NUM_THREADS: expected a whole number from 1 to %d, got \"%.40s\"", kMaxThreads, text);
  return static_cast<int>(count);
}

class Pool {
 public:
  // Never destroyed: its threads may outlive static destructors.
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  // Whether a task of the present job threw.
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void set_threads(int count) {
    const std::lock_guard lock(owner_);
    stop();
    threads_.store(clamp_threads(count), std::memory_order_relaxed);
  }

  // False where another caller has the workers.
  bool try_run(int64_t tasks, const std::function<void(int64_t)>& body) {
    const std::unique_lock lock(owner_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    start();
    const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
    // First no task can be claimed any more: a worker that comes late from the job before would otherwise see this job's count behind
    // the old claim, and take a task that is not there yet.
    claim_.store(static_cast<uint64_t>(epoch) << 32 | kNoTask);
    body_.store(&body, std::memory_order_release);
    tasks_.store(tasks, std::memory_order_release);
    done_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    failed_.store(false, std::memory_order_relaxed);
    claim_.store(static_cast<uint64_t>(epoch) << 32);
    epoch_.store(epoch);
    if (sleepers_.load() > 0) epoch_.notify_all();
    work(epoch);
    for (int spins = 0; done_.load(std::memory_order_acquire) < tasks; ++spins) {
      if (spins < 2000) pause();
      else std::this_thread::yield();
    }
    // The pool keeps no exception: it would hold what the caller may have no memory for.
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return true;
  }

 private:
  Pool() : threads_(default_threads()) {}

  void start() {
    const int wanted = threads() - 1;
    if (static_cast<int>(workers_.size()) == wanted) return;
    stopping_.store(false);
    const uint32_t epoch = epoch_.load();
    try {
      while (static_cast<int>(workers_.size()) < wanted) workers_.emplace_back([this, epoch] { live(epoch); });
    } catch (const std::system_error&) {
      // No more threads to be had: the work is done by those there are.
      threads_.store(static_cast<int>(workers_.size()) + 1, std::memory_order_relaxed);
    }
  }

  void stop() {
    if (workers_.empty()) return;
    stopping_.store(true);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void live(uint32_t seen) {
    inside_task = true;
    for (;;) {
      const auto limit = std::chrono::steady_clock::now() + kSpin;
      while (epoch_.load(std::memory_order_acquire) == seen) {
        for (int i = 0; i < 32 && epoch_.load(std::memory_order_relaxed) == seen; ++i) pause();
        if (std::chrono::steady_clock::now() < limit) continue;
        sleepers_.fetch_add(1);
        epoch_.wait(seen);
        sleepers_.fetch_sub(1);
      }
      if (stopping_.load()) return;
      seen = epoch_.load(std::memory_order_acquire);
      work(seen);
    }
  }

  // Claims tasks of the job `epoch` until none is left. The epoch is part of the claimed word, so that a worker that comes late
  // takes nothing from the next job, and `body` is only used while its caller waits for the claimed task.
  void work(uint32_t epoch) {
    uint64_t claim = claim_.load(std::memory_order_acquire);
    for (;;) {
      const auto* body = body_.load(std::memory_order_acquire);
      const int64_t tasks = tasks_.load(std::memory_order_acquire);
      const int64_t task = static_cast<int64_t>(claim & 0xFFFFFFFFu);
      if (static_cast<uint32_t>(claim >> 32) != epoch || task >= tasks) return;
      if (!claim_.compare_exchange_weak(claim, claim + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      run(*body, task);
      done_.fetch_add(1, std::memory_order_release);
      claim = claim_.load(std::memory_order_acquire);
    }
  }

  void run(const std::function<void(int64_t)>& body, int64_t task) {
    if (failed_.load(std::memory_order_relaxed)) return;
    const bool outer = inside_task;
    inside_task = true;
    try {
      body(task);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    inside_task = outer;
  }

  std::mutex owner_;
  std::vector<std::thread> workers_;
  std::atomic<int> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint64_t> claim_{0};
  std::atomic<const std::function<void(int64_t)>*> body_{nullptr};
  std::atomic<int64_t> tasks_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace

void parallel_for(int64_t tasks, int64_t cost, const std::function<void(int64_t)>& body) {
  if (tasks > 1 && tasks <= kMaxTasks && cost >= kSerialCost && !inside_task) {
    Pool& pool = Pool::instance();
    if (pool.threads() > 1 && pool.try_run(tasks, body)) return;
  }
  for (int64_t task = 0; task < tasks; ++task) body(task);
}

void wait_for(const uint32_t& flag) {
  for (int spins = 0; __atomic_load_n(&flag, __ATOMIC_ACQUIRE) == 0; ++spins) {
    if (spins < 1000) {
      pause();
      continue;
    }
    // The task that would set it may be the one that failed.
    if (Pool::instance().failed()) fail("a task that this one waits for failed");
    std::this_thread::yield();
  }
}

int threads() { return Pool::instance().threads(); }
void set_threads(int count) { Pool::instance().set_threads(count); }

}  // namespace vantage::cpu
