// Affine recurrences along the rows of arrays, parallel in time. Every recurrence of recurrences.h is y = b + a·y_next in a scalar y, and affine maps
// compose: a thread composes the steps of four neighbouring elements, a warp scans those maps, and the state is carried from chunk to chunk in double.
// Here: what a warp does with its chunks, and the kernel for many or short rows, a team of lanes in a warp each. Long rows: scan_blocks.h, and where they are few
// scan_segments.h.
//
// "Before" and "after" are in the order of the scan: for a reverse scan later steps come before earlier ones.
#pragma once
#include <algorithm>

#include "maps.h"

namespace vantage::cuda {

// A recurrence F provides:
//   Type           what its arrays are computed in
//   kReverse       from the last element to the first
//   kNext          a step needs the value of the next valid step (V') besides the state
//   kCuts          a step may be one into which nothing comes
//   kConstant      all other steps have the same factor: `powers` are its Powers
//   Chunk          four neighbouring elements, with the word `valid`: byte i is 0 where element i is left out of the recurrence, and 2 for a cut
//   load(chunk, four), prepare(chunk, four), store(chunk, four)     load does nothing with what it asks for, as it may not be there yet: prepare, before anything else, does
//   addend(chunk, i), factor(chunk, i)     the step of the element i; what a masked element gives is not used
//   finish(chunk, i, state)       leaves the outputs of the valid element i in the chunk; state is that before it, and becomes that after it
//   clear(chunk, i)               leaves the outputs of a masked element
//   initial(row)                  the state before the first step
//   kMoments       moments may be wanted: `moments` are rows f64 [B,3] or have no data, and observed(chunk) the four outputs that they are of
//   with kNext: value(chunk, i), set_next(chunk, i, value), initial_next(row)

constexpr int kTeamThreads = 128;
// Blocks that a multiprocessor shall hold at once: more of them hide each other's waits, with fewer registers each.
template <class F>
constexpr int kTeamBlocks = sizeof(typename F::Type) == 8 || F::kNext ? 5 : 8;
constexpr uint32_t kCut = 2;  // in a byte of `valid`

template <class F>
using MapOf = Map<F::kCuts>;

template <class F>
__device__ __forceinline__ constexpr int item_of(int step) {
  return F::kReverse ? 3 - step : step;
}
template <class F>
__device__ __forceinline__ bool is_cut(const typename F::Chunk& chunk, int i) {
  return F::kCuts && (chunk.valid & kCut << (8 * i)) != 0;
}

// The place of the four with a number in the order of the scan.
template <class F>
__device__ __forceinline__ int64_t index_of(int64_t number, int64_t count) {
  return F::kReverse ? count - 1 - number : number;
}

// Loads the chunks of a team of lanes, kChunks·kLanes fours from number `start` on, of a row that has `count`.
template <int kLanes, int kChunks, class F>
__device__ __forceinline__ void load_chunks(const F& f, const Fours& fours, int64_t row, int64_t start, int64_t count, int lane,
                                            typename F::Chunk (&chunks)[kChunks], Four (&at)[kChunks]) {
  constexpr int kAll = kLanes * kChunks;
  const bool inside = start + kAll <= count && fours.whole(row, index_of<F>(F::kReverse ? start + kAll - 1 : start, count), kAll);
  // Not a branch of the lanes: their accesses stay together.
  if (__all_sync(kAllLanes, inside)) {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      at[k] = fours.whole_at(row, index_of<F>(start + k * kLanes + lane, count));
      f.load(chunks[k], at[k]);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      const int64_t number = start + k * kLanes + lane;
      at[k] = number < count ? fours.at(row, index_of<F>(number, count)) : fours.nowhere(row);
      f.load(chunks[k], at[k]);
    }
  }
}

template <int kChunks, class F>
__device__ __forceinline__ void prepare_chunks(const F& f, typename F::Chunk (&chunks)[kChunks], const Four (&at)[kChunks]) {
#pragma unroll
  for (int k = 0; k < kChunks; ++k) f.prepare(chunks[k], at[k]);
}

// The last valid value of a chunk in scan order.
template <class F>
__device__ __forceinline__ typename F::Type last_value(const F& f, const typename F::Chunk& chunk) {
  typename F::Type value = 0;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    value = has_byte(chunk.valid, i) ? f.value(chunk, i) : value;
  }
  return value;
}

