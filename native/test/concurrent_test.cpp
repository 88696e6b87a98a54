// Several threads use the core at once, as Node's workers do: they read plans, run them, take memory and give it back, while others change the pool and empty the
// cache. Each gets the bits that it gets alone; the thread sanitizer (`npm run test:sanitize -- thread`) says where two meet in the same memory.
#include <atomic>
#include <thread>

#include "../cpu/cache.h"
#include "../cpu/thread_pool.h"
#include "test.h"
#include "work.h"

using namespace vantage;
using namespace test;

namespace {

constexpr int kCallers = 4, kRounds = 3;

// Runs body(i) on kCallers threads at once.
template <class Body>
void together(const Body& body) {
  std::atomic<int> ready{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      ++ready;
      while (ready.load() < kCallers) std::this_thread::yield();
      body(i);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Runs `action` over and over, beside what is run in its lifetime.
class Beside {
 public:
  template <class Action>
  explicit Beside(Action action) : thread_([this, action] {
    for (int i = 0; !over_.load(); ++i) {
      action(i);
      std::this_thread::yield();
    }
  }) {}
  ~Beside() {
    over_.store(true);
    thread_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Each caller begins with another kernel: sometimes two are in the same one, mostly in different ones.
int all_kernels(const std::vector<NamedWork>& all, const std::vector<uint64_t>& expected) {
  std::atomic<int> wrong{0};
  together([&](int caller) {
    for (size_t i = 0; i < kRounds * all.size(); ++i) {
      const size_t at = (i + static_cast<size_t>(caller) * 5) % all.size();
      if (hash(run(all[at].work)) != expected[at]) ++wrong;
    }
  });
  return wrong.load();
}

std::vector<uint64_t> alone(const std::vector<NamedWork>& all) {
  cpu::set_threads(1);
  std::vector<uint64_t> bits;
  for (const NamedWork& one : all) bits.push_back(hash(run(one.work)));
  return bits;
}

}  // namespace

TEST(callers_of_the_pool) {
  const auto all = works();
  const auto expected = alone(all);
  cpu::set_threads(3);
  CHECK(all_kernels(all, expected) == 0);
}

TEST(a_pool_that_changes) {
  const auto all = works();
  const auto expected = alone(all);
  const Beside resizing([](int i) { cpu::set_threads(1 + i % 4); });
  const Beside emptying([](int i) {
    if (i % 16 == 0) cpu::trim();
    cpu::set_cache_size(cpu::cached_bytes() % 2 == 0 && i % 2 == 0 ? 1 << 16 : -1);
    cpu::set_isa(cpu::isa());
  });
  CHECK(all_kernels(all, expected) == 0);
}

// A task that throws ends its own job, and no other caller's.
TEST(tasks_that_throw) {
  cpu::set_threads(3);
  std::atomic<int> thrown{0}, done{0};
  together([&](int caller) {
    for (int i = 0; i < 200; ++i) {
      std::atomic<int> tasks{0};
      try {
        cpu::parallel_for(16, 1 << 20, [&](int64_t task) {
          ++tasks;
          if (caller == 0 && task == 5) fail("thrown by a task");
        });
        done += tasks == 16;
      } catch (const std::exception&) {
        ++thrown;
      }
    }
  });
  CHECK(thrown == 200);
  CHECK(done == 200 * (kCallers - 1));
}

// A block goes from the thread that took it to another, which gives it back.
TEST(blocks_that_change_hands) {
  constexpr size_t kBlocks = 64;
  std::atomic<char*> shelf[kBlocks] = {};
  std::atomic<int> wrong{0};
  constexpr auto size = [](size_t place) { return 100 + 700 * (place % 5); };
  together([&](int caller) {
    for (size_t i = 0; i < 4000; ++i) {
      const size_t place = (i * 7 + static_cast<size_t>(caller) * 13) % kBlocks;
      char* const mine = static_cast<char*>(cpu::allocate(size(place)));
      std::memset(mine, static_cast<int>(place), size(place));
      char* const other = shelf[place].exchange(mine);
      if (!other) continue;
      for (size_t k = 0; k < size(place); ++k) wrong += other[k] != static_cast<char>(place);
      cpu::release(other, size(place));
    }
  });
  for (size_t place = 0; place < kBlocks; ++place) cpu::release(shelf[place].load(), size(place));
  CHECK(wrong == 0);
}

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
