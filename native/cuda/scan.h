// Affine recurrences along the rows of arrays, parallel in time. Every recurrence of recurrences.h is y = b + a·y_next in a scalar y, and affine maps
// compose: a thread composes the steps of four neighbouring elements, a warp scans those maps, and the state is carried from tile to tile in double.
//
// Two kernels: teams of lanes in a warp, one row each, for many or short rows; and blocks that each take a segment of a long row and learn what the
// segments before it do from memory. In the latter all maps of the segments before are composed in a tree whose shape depends on the row's length
// alone, so that the same input gives the same bits whatever the timing (a look-back with a window that depends on what is ready would not).
//
// "Before" and "after" are in the order of the scan: for a reverse scan later steps come before earlier ones.
#pragma once
#include <algorithm>

#include "allocator.h"
#include "device.h"

namespace vantage::cuda {

// A recurrence F provides:
//   Type           what its arrays are computed in
//   kReverse       from the last element to the first
//   kNext          a step needs the value of the next valid step (V') besides the state
//   Chunk          four neighbouring elements, with the word `valid`: byte i is 0 where element i is left out of the recurrence
//   load(chunk, four), store(chunk, four)
//   map(chunk, i)                 the step of the valid element i
//   finish(chunk, i, state)       leaves the outputs of the valid element i in the chunk; state is that before it, and becomes that after it
//   clear(chunk, i)               leaves the outputs of a masked element
//   initial(row)                  the state before the first step
//   kMoments       moments may be wanted: `moments` are rows f64 [B,3] or have no data, and observed(chunk, i) is the output that they are of
//   with kNext: value(chunk, i), set_next(chunk, i, value), initial_next(row)

constexpr int kTeamThreads = 128;
constexpr int kSegmentThreads = 256, kSegmentWarps = kSegmentThreads / 32;
// Segments whose maps one block composes at once. Longer rows have groups of them, whose last segment makes the group's map known.
constexpr int kGroup = kSegmentThreads;

template <class F>
__device__ __forceinline__ constexpr int item_of(int step) {
  return F::kReverse ? 3 - step : step;
}
__device__ __forceinline__ bool is_valid(uint32_t word, int i) { return byte_of(word, i) != 0; }

template <class F>
__device__ __forceinline__ Four four_at(const Fours& fours, int64_t row, int64_t index, int64_t count) {
  return index < count ? fours.at(row, F::kReverse ? count - 1 - index : index) : fours.nowhere();
}

// The last valid value of a chunk in scan order.
template <class F>
__device__ __forceinline__ typename F::Type last_value(const F& f, const typename F::Chunk& chunk) {
  typename F::Type value = 0;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    if (is_valid(chunk.valid, i)) value = f.value(chunk, i);
  }
  return value;
}

// Gives each valid element the value before it; `next` is that before the chunk.
template <class F>
__device__ __forceinline__ void spread_next(const F& f, typename F::Chunk& chunk, typename F::Type next) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    if (!is_valid(chunk.valid, i)) continue;
    const typename F::Type value = f.value(chunk, i);
    f.set_next(chunk, i, next);
    next = value;
  }
}

// Spreads the values over the chunk of each lane of a team. `next` is the value before the team's chunks and becomes the one after them.
template <int kLanes, class F>
__device__ __forceinline__ void team_next(const F& f, typename F::Chunk& chunk, int lane, typename F::Type& next) {
  const typename F::Type own = last_value(f, chunk);
  const unsigned first = threadIdx.x % 32 / kLanes * kLanes;
  const unsigned team = (__ballot_sync(kAllLanes, chunk.valid != 0) >> first) & (kLanes == 32 ? kAllLanes : (1u << kLanes % 32) - 1);
  const unsigned before = team & ((1u << lane) - 1);
  const typename F::Type given = __shfl_sync(kAllLanes, own, before ? 31 - __clz(static_cast<int>(before)) : 0, kLanes);
  const typename F::Type last = __shfl_sync(kAllLanes, own, team ? 31 - __clz(static_cast<int>(team)) : 0, kLanes);
  spread_next(f, chunk, before ? given : next);
  next = team ? last : next;
}

