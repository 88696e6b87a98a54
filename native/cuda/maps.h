// Affine maps of a scalar state, y = b + a·y_in in double, and what a warp makes of those of its lanes. Maps compose, so that a recurrence runs in parallel
// along time. "Before" and "earlier" are in the order of the scan.
#pragma once
#include "device.h"

namespace vantage::cuda {

// Where cuts may occur, a = −0 says that nothing comes in, not even a NaN: so a step that ends an episode is told from a product that became too small.
template <bool cuts>
struct Map {
  double a, b;

  __device__ __forceinline__ bool cut() const { return cuts && __double_as_longlong(a) == INT64_MIN; }
  __device__ __forceinline__ double apply(double y) const {
    if (cut()) return b;
    recurrences::affine_step(y, a, b);
    return y;
  }
  // This map after an earlier one.
  __device__ __forceinline__ Map after(const Map& earlier) const {
    Map both = *this;
    recurrences::compose(both.a, both.b, earlier.a, earlier.b);
    if (cut()) return *this;
    if (cuts && earlier.cut()) both.a = -0.0;
    return both;
  }
};

template <class M>
__device__ __forceinline__ M shuffled_up(const M& map, int delta, int width) {
  return {__shfl_up_sync(kAllLanes, map.a, delta, width), __shfl_up_sync(kAllLanes, map.b, delta, width)};
}

// Replaces the map of each lane by that of all lanes up to it, in teams of `kLanes` neighbours.
template <int kLanes, class M>
__device__ __forceinline__ void scan_maps(M& map, int lane) {
#pragma unroll
  for (int d = 1; d < kLanes; d *= 2) {
    const M both = map.after(shuffled_up(map, d, kLanes));
    if (lane >= d) map = both;
  }
}
template <int kLanes, class M>
__device__ __forceinline__ M map_of(const M& map, int lane) {
  return {__shfl_sync(kAllLanes, map.a, lane, kLanes), __shfl_sync(kAllLanes, map.b, lane, kLanes)};
}
// What the lanes before this one do together, from the scanned maps.
template <int kLanes, class M>
__device__ __forceinline__ M map_before(const M& scanned, int lane) {
  const M before = shuffled_up(scanned, 1, kLanes);
  return lane == 0 ? M{1, 0} : before;
}
// The maps of a warp's lanes in order, in the first lane.
template <class M>
__device__ __forceinline__ M compose_warp(M map) {
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    map = M{__shfl_down_sync(kAllLanes, map.a, d), __shfl_down_sync(kAllLanes, map.b, d)}.after(map);
  }
  return map;
}

// Powers of a factor that every step has, by the host.
struct Powers {
  double step;      // p
  double lanes[6];  // p^(4·2^i): of the fours of 1, 2, 4, … 32 lanes

  explicit Powers(double p = 0) : step(p) {
    double power = p * p * (p * p);
    for (double& one : lanes) one = power, power *= power;
  }
  // Of the fours of so many lanes, at most 31.
  __device__ __forceinline__ double before(int lane) const {
    double power = 1;
#pragma unroll
    for (int i = 0; i < 5; ++i) power *= lane >> i & 1 ? lanes[i] : 1.0;
    return power;
  }
};

// i for 2^i.
constexpr int log2_of(int n) { return n == 1 ? 0 : 1 + log2_of(n / 2); }

}  // namespace vantage::cuda
