#include "cache.h"

#include <unistd.h>

namespace vantage::cpu {
namespace {

int64_t measured() {
  long bytes = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return bytes > 0 ? bytes : int64_t{32} << 20;
}

}  // namespace

int64_t last_level_cache() {
  static const int64_t bytes = measured();
  return bytes;
}

}  // namespace vantage::cpu
