// What the threads of one row compute together: compositions of affine maps along the row, and totals. A team is 1, 8 or 32 neighbouring threads, or
// the whole block. Everything is combined in an order that depends on the place in the row alone.
#pragma once
#include "elements.h"

namespace vantage::cuda {

// A product in which a factor that overflowed meets a state of 0: the state stays 0.
VANTAGE_DEVICE double times(double a, double b) {
  const double product = a * b;
  return product != product && a == a && b == b ? 0.0 : product;
}
VANTAGE_DEVICE double applied(Affine map, double state) {
  const double next = __builtin_fma(map.factor, state, map.term);
  return next == next ? next : times(map.factor, state) + map.term;
}
VANTAGE_DEVICE Affine composed(Affine first, Affine then) { return {times(then.factor, first.factor), applied(then, first.term)}; }

VANTAGE_DEVICE Affine shuffled_up(Affine map, int delta, int width) {
  return {__shfl_up_sync(0xffffffffu, map.factor, delta, width), __shfl_up_sync(0xffffffffu, map.term, delta, width)};
}

// Of the maps of `width` lanes: the composition of a lane's own and those before it.
template <int width>
VANTAGE_DEVICE Affine composed_lanes(Affine map) {
  const int lane = threadIdx.x % width;
#pragma unroll
  for (int delta = 1; delta < width; delta *= 2) {
    const Affine before = shuffled_up(map, delta, width);
    if (lane >= delta) map = composed(before, map);
  }
  return map;
}

// What `composed_block` leaves with every thread.
struct Composition {
  Affine before;   // of the threads before this one
  Affine all;      // of the whole block
  double initial;  // that thread 0 gave
};

// For the whole block, with barriers. Not inlined: a scan over several blocks calls it twice.
VANTAGE_NOINLINE Composition composed_block(Affine map, double initial) {
  __shared__ double factors[kWarps], terms[kWarps], first;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Affine inclusive = composed_lanes<32>(map);
  if (lane == 31) {
    factors[warp] = inclusive.factor;
    terms[warp] = inclusive.term;
  }
  if (threadIdx.x == 0) first = initial;
  __syncthreads();
  Composition result = {{1, 0}, {1, 0}, first};
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) result.before = result.all;
    result.all = composed(result.all, {factors[w], terms[w]});
  }
  __syncthreads();
  const Affine neighbour = shuffled_up(inclusive, 1, 32);
  if (lane > 0) result.before = composed(result.before, neighbour);
  return result;
}

// The total of a team's threads, in its first thread.
template <int team>
VANTAGE_DEVICE Slot team_total(Slot mine, Reduction reduction, bool whole) {
  constexpr int width = team < 32 ? team : 32;
#pragma unroll
  for (int delta = width / 2; delta > 0; delta /= 2) {
    Slot other;
    other.whole = __shfl_down_sync(0xffffffffu, mine.whole, delta, width);
    mine = combined(mine, other, reduction, whole);
  }
  if constexpr (team > 32) {
    __shared__ long long totals[kWarps];
    if (threadIdx.x % 32 == 0) totals[threadIdx.x / 32] = mine.whole;
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
      for (int w = 1; w < kWarps; ++w) {
        Slot other;
        other.whole = totals[w];
        mine = combined(mine, other, reduction, whole);
      }
    }
    __syncthreads();
  }
  return mine;
}

}  // namespace vantage::cuda
