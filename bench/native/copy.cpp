#include "copy.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "../../native/addon/cuda_library.h"
#include "../../native/core/error.h"
#include "../../native/cpu/thread_pool.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace vantage::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void copy_plain(char* to, const char* from, size_t bytes) { std::memcpy(to, from, bytes); }

// Past the caches: a plain store reads the line that it is about to overwrite.
void copy_streaming(char* to, const char* from, size_t bytes) {
#if defined(__SSE2__)
  const size_t whole = bytes / 64 * 64;
  for (size_t i = 0; i < whole; i += 64) {
    __m128i parts[4];
    for (int k = 0; k < 4; ++k) parts[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i) + k);
    for (int k = 0; k < 4; ++k) _mm_stream_si128(reinterpret_cast<__m128i*>(to + i) + k, parts[k]);
  }
  _mm_sfence();
  std::memcpy(to + whole, from + whole, bytes - whole);
#else
  std::memcpy(to, from, bytes);
#endif
}

// One piece a thread, cut at multiples of 64 bytes (blocks of a device are aligned to that).
double time_with(void (*copy)(char*, const char*, size_t), char* to, const char* from, size_t bytes, int calls) {
  const auto pieces = static_cast<size_t>(cpu::threads());
  const size_t piece = (bytes / pieces + 63) / 64 * 64;
  const auto start = Clock::now();
  for (int call = 0; call < calls; ++call) {
    cpu::parallel_for(static_cast<int64_t>(pieces), static_cast<int64_t>(bytes), [&](int64_t i) {
      const size_t begin = std::min(bytes, static_cast<size_t>(i) * piece);
      copy(to + begin, from + begin, std::min(piece, bytes - begin));
    });
  }
  return seconds_since(start) / calls;
}

// The driver's functions, called in the context that the backend has made current on this thread.
struct Driver {
  using Address = unsigned long long;
  int (*copy)(Address, Address, size_t, void*);
  int (*wait)();
  int (*allocate)(Address*, size_t);
  int (*create_event)(void**, unsigned);
  int (*record)(void*, void*);
  int (*wait_for)(void*);
  int (*elapsed)(float*, void*, void*);
};

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) fail("libcuda.so.1 lacks %s", name);
}

const Driver& driver() {
  static const Driver found = [] {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) fail("libcuda.so.1 cannot be opened");
    Driver d;
    find(library, "cuMemcpyDtoDAsync_v2", d.copy);
    find(library, "cuCtxSynchronize", d.wait);
    find(library, "cuMemAlloc_v2", d.allocate);
    find(library, "cuEventCreate", d.create_event);
    find(library, "cuEventRecord", d.record);
    find(library, "cuEventSynchronize", d.wait_for);
    find(library, "cuEventElapsedTime", d.elapsed);
    return d;
  }();
  return found;
}

void check(int status) {
  if (status != 0) fail("the CUDA driver reports error %d", status);
}

double time_cuda(Backend& backend, void* to, const void* from, size_t bytes, int calls) {
  backend.synchronize();
  check(driver().wait());
  const auto start = Clock::now();
  for (int call = 0; call < calls; ++call) {
    check(driver().copy(reinterpret_cast<Driver::Address>(to), reinterpret_cast<Driver::Address>(from), bytes, nullptr));
  }
  check(driver().wait());
  return seconds_since(start) / calls;
}

}  // namespace

double time_copy(Backend& backend, void* to, const void* from, size_t bytes, int calls) {
  if (std::string(backend.name()) == "cuda") return time_cuda(backend, to, from, bytes, calls);
  // Which one is faster depends on the size and the machine: the floor is the better one.
  double best = std::numeric_limits<double>::infinity();
  for (const auto copy : {copy_plain, copy_streaming}) {
    best = std::min(best, time_with(copy, static_cast<char*>(to), static_cast<const char*>(from), bytes, calls));
  }
  return best;
}

double time_device(const std::function<void()>& launch) {
  const Driver& d = driver();
  void* const stream = addon::cuda_library().library->stream();
  constexpr size_t kBlock = size_t{1} << 30;
  static void* begin = nullptr;
  static void* end = nullptr;
  static Driver::Address memory = 0;
  if (begin == nullptr) {
    check(d.allocate(&memory, 2 * kBlock));
    check(d.create_event(&begin, 0));
    check(d.create_event(&end, 0));
  }
  // About half a millisecond each.
  for (int i = 0; i < 4; ++i) check(d.copy(memory, memory + kBlock, kBlock, stream));
  check(d.record(begin, stream));
  launch();
  check(d.record(end, stream));
  check(d.wait_for(end));
  float milliseconds = 0;
  check(d.elapsed(&milliseconds, begin, end));
  return milliseconds / 1e3;
}

}  // namespace vantage::bench