template <class F>
__device__ __forceinline__ Map map_of_chunk(const F& f, const typename F::Chunk& chunk) {
  Map all = {1, 0};
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    if (!is_valid(chunk.valid, i)) continue;
    Map map = f.map(chunk, i);
    map.after(all);
    all = map;
  }
  return all;
}

template <class F>
__device__ __forceinline__ void finish_chunk(const F& f, typename F::Chunk& chunk, double state, MomentSums& sums) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int i = item_of<F>(s);
    if (is_valid(chunk.valid, i)) {
      f.finish(chunk, i, state);
      if constexpr (F::kMoments) {
        if (f.moments.data) sums.add(f.observed(chunk, i));
      }
    } else {
      f.clear(chunk, i);
    }
  }
}

// A team of lanes a row. kChunks fours a lane are asked for before the first is used.
template <class F, int kLanes, int kChunks>
__global__ void __launch_bounds__(kTeamThreads) scan_teams(const F f, const Fours fours) {
  const int lane = threadIdx.x % kLanes;
  const int64_t mine = (int64_t{blockIdx.x} * kTeamThreads + threadIdx.x) / kLanes;
  const bool exists = mine < fours.rows;
  const int64_t row = exists ? mine : fours.rows - 1, count = exists ? fours.count(row) : 0;
  double state = f.initial(row);
  typename F::Type next = 0;
  if constexpr (F::kNext) next = f.initial_next(row);
  MomentSums sums;
  // Rows of a warp may begin at different phases: all its lanes go round together.
  for (int64_t start = 0; start < fours.most(); start += kLanes * kChunks) {
    typename F::Chunk chunks[kChunks];
    Four at[kChunks];
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      at[k] = four_at<F>(fours, row, start + k * kLanes + lane, count);
      f.load(chunks[k], at[k]);
    }
    Map before[kChunks], total[kChunks];
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      if constexpr (F::kNext) team_next<kLanes>(f, chunks[k], lane, next);
      Map map = map_of_chunk(f, chunks[k]);
      scan_maps<kLanes>(map, lane);
      before[k] = map_before<kLanes>(map, lane);
      total[k] = map_of<kLanes>(map, kLanes - 1);
    }
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      finish_chunk(f, chunks[k], before[k].apply(state), sums);
      f.store(chunks[k], at[k]);
      state = total[k].apply(state);
    }
  }
  if constexpr (F::kMoments) {
    if (!f.moments.data) return;
    const Moments m = team_moments<kLanes>(sums.result());
    if (lane == 0 && exists) write_moments(f.moments, row, m);
  }
}

// What the blocks of a launch tell each other. Two rounds, the second for the states: the first is for the values V' where they are needed.
struct Segments {
  int64_t segments, groups;  // a row's
  Signals signals;
  double2* maps;      // [2][rows][segments + groups]
  double* moments;    // [rows][segments][3]
};

__device__ __forceinline__ void publish(const Segments& s, int64_t slot, const Map& map) {
  s.maps[slot] = make_double2(map.a, map.b);
  __threadfence();
  *const_cast<volatile unsigned*>(s.signals.flags + slot) = s.signals.set;
}
__device__ __forceinline__ Map wait_for(const Segments& s, int64_t slot) {
  while (*const_cast<volatile unsigned*>(s.signals.flags + slot) != s.signals.set) __nanosleep(32);
  __threadfence();
  const double2 map = __ldcg(s.maps + slot);
  return {map.x, map.y};
}

// The maps of a block's threads in order, in all threads. `shared` may be used again after a barrier.
__device__ __forceinline__ Map compose_block(Map map, Map* shared) {
  scan_maps<32>(map, threadIdx.x % 32);
  if (threadIdx.x % 32 == 31) shared[threadIdx.x / 32] = map;
  __syncthreads();
  Map all = shared[0];
  for (int w = 1; w < kSegmentWarps; ++w) {
    Map one = shared[w];
    one.after(all);
    all = one;
  }
  return all;
}

