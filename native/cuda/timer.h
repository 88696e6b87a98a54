// The time of the device without the host's share, for whoever measures kernels.
#pragma once

namespace vantage::cuda {

// What is launched from here on is timed. It waits in the stream behind copies that take some two milliseconds, so that the device finds all of it queued.
void start_timer();

struct Elapsed {
  double seconds;
  bool queued;  // all was queued before the device began with it; else the host's share is in the seconds
};
// Ends what start_timer() began; waits for it.
Elapsed stop_timer();

}  // namespace vantage::cuda
