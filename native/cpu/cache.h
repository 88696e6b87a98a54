// When results are worth writing past the caches. It decides how they are stored, never what they are.
#pragma once
#include <cstdint>

namespace vantage::cpu {

// Whether a kernel that moves so many bytes, and whose results are not read at once, should write them past the caches.
bool worth_streaming(int64_t bytes);
// For tests: what the caches hold. 0 makes every kernel that can write past them do so. A negative number: the measured size again.
void set_cache_size(int64_t bytes);

}  // namespace vantage::cpu
