// The steps of the recurrences that have kernels of their own: each formula once, for scalars and for vectors of steps or rows, on every device.
//
// All of them are y_t = b_t + a_t·y_{t+1} in a scalar y, once the next valid value V' of a step is known. Affine maps compose, so that they run
// in parallel along time; a masked position is the map a = 1, b = 0, and is left out. Results are references, since a vector is not returned alike with
// and without AVX.
#pragma once
#include "math.h"

namespace vantage::recurrences {

// What the array `ends` of the kernels holds: the step is the last one of its episode. Nothing of y comes in from later steps then.
constexpr uint8_t kTerminated = 1;  // V' = 0
constexpr uint8_t kTruncated = 2;   // V' = bootstrap

// y = b + a·y_next, y holding y_next before.
template <class Y>
VANTAGE_HD void affine_step(Y& y, const Y& a, const Y& b) {
  y = b + a * y;
}

// The map of two neighbouring stretches of steps: (a, b) after (later_a, later_b).
template <class X>
VANTAGE_HD void compose(X& a, X& b, const X& later_a, const X& later_b) {
  b = b + a * later_b;
  a = a * later_a;
}

// Generalised advantage estimation (Schulman et al., 2016): A_t = δ_t + γλ·A_{t+1}, that is a = γλ and b = δ_t = r_t + γ·V' − V_t.
template <class X>
VANTAGE_HD void gae_difference(X& difference, const X& reward, const X& value, const X& next_value, const X& gamma) {
  difference = reward + gamma * next_value - value;
}

// The same in one carried scalar, U_t = V_t + λ·A_t: A_t = r_t + γ·U' − V_t, where U' is that of the next valid step, and so U_t = V_t + λ·(r_t − V_t) + γλ·U'.
// Nothing but U is passed over holes then. Where an episode ends, U' is what V' would be.
template <class X>
VANTAGE_HD void gae_target(X& target, const X& advantage, const X& value, const X& lambda) {
  target = value + lambda * advantage;
}
// What U_t is without U': the addend of its recurrence.
template <class X>
VANTAGE_HD void gae_addend(X& addend, const X& reward, const X& value, const X& lambda) {
  const X advantage = reward - value;
  gae_target(addend, advantage, value, lambda);
}

// V-trace (Espeholt et al., "IMPALA", 2018), with λ in the trace coefficients as in later libraries. Of w = exp(log π − log μ), clipped:
//   ρ = min(ρ̄, w), c = λ·min(c̄, w). A NaN stays one.
template <class X>
VANTAGE_HD void vtrace_clip(X& clipped, const X& weight, const X& limit) {
  clipped = limit < weight ? limit : weight;
}
// v_t − V_t = y_t with a = γ·c_t and b = ρ_t·(r_t + γ·V' − V_t).
template <class X>
VANTAGE_HD void vtrace_difference(X& difference, const X& reward, const X& value, const X& next_value, const X& rho, const X& gamma) {
  gae_difference(difference, reward, value, next_value, gamma);
  difference = rho * difference;
}
// The policy-gradient advantage min(ρ̄_pg, w_t)·(r_t + γ·v' − V_t) from the target v' of the next valid step.
template <class X>
VANTAGE_HD void vtrace_advantage(X& advantage, const X& reward, const X& value, const X& next_target, const X& pg_rho, const X& gamma) {
  gae_difference(advantage, reward, value, next_target, gamma);
  advantage = pg_rho * advantage;
}

}  // namespace vantage::recurrences
