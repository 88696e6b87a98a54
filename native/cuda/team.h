// What the threads of one row compute together: compositions of affine maps along the row, and totals. A team is 1, 8 or 32 neighbouring threads, or
// the whole block. Everything is combined in an order that depends on the place in the row alone.
#pragma once
#include "elements.h"

namespace vantage::cuda {

// A step whose factor is 0 forgets the state, were it no number. −0 stands for that, and 0 for a product that became too small.
VANTAGE_DEVICE bool forgets(double factor) { return factor == 0 && __double_as_longlong(factor) < 0; }
VANTAGE_DEVICE double marked(double factor) { return factor == 0 ? -0.0 : factor; }
VANTAGE_DEVICE double product_of(double a, double b) {
  const double product = a * b;
  return product == 0 ? (forgets(a) || forgets(b) ? -0.0 : 0.0) : product;
}
// A product in which a factor that overflowed meets a state of 0: the state stays 0.
VANTAGE_DEVICE double times(double a, double b) {
  if (forgets(a) || forgets(b)) return -0.0;
  const double product = product_of(a, b);
  return product != product && a == a && b == b ? 0.0 : product;
}
VANTAGE_DEVICE double applied(Affine map, double state) {
  const double next = __builtin_fma(map.factor, state, map.term);
  if (next == next) return next;
  return forgets(map.factor) ? map.term : times(map.factor, state) + map.term;
}
VANTAGE_DEVICE Affine composed(Affine first, Affine then) { return {times(then.factor, first.factor), applied(then, first.term)}; }

// The same without a look at what overflows. Where something did, the result is not a number, and so is all that is composed with it: one look at
// the end tells whether everything has to be composed anew.
VANTAGE_DEVICE Affine quickly_composed(Affine first, Affine then) {
  return {product_of(then.factor, first.factor), __builtin_fma(then.factor, first.term, then.term)};
}
VANTAGE_DEVICE bool is_number(Affine map) {
  const double sum = map.factor + map.term;
  return sum == sum;
}

// Of the elements of a thread.
template <int items, class A, class B>
VANTAGE_DEVICE Affine composed_items(const A& a, const B& b) {
  Affine map = {static_cast<double>(a[0]), static_cast<double>(b[0])};
#pragma unroll
  for (int k = 1; k < items; ++k) {
    const double factor = static_cast<double>(a[k]);
    map = {factor * map.factor, __builtin_fma(factor, map.term, static_cast<double>(b[k]))};
  }
  if (is_number(map) && map.factor != 0) return map;
  map = {marked(static_cast<double>(a[0])), static_cast<double>(b[0])};
#pragma unroll
  for (int k = 1; k < items; ++k) map = composed(map, {marked(static_cast<double>(a[k])), static_cast<double>(b[k])});
  return map;
}

VANTAGE_DEVICE Affine shuffled_up(Affine map, int delta, int width) {
  return {__shfl_up_sync(0xffffffffu, map.factor, delta, width), __shfl_up_sync(0xffffffffu, map.term, delta, width)};
}

template <int width>
VANTAGE_NOINLINE Affine carefully_composed_lanes(Affine map) {
  const int lane = threadIdx.x % width;
#pragma unroll
  for (int delta = 1; delta < width; delta *= 2) {
    const Affine before = shuffled_up(map, delta, width);
    if (lane >= delta) map = composed(before, map);
  }
  return map;
}
// Of the maps of `width` lanes: the composition of a lane's own and those before it.
template <int width>
VANTAGE_DEVICE Affine composed_lanes(Affine map) {
  const int lane = threadIdx.x % width;
  Affine all = map;
#pragma unroll
  for (int delta = 1; delta < width; delta *= 2) {
    const Affine before = shuffled_up(all, delta, width);
    if (lane >= delta) all = quickly_composed(before, all);
  }
  return __any_sync(0xffffffffu, !is_number(all)) ? carefully_composed_lanes<width>(map) : all;
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