// Spreads the values over the chunk of each lane of a team: each valid element is given the one before it. `next` is the value before the team's chunks and
// becomes the one after them.
template <int kLanes, class F>
__device__ __forceinline__ void team_next(const F& f, typename F::Chunk& chunk, int lane, typename F::Type& next) {
  const typename F::Type own = last_value(f, chunk);
  const unsigned first = threadIdx.x % 32 / kLanes * kLanes;
  const unsigned team = (__ballot_sync(kAllLanes, chunk.valid != 0) >> first) & (kLanes == 32 ? kAllLanes : (1u << kLanes % 32) - 1);
  const unsigned before = team & ((1u << lane) - 1);
  const typename F::Type given = __shfl_sync(kAllLanes, own, before ? 31 - __clz(static_cast<int>(before)) : 0, kLanes);
  const typename F::Type last = __shfl_sync(kAllLanes, own, team ? 31 - __clz(static_cast<int>(team)) : 0, kLanes);
  typename F::Type value = before ? given : next;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    const typename F::Type mine = f.value(chunk, i);
    f.set_next(chunk, i, value);
    value = has_byte(chunk.valid, i) ? mine : value;
  }
  next = team ? last : next;
}

// The last valid value of a block's chunks: each warp's and whether it has one are left in shared memory.
template <class F, int kChunks>
__device__ __forceinline__ void share_last_values(const F& f, const typename F::Chunk (&chunks)[kChunks], typename F::Type* values, bool* seen) {
  typename F::Type last = 0;
  bool any = false;
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    const typename F::Type own = last_value(f, chunks[k]);
    const unsigned valid = __ballot_sync(kAllLanes, chunks[k].valid != 0);
    const typename F::Type value = __shfl_sync(kAllLanes, own, valid ? 31 - __clz(static_cast<int>(valid)) : 0);
    last = valid ? value : last;
    any = any || valid != 0;
  }
  if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = last, seen[threadIdx.x / 32] = any;
  __syncthreads();
}

// What the lanes of a team do with their chunks: `before` is the map of the lanes before this one, `all` that of the team. `power` is p^(4·lane).
template <int kLanes, class F>
__device__ __forceinline__ void scan_chunks(const F& f, const typename F::Chunk& chunk, int lane, double power, MapOf<F>& before, MapOf<F>& all) {
  if constexpr (F::kConstant) {
    if (__all_sync(kAllLanes, has_all_bytes(chunk.valid))) {
      // Every step counts, so that all factors are known beforehand and only the addends go from lane to lane.
      double y = 0;
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const int i = item_of<F>(s);
        const double addend = f.addend(chunk, i);
        if (s > 0) recurrences::affine_step(y, f.powers.step, addend);
        if (s == 0 || is_cut<F>(chunk, i)) y = addend;
      }
      int reach = lane;  // so many lanes before this one send something in
      unsigned cuts = 0;
      if constexpr (F::kCuts) {
        const unsigned first = threadIdx.x % 32 / kLanes * kLanes;
        cuts = (__ballot_sync(kAllLanes, (chunk.valid & 0x01010101u * kCut) != 0) >> first) & (kLanes == 32 ? kAllLanes : (1u << kLanes % 32) - 1);
        const unsigned here = cuts & ((2u << lane) - 1);
        if (here) reach = lane - (31 - __clz(static_cast<int>(here)));
      }
#pragma unroll
      for (int d = 1; d < kLanes; d *= 2) {
        const double other = __shfl_up_sync(kAllLanes, y, d, kLanes);
        double both = other;
        recurrences::affine_step(both, f.powers.lanes[log2_of(d)], y);
        if (reach >= d) y = both;
      }
      before = {power, __shfl_up_sync(kAllLanes, y, 1, kLanes)};
      if (lane == 0) before.b = 0;
      all = {f.powers.lanes[log2_of(kLanes)], __shfl_sync(kAllLanes, y, kLanes - 1, kLanes)};
      if constexpr (F::kCuts) {
        if (cuts & ((1u << lane) - 1)) before.a = -0.0;
        if (cuts) all.a = -0.0;
      }
      return;
    }
  }
  if (!__any_sync(kAllLanes, chunk.valid != 0)) {
    before = all = {1, 0};
    return;
  }
  MapOf<F> map = {1, 0};
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    MapOf<F> step = {0, f.addend(chunk, i)};
    if constexpr (F::kConstant) step.a = f.powers.step;
    else step.a = f.factor(chunk, i);
    if (is_cut<F>(chunk, i)) step.a = -0.0;
    const MapOf<F> both = s == 0 ? step : step.after(map);
    if (has_byte(chunk.valid, i)) map = both;
  }
  scan_maps<kLanes>(map, lane);
  before = map_before<kLanes>(map, lane);
  all = map_of<kLanes>(map, kLanes - 1);
}

