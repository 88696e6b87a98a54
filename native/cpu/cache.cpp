#include "cache.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "allocator.h"
#include "thread_pool.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace vantage::cpu {
namespace {

int64_t size_of(int name, int64_t usual) {
  const long bytes = name < 0 ? 0 : sysconf(name);
  return bytes > 0 ? bytes : usual;
}

#if defined(_SC_LEVEL3_CACHE_SIZE)
int64_t own_cache() { return size_of(_SC_LEVEL2_CACHE_SIZE, int64_t{1} << 20); }
int64_t shared_cache() { return size_of(_SC_LEVEL3_CACHE_SIZE, int64_t{32} << 20); }
#else
int64_t own_cache() { return int64_t{1} << 20; }
int64_t shared_cache() { return int64_t{32} << 20; }
#endif

#if defined(__x86_64__)
__attribute__((noinline)) void copy(char* to, const char* from, int64_t bytes, bool stream) {
  for (int64_t i = 0; i < bytes; i += 64) {
    __m128i parts[4];
    for (int k = 0; k < 4; ++k) parts[k] = _mm_load_si128(reinterpret_cast<const __m128i*>(from + i) + k);
    for (int k = 0; k < 4; ++k) {
      if (stream) _mm_stream_si128(reinterpret_cast<__m128i*>(to + i) + k, parts[k]);
      else _mm_store_si128(reinterpret_cast<__m128i*>(to + i) + k, parts[k]);
    }
  }
  _mm_sfence();
}

// Of a shared cache all is named, however many cores, and neighbours of a virtual machine, use it too: a thread's share is what servers have for each core.
constexpr int64_t kSharedOfThread = int64_t{4} << 20;

// Whether arrays that a core's own cache cannot hold, and the shared one easily can, are written clearly faster past it. So it is where the shared cache
// is a mesh of slices, slower than memory for what is only written.
bool shared_cache_is_slow() {
  const int64_t bytes = own_cache() * 2;  // of each of two arrays
  if (bytes * 8 > shared_cache()) return false;
  char* const memory = static_cast<char*>(allocate(static_cast<size_t>(2 * bytes)));
  if (!memory) return false;
  std::memset(memory, 0, static_cast<size_t>(2 * bytes));
  using Clock = std::chrono::steady_clock;
  Clock::duration best[2] = {Clock::duration::max(), Clock::duration::max()};
  for (int round = 0; round < 5; ++round) {
    for (const bool stream : {false, true}) {
      const auto start = Clock::now();
      copy(memory + bytes, memory, bytes, stream);
      const auto taken = Clock::now() - start;
      if (taken < best[stream]) best[stream] = taken;
    }
  }
  release(memory, static_cast<size_t>(2 * bytes));
  return best[true] * 10 < best[false] * 9;
}
#else
bool shared_cache_is_slow() { return false; }
#endif

std::atomic<int64_t> cache_size{-1};

// Measured when something asks that no core's own cache would hold: small programs do not wait for it.
int64_t measured() {
  static const bool slow = shared_cache_is_slow();
  const int64_t shared = shared_cache(), ours = kSharedOfThread * threads();
  return slow ? own_cache() * threads() : shared < ours ? shared : ours;
}

}  // namespace

bool worth_streaming(int64_t bytes) {
  const int64_t set = cache_size.load(std::memory_order_relaxed);
  if (set < 0 && bytes <= own_cache() / 4 * 3) return false;
  return bytes > (set < 0 ? measured() : set) / 4 * 3;
}

void set_cache_size(int64_t bytes) { cache_size.store(bytes, std::memory_order_relaxed); }

}  // namespace vantage::cpu
