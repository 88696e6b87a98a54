// The steps of the recurrences that have kernels of their own: each formula once, for scalars and for vectors of rows, on every device.
#pragma once
#include "math.h"

namespace vantage::recurrences {

// Generalised advantage estimation, one step back in time (Schulman et al., 2016):
//   A = r + γ·V_next − V + γλ·A_next, V_next = V; both pass a masked position unchanged.
// The difference is taken in the type of the values; the advantage is carried in double, so that long rows lose nothing.
template <class Values>
VANTAGE_HD void gae_difference(Values& difference, const Values& reward, const Values& value, const Values& next_value, const Values& gamma) {
  difference = reward + gamma * next_value - value;
}
template <class Wide>
VANTAGE_HD void gae_advantage(Wide& advantage, const Wide& difference, const Wide& decay) {
  advantage = difference + decay * advantage;
}

}  // namespace vantage::recurrences
