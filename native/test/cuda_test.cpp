// CUDA's backend: memory, transfers, plans, threads. Programs have tests of their own.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "../addon/cuda_library.h"
#include "../core/error.h"
#include "../core/plan.h"
#include "devices.h"
#include "test.h"

using namespace vantage;

namespace {

Backend& gpu() { return *test::cuda_backend(); }

// y = 3·x + 1 over `size` floats.
Plan scale(int64_t size) {
  const double bytes = static_cast<double>(4 * size), n = static_cast<double>(size);
  const double mul = static_cast<int>(Op::mul), add = static_cast<int>(Op::add);
  const std::vector<double> body = {1, n, 1, 0, 0, 0, 5, 2, 0, 0, 0, 1, 1, 0, 0, 1, 5,   0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0,
                                    0, 1, 0, 2, 1, 0, 0, mul, 0, 3, 0, 1, 0, add, 0, 4, 3, 2, 0, 1, 0, 0, 4, 1};
  std::vector<double> words = {1, 2, 2, 0, 1, bytes, -1, bytes, -1, 0, static_cast<double>(body.size())};
  words.insert(words.end(), body.begin(), body.end());
  return read_plan(words.data(), words.size());
}

// Runs it, and returns how many elements are wrong.
int run_scale(const Plan& plan, int64_t size, float first) {
  const size_t bytes = static_cast<size_t>(size) * sizeof(float);
  std::vector<float> x(static_cast<size_t>(size)), y(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) x[i] = first + static_cast<float>(i % 100);
  const std::vector<float> expected = x;
  void *in = gpu().allocate(bytes), *out = gpu().allocate(bytes);
  gpu().upload(in, x.data(), bytes);
  x.assign(x.size(), -1);  // what was uploaded has been read
  const ExternalBuffer buffers[] = {{in, static_cast<int64_t>(bytes)}, {out, static_cast<int64_t>(bytes)}};
  const double scalars[] = {3, 1};
  execute(plan, gpu(), buffers, 2, scalars, 2);
  gpu().release(in, bytes);  // the work that reads it may still be queued
  gpu().download(y.data(), out, bytes);
  gpu().release(out, bytes);
  int wrong = 0;
  for (int64_t i = 0; i < size; ++i) wrong += y[i] != 3 * expected[i] + 1;
  return wrong;
}

}  // namespace

TEST(memory_is_used_again) {
  gpu().trim();
  CHECK(gpu().cached_bytes() == 0);
  void* first = gpu().allocate(10'000);
  CHECK(reinterpret_cast<uintptr_t>(first) % 256 == 0);
  gpu().release(first, 10'000);
  CHECK(gpu().cached_bytes() >= 10'000);
  CHECK(gpu().cached_bytes() <= 11'500);
  void* second = gpu().allocate(10'000);
  CHECK(second == first);
  CHECK(gpu().cached_bytes() == 0);
  void* other = gpu().allocate(10'000);
  CHECK(other != second);
  gpu().release(second, 10'000);
  gpu().release(other, 10'000);
  gpu().trim();
  CHECK(gpu().cached_bytes() == 0);
  void* nothing = gpu().allocate(0);
  CHECK(nothing != nullptr);
  gpu().release(nothing, 0);
  CHECK(gpu().allocate(SIZE_MAX) == nullptr);
}

// What is cached is given back before an allocation fails, and the process goes on after one that did.
TEST(out_of_memory) {
#ifdef VANTAGE_TEST_EMULATED
  const size_t piece = size_t{64} << 20;
  gpu().trim();
  setenv("VANTAGE_EMULATOR_MEMORY", std::to_string(4 * piece).c_str(), 1);
  std::vector<void*> held;
  for (void* memory = gpu().allocate(piece); memory; memory = gpu().allocate(piece)) held.push_back(memory);
  CHECK(held.size() == 3 || held.size() == 4);  // what other tests left takes some
  for (void* memory : held) gpu().release(memory, piece);
  // Of another class: there is room for it only where the cached blocks go.
  void* large = gpu().allocate(3 * piece);
  CHECK(large != nullptr);
  CHECK(gpu().cached_bytes() == 0);
  CHECK(gpu().allocate(2 * piece) == nullptr);
  gpu().release(large, 3 * piece);
  unsetenv("VANTAGE_EMULATOR_MEMORY");
#else
  CHECK(gpu().allocate(size_t{1} << 50) == nullptr);
#endif
  const Plan plan = scale(1000);
  CHECK(run_scale(plan, 1000, 1) == 0);
}

TEST(plans_run) {
  for (const char* mode : {"interpret", "auto"}) {
    for (const test::Device& device : test::devices()) {
      if (device.backend == &gpu() && device.name == "cuda interpret") device.select(std::string("cuda ") + mode);
    }
    const Plan plan = scale(70'001);
    for (int i = 0; i < 3; ++i) CHECK(run_scale(plan, 70'001, static_cast<float>(i)) == 0);
  }
}

TEST(threads_share_the_device) {
  int wrong[4] = {1, 1, 1, 1};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      const Plan plan = scale(5000 + t);
      wrong[t] = 0;
      for (int i = 0; i < 10; ++i) wrong[t] += run_scale(plan, 5000 + t, static_cast<float>(t));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int count : wrong) CHECK(count == 0);
}

// The clock of the device covers what is launched while it runs; copies within the device's memory are in the stream's order.
TEST(timer_and_copies) {
  CHECK_THROWS(addon::cuda_stop_timer(), "timer: expected a timer that was started");
  const size_t bytes = size_t{1} << 16;
  std::vector<unsigned char> x(bytes, 7), y(bytes);
  void *from = gpu().allocate(bytes), *to = gpu().allocate(bytes);
  gpu().upload(from, x.data(), bytes);
  // The least of several: an emulation's clock is that of a host, which others use.
  const auto least = [&](int calls) {
    double seconds = 10;
    for (int attempt = 0; attempt < 5; ++attempt) {
      addon::cuda_start_timer();
      for (int i = 0; i < calls; ++i) addon::cuda_copy(to, from, bytes);
      const addon::CudaTime time = addon::cuda_stop_timer();
      CHECK(time.queued);
      CHECK(time.seconds >= 0 && time.seconds < 10);
      seconds = std::min(seconds, time.seconds);
    }
    return seconds;
  };
  CHECK(least(0) < least(100));
  gpu().download(y.data(), to, bytes);
  CHECK(x == y);
  gpu().release(from, bytes);
  gpu().release(to, bytes);
}

int main(int argc, char** argv) {
  if (!test::cuda_backend()) return 0;
  return test::run_tests(argc, argv);
}
