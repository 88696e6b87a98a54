#include "cache.h"

#include <unistd.h>

#include <atomic>

namespace vantage::cpu {
namespace {

int64_t measured() {
  long bytes = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return bytes > 0 ? bytes : int64_t{32} << 20;
}

std::atomic<int64_t>& current() {
  static std::atomic<int64_t> bytes{measured()};
  return bytes;
}

}  // namespace

int64_t last_level_cache() { return current().load(std::memory_order_relaxed); }
void set_last_level_cache(int64_t bytes) { current().store(bytes < 0 ? measured() : bytes, std::memory_order_relaxed); }

}  // namespace vantage::cpu
