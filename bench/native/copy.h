// Copies as fast as a device can, the floor that results are compared with; and the time of a GPU without the host's.
#pragma once
#include <cstddef>
#include <functional>

#include "../../native/core/backend.h"

namespace vantage::bench {

// Seconds of one of `calls` copies of so many bytes.
double time_copy(Backend& backend, void* to, const void* from, size_t bytes, int calls);

// Seconds that a GPU takes for what `launch` puts on the backend's stream, without the host's share: events stand around it, and it waits in the queue
// behind copies until all of it is there.
double time_device(const std::function<void()>& launch);

}  // namespace vantage::bench