// Makes the map of this block's segment known and returns the state before it. `first` is the row's first slot.
__device__ __forceinline__ double state_before(const Segments& s, int64_t first, int64_t segment, const Map& own, double initial, Map* shared) {
  if (s.segments == 1) return initial;
  if (threadIdx.x == 0) publish(s, first + segment, own);
  const int64_t group = segment / kGroup;
  const int position = static_cast<int>(segment % kGroup), thread = static_cast<int>(threadIdx.x);
  Map before = {1, 0};
  if (position > 0) before = compose_block(thread < position ? wait_for(s, first + group * kGroup + thread) : Map{1, 0}, shared);
  if (thread == 0 && position == kGroup - 1) {
    Map whole = own;
    whole.after(before);
    publish(s, first + s.segments + group, whole);
  }
  double state = initial;
  for (int64_t start = 0; start < group; start += kGroup) {
    __syncthreads();
    state = compose_block(start + thread < group ? wait_for(s, first + s.segments + start + thread) : Map{1, 0}, shared).apply(state);
  }
  return before.apply(state);
}

// A row's moments from those of its segments, by the block that finishes last; always in the same order.
__device__ __forceinline__ void segment_moments(const Segments& s, int64_t row, int64_t segment, const MomentSums& sums, const Rows<double>& moments) {
  __shared__ double shared[kSegmentWarps][3];
  __shared__ bool last;
  const Moments own = block_moments<kSegmentThreads>(sums.result(), shared);
  const Rows<double> partials = {s.moments + 3 * row * s.segments, 3, 1};
  if (threadIdx.x == 0) {
    if (s.segments == 1) write_moments(moments, row, own);
    else write_moments(partials, segment, own);
    __threadfence();
    last = s.segments > 1 && atomicAdd(s.signals.tickets + row, 1u) == static_cast<unsigned>(s.segments - 1);
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  Moments m;
  for (int64_t i = threadIdx.x; i < s.segments; i += kSegmentThreads) combine(m, read_moments(partials, i));
  m = block_moments<kSegmentThreads>(m, shared);
  if (threadIdx.x != 0) return;
  write_moments(moments, row, m);
  s.signals.tickets[row] = 0;
}

// A block a segment of kChunks·4·kSegmentThreads elements, which stay in registers while it learns the state before them.
template <class F, int kChunks>
__global__ void __launch_bounds__(kSegmentThreads) scan_segments(const F f, const Fours fours, const Segments s) {
  __shared__ int64_t place;
  __shared__ double shared_maps[2][kSegmentWarps][2];
  __shared__ typename F::Type shared_values[kSegmentWarps];
  __shared__ bool shared_seen[kSegmentWarps];
  // Blocks take their places in the order in which they start, so that those which a block waits for have started.
  if (threadIdx.x == 0) place = atomicAdd(s.signals.counter, 1u) - s.signals.counted;
  __syncthreads();
  const int64_t row = place / s.segments, segment = place % s.segments, count = fours.count(row);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t slots = s.segments + s.groups, first_slot = row * slots;
  const int64_t start = (segment * kSegmentWarps + warp) * kChunks * 32 + lane;

  typename F::Chunk chunks[kChunks];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) f.load(chunks[k], four_at<F>(fours, row, start + k * 32, count));

  Map* const exchange = reinterpret_cast<Map*>(shared_maps[0]);
  if constexpr (F::kNext) {
    // The values first: those of a segment without a valid step pass through it, which is an affine map too.
    typename F::Type last = 0;
    bool seen = false;
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      const typename F::Type own = last_value(f, chunks[k]);
      const unsigned valid = __ballot_sync(kAllLanes, chunks[k].valid != 0);
      const typename F::Type value = __shfl_sync(kAllLanes, own, valid ? 31 - __clz(static_cast<int>(valid)) : 0);
      last = valid ? value : last;
      seen = seen || valid != 0;
    }
    if (lane == 0) shared_values[warp] = last, shared_seen[warp] = seen;
    __syncthreads();
    Map whole = {1, 0};
    for (int w = 0; w < kSegmentWarps; ++w) {
      if (shared_seen[w]) whole = {0, static_cast<double>(shared_values[w])};
    }
    const double given = state_before(s, fours.rows * slots + first_slot, segment, whole, static_cast<double>(f.initial_next(row)), exchange);
    typename F::Type next = static_cast<typename F::Type>(given);
    for (int w = 0; w < warp; ++w) next = shared_seen[w] ? shared_values[w] : next;
#pragma unroll
    for (int k = 0; k < kChunks; ++k) team_next<32>(f, chunks[k], lane, next);
  }

  Map before[kChunks], all = {1, 0};  // before[k]: of the warp's elements before this lane's chunk k
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    Map map = map_of_chunk(f, chunks[k]);
    scan_maps<32>(map, lane);
    before[k] = map_before<32>(map, lane);
    before[k].after(all);
    Map total = map_of<32>(map, 31);
    total.after(all);
    all = total;
  }
  Map* const warps = reinterpret_cast<Map*>(shared_maps[1]);
  if (lane == 0) warps[warp] = all;
  __syncthreads();
  Map earlier = {1, 0}, whole = {1, 0};
  for (int w = 0; w < kSegmentWarps; ++w) {
    if (w == warp) earlier = whole;
    Map one = warps[w];
    one.after(whole);
    whole = one;
  }
  const double state = earlier.apply(state_before(s, first_slot, segment, whole, f.initial(row), exchange));
  MomentSums sums;
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    finish_chunk(f, chunks[k], before[k].apply(state), sums);
    f.store(chunks[k], four_at<F>(fours, row, start + k * 32, count));
  }
  if constexpr (F::kMoments) {
    if (f.moments.data) segment_moments(s, row, segment, sums, f.moments);
  }
}

