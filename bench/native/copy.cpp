#include "copy.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <string>

#include "../../native/addon/cuda_library.h"
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

double time_cuda(Backend& backend, void* to, const void* from, size_t bytes, int calls) {
  backend.synchronize();
  const auto start = Clock::now();
  for (int call = 0; call < calls; ++call) addon::cuda_copy(to, from, bytes);
  backend.synchronize();
  return seconds_since(start) / calls;
}

bool is_cuda(const Backend& backend) { return std::string(backend.name()) == "cuda"; }

}  // namespace

void copy_within(Backend& backend, void* to, const void* from, size_t bytes) {
  if (is_cuda(backend)) addon::cuda_copy(to, from, bytes);
  else std::memcpy(to, from, bytes);
}

double time_copy(Backend& backend, void* to, const void* from, size_t bytes, int calls) {
  if (is_cuda(backend)) return time_cuda(backend, to, from, bytes, calls);
  // Which one is faster depends on the size and the machine: the floor is the better one.
  double best = std::numeric_limits<double>::infinity();
  for (const auto copy : {copy_plain, copy_streaming}) {
    best = std::min(best, time_with(copy, static_cast<char*>(to), static_cast<const char*>(from), bytes, calls));
  }
  return best;
}

}  // namespace vantage::bench
