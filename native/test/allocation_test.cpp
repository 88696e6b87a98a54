// Every allocation fails in its turn: the operation says so, loses nothing, and gives the same bits when it is asked again.
#include <functional>
#include <string>
#include <thread>

#include "../cpu/thread_pool.h"
#include "inject/inject.h"
#include "test.h"
#include "work.h"

using namespace vantage;
using namespace test;

namespace {

// Holds no memory of its own, as blocks are counted.
struct Outcome {
  uint64_t bits = 0;  // a hash
  char error[256] = "";
  bool failed() const { return error[0] != '\0'; }
};

// As by a process that has just begun: a new thread, whose working memory is empty, new threads of the pool, and an empty cache.
Outcome attempt(const Work& work, int64_t nth, bool onwards, int64_t* made) {
  Outcome outcome;
  cpu::set_threads(3);
  std::thread([&] {
    inject::arm(nth, onwards);
    try {
      outcome.bits = hash(run(work));
    } catch (const std::exception& error) {
      std::snprintf(outcome.error, sizeof outcome.error, "%s", error.what());
    }
    *made = inject::disarm();
  }).join();
  cpu::set_threads(1);
  cpu::trim();
  return outcome;
}

void check(const char* name, const Work& work) {
  int64_t made = 0;
  const Outcome expected = attempt(work, INT64_MAX, false, &made);
  CHECK_THAT(!expected.failed(), "%s: %s", name, expected.error);
  const int64_t live = inject::live();
  int failures = 0;
  for (const bool onwards : {false, true}) {
    for (int64_t nth = 1;; ++nth) {
      const Outcome failed = attempt(work, nth, onwards, &made);
      const bool said = std::strstr(failed.error, "bad_alloc") || std::strstr(failed.error, "out of memory");
      CHECK_THAT(!failed.failed() || said, "%s, allocation %lld: expected an error that says that memory is missing, got \"%s\"", name,
                 static_cast<long long>(nth), failed.error);
      failures += failed.failed();
      if (!failed.failed()) CHECK_THAT(failed.bits == expected.bits, "%s, allocation %lld failed: other bits", name, static_cast<long long>(nth));
      CHECK_THAT(inject::live() == live, "%s, allocation %lld failed: %lld blocks are lost", name, static_cast<long long>(nth),
                 static_cast<long long>(inject::live() - live));
      if (made < nth) break;
      const Outcome again = attempt(work, INT64_MAX, false, &made);
      CHECK_THAT(again.bits == expected.bits, "%s, after allocation %lld failed: other bits", name, static_cast<long long>(nth));
    }
  }
  CHECK_THAT(failures > 4, "%s: expected allocations that fail, got %d", name, failures);
}

void check_group(const char* group) {
  for (const NamedWork& one : works()) {
    if (std::strcmp(one.group, group) == 0) check(one.name, one.work);
  }
}

}  // namespace

TEST(programs) { check_group("programs"); }
TEST(products) { check_group("products"); }
TEST(logits) { check_group("logits"); }
TEST(sequences) { check_group("sequences"); }
TEST(indices) { check_group("indices"); }
TEST(random_numbers) { check_group("random_numbers"); }

// A block that cannot be remembered goes back to the system.
TEST(the_cache) {
  const int64_t live = inject::live();
  for (int64_t nth = 1; nth <= 4; ++nth) {
    void* const memory = cpu::allocate(100'000);
    CHECK(memory != nullptr);
    inject::arm(nth, false);
    cpu::release(memory, 100'000);
    inject::disarm();
    cpu::trim();
    CHECK_THAT(inject::live() == live, "allocation %lld failed: %lld blocks are lost", static_cast<long long>(nth), static_cast<long long>(inject::live() - live));
  }
  CHECK(cpu::allocate(SIZE_MAX) == nullptr);
  CHECK(cpu::allocate(size_t{1} << 55) == nullptr);
}

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
