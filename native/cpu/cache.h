// The size of the CPU's last cache. It decides how results are stored, never what they are.
#pragma once
#include <cstdint>

namespace vantage::cpu {

int64_t last_level_cache();
// For tests: 0 makes every kernel that can write past the caches do so. A negative number: the measured size again.
void set_last_level_cache(int64_t bytes);

}  // namespace vantage::cpu