// The chunks of a warp, one behind the other. Returns the map of all; before[k] is that of the warp's elements before this lane's chunk k.
template <int kChunks, class F>
__device__ __forceinline__ MapOf<F> scan_warp(const F& f, const typename F::Chunk (&chunks)[kChunks], int lane, double power, MapOf<F> (&before)[kChunks]) {
  MapOf<F> all = {1, 0};
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    MapOf<F> team;
    scan_chunks<32>(f, chunks[k], lane, power, before[k], team);
    before[k] = before[k].after(all);
    all = team.after(all);
  }
  return all;
}

template <class F>
__device__ __forceinline__ void finish_chunk(const F& f, typename F::Chunk& chunk, double state, MomentSums& sums) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    if (has_byte(chunk.valid, i)) {
      f.finish(chunk, i, state);
    } else {
      f.clear(chunk, i);
    }
  }
  if constexpr (F::kMoments) {
    if (f.moments.data) sums.add(f.observed(chunk), chunk.valid);
  }
}

template <int kChunks, class F>
__device__ __forceinline__ void finish_chunks(const F& f, typename F::Chunk (&chunks)[kChunks], const Four (&at)[kChunks], const MapOf<F> (&before)[kChunks],
                                              double state, MomentSums& sums) {
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    finish_chunk(f, chunks[k], before[k].apply(state), sums);
    f.store(chunks[k], at[k]);
  }
}

template <class F>
__device__ __forceinline__ double power_before(const F& f, int lane) {
  if constexpr (F::kConstant) return f.powers.before(lane);
  else return 0;
}

// A team of lanes a row. kChunks fours a lane are asked for before the first is used.
template <class F, int kLanes, int kChunks>
__global__ void __launch_bounds__(kTeamThreads, kTeamBlocks<F>) scan_teams(const __grid_constant__ F f, const __grid_constant__ Fours fours) {
  const int lane = threadIdx.x % kLanes;
  const int64_t mine = (int64_t{blockIdx.x} * kTeamThreads + threadIdx.x) / kLanes;
  const bool exists = mine < fours.rows;
  const int64_t row = exists ? mine : fours.rows - 1, count = exists ? fours.count(row) : 0;
  const double power = power_before(f, lane);
  double state = f.initial(row);
  typename F::Type next = 0;
  if constexpr (F::kNext) next = f.initial_next(row);
  MomentSums sums;
  // Rows of a warp may begin at different phases: all its lanes go round together.
  for (int64_t start = 0; start < fours.most(); start += kLanes * kChunks) {
    typename F::Chunk chunks[kChunks];
    Four at[kChunks];
    load_chunks<kLanes>(f, fours, row, start, count, lane, chunks, at);
    prepare_chunks(f, chunks, at);
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      if constexpr (F::kNext) team_next<kLanes>(f, chunks[k], lane, next);
      MapOf<F> before, all;
      scan_chunks<kLanes>(f, chunks[k], lane, power, before, all);
      finish_chunk(f, chunks[k], before.apply(state), sums);
      f.store(chunks[k], at[k]);
      state = all.apply(state);
    }
  }
  if constexpr (F::kMoments) {
    if (!f.moments.data) return;
    const Moments m = team_moments<kLanes>(sums.result());
    if (lane == 0 && exists) write_moments(f.moments, row, m);
  }
}

template <int kLanes, int kChunks, class F>
void launch_teams(const char* what, const F& f, const Fours& fours) {
  launch(what, scan_teams<F, kLanes, kChunks>, dim3(static_cast<unsigned>(ceil_div(fours.rows * kLanes, kTeamThreads))), kTeamThreads, 0, f, fours);
}

template <class F>
void scan_in_teams(const char* what, const F& f, const Fours& fours) {
  const int64_t most = fours.most();
  if (most <= 2) return launch_teams<2, 1>(what, f, fours);
  if (most <= 4) return launch_teams<4, 1>(what, f, fours);
  if (most <= 8) return launch_teams<8, 1>(what, f, fours);
  if (most <= 32) return launch_teams<32, 1>(what, f, fours);
  launch_teams<32, 2>(what, f, fours);
}

}  // namespace vantage::cuda
