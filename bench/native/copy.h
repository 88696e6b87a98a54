// Copies as fast as a device can: the floor that results are compared with.
#pragma once
#include <cstddef>

#include "../../native/core/backend.h"

namespace vantage::bench {

// From one place of a device's memory to another.
void copy_within(Backend& backend, void* to, const void* from, size_t bytes);

// Seconds of one of `calls` copies of so many bytes.
double time_copy(Backend& backend, void* to, const void* from, size_t bytes, int calls);

}  // namespace vantage::bench
