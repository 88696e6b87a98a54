// The size of the CPU's last cache. It decides how results are stored, never what they are.
#pragma once
#include <cstdint>

namespace vantage::cpu {

int64_t last_level_cache();

}  // namespace vantage::cpu
