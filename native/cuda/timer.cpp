#include "timer.h"

#include "../core/error.h"
#include "allocator.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

// Copies from and to memory beyond the cache: fifty megabytes on a Hopper, a copy of twice as many takes about fifty microseconds there.
constexpr int kCopies = 40;

// Never destroyed, like the stream.
struct Timer {
  cudaEvent_t begin = nullptr, end = nullptr;
  bool runs = false;
};
Timer timer;

size_t cache_bytes() {
  int bytes = 0;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, device().index), "timer");
  return static_cast<size_t>(bytes);
}

}  // namespace

void start_timer() {
  if (!timer.begin) {
    check(cudaEventCreate(&timer.begin), "timer");
    check(cudaEventCreate(&timer.end), "timer");
  }
  const size_t bytes = 2 * cache_bytes();
  const Temporary from("timer", bytes), to("timer", bytes);
  for (int i = 0; i < kCopies; ++i) check(cudaMemcpyAsync(to.as(), from.as(), bytes, cudaMemcpyDeviceToDevice, stream()), "timer");
  check(cudaEventRecord(timer.begin, stream()), "timer");
  timer.runs = true;
}

Elapsed stop_timer() {
  if (!timer.runs) fail("timer: expected a timer that was started");
  timer.runs = false;
  const bool queued = cudaEventQuery(timer.begin) == cudaErrorNotReady;
  cudaGetLastError();  // not ready is not to be found as an error by the next check
  check(cudaEventRecord(timer.end, stream()), "timer");
  check(cudaEventSynchronize(timer.end), "timer");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, timer.begin, timer.end), "timer");
  return {milliseconds / 1e3, queued};
}

}  // namespace vantage::cuda