template <int kLanes, int kChunks, class F>
void launch_teams(const char* what, const F& f, const Fours& fours) {
  launch(what, scan_teams<F, kLanes, kChunks>, dim3(static_cast<unsigned>(ceil_div(fours.rows * kLanes, kTeamThreads))), kTeamThreads, 0, f, fours);
}

template <int kChunks>
int64_t segments_of(const Fours& fours) {
  return std::max<int64_t>(1, ceil_div(fours.most(), int64_t{kChunks} * kSegmentThreads));
}

template <int kChunks, class F>
void launch_segments(const char* what, const F& f, const Fours& fours) {
  const int64_t segments = segments_of<kChunks>(fours), groups = segments / kGroup;
  const int64_t slots = fours.rows * (segments + groups) * (F::kNext ? 2 : 1), partials = F::kMoments ? fours.rows * segments : 0;
  const Temporary memory(what, static_cast<size_t>(16 * slots + 24 * partials));
  const Segments s = {segments, groups, signals(slots, fours.rows, fours.rows * segments), memory.as<double2>(),
                      reinterpret_cast<double*>(memory.as<double2>() + slots)};
  try {
    launch(what, scan_segments<F, kChunks>, dim3(static_cast<unsigned>(fours.rows * segments)), kSegmentThreads, 0, f, fours, s);
  } catch (...) {
    reset_signals();
    throw;
  }
}

// Runs the recurrence over all rows. The numbers here are to be measured.
template <class F>
void scan_rows(const char* what, const F& f, const Fours& fours) {
  if (fours.rows == 0) return;
  // Fewer warps than this on each multiprocessor leave memory idle: then several share a row, if it is long.
  constexpr int64_t kWarps = 16, kLong = 512;
  // Blocks that run at once on a multiprocessor. Work that all of them hold together is spread over as many as there are.
  constexpr int64_t kBlocks = 4;
  const int64_t processors = device().multiprocessors;
  if (fours.time > kLong && fours.rows < kWarps * processors) {
    const int64_t room = kBlocks * processors;
    if (fours.rows * segments_of<1>(fours) <= room) return launch_segments<1>(what, f, fours);
    constexpr int kMost = sizeof(typename F::Type) == 8 || F::kNext ? 2 : 4;  // what registers hold
    return fours.rows * segments_of<2>(fours) <= room ? launch_segments<2>(what, f, fours) : launch_segments<kMost>(what, f, fours);
  }
  if (fours.most() <= 4) return launch_teams<4, 1>(what, f, fours);
  if (fours.most() <= 8) return launch_teams<8, 1>(what, f, fours);
  launch_teams<32, 2>(what, f, fours);
}

}  // namespace vantage::cuda
