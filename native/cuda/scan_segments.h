// Few and long rows in a single pass: blocks that each take a segment of a row and learn from memory what the segments before it do. All maps of the segments before are composed
// in a tree whose shape depends on the row's length alone, so that the same input gives the same bits whatever the timing (a look-back with a window that depends
// on what is ready would not).
//
// While a block waits it keeps nothing but the maps: the elements are read again then, from the cache, so that registers for more blocks are there.
#pragma once
#include "allocator.h"
#include "scan_blocks.h"

namespace vantage::cuda {

constexpr int kSegmentThreads = 256, kSegmentWarps = kSegmentThreads / 32;
// That a multiprocessor shall hold at once.
template <class F>
constexpr int kSegmentBlocks = sizeof(typename F::Type) == 8 || F::kNext ? 2 : 3;
// Segments whose maps one block composes at once. Longer rows have groups of them, whose last segment makes the group's map known.
constexpr int kGroup = kSegmentThreads;

// What the blocks of a launch tell each other. Two rounds, the second for the states: the first is for the values V' where they are needed.
struct Segments {
  int64_t segments, groups;  // a row's
  Signals signals;           // letters: [2][rows][segments + groups]
  double* moments;           // [rows][segments][3]
};

// A map comes in four words of eight bytes, each of which says by itself whether it is of this launch: no fence, and one journey to memory.
template <class M>
__device__ __forceinline__ void publish(const Segments& s, int64_t slot, const M& map) {
  const unsigned long long a = static_cast<unsigned long long>(__double_as_longlong(map.a)), b = static_cast<unsigned long long>(__double_as_longlong(map.b));
  const unsigned long long set = static_cast<unsigned long long>(s.signals.set) << 32;
  volatile unsigned long long* const words = s.signals.letters[slot].words;
  words[0] = set | a >> 32;
  words[1] = set | (a & 0xffffffffu);
  words[2] = set | b >> 32;
  words[3] = set | (b & 0xffffffffu);
}
template <class M>
__device__ __forceinline__ M wait_for(const Segments& s, int64_t slot) {
  const volatile unsigned long long* const words = s.signals.letters[slot].words;
  for (;;) {
    const unsigned long long w[4] = {words[0], words[1], words[2], words[3]};
    const auto set = [&](int i) { return static_cast<unsigned>(w[i] >> 32) == s.signals.set; };
    if (set(0) && set(1) && set(2) && set(3)) {
      return {__longlong_as_double(static_cast<long long>(w[0] << 32 | (w[1] & 0xffffffffu))),
              __longlong_as_double(static_cast<long long>(w[2] << 32 | (w[3] & 0xffffffffu)))};
    }
    __nanosleep(20);
  }
}

// The maps of a block's threads in order, in all threads. `shared` may be used again after a barrier.
template <class M>
__device__ __forceinline__ M compose_block(const M& map, M* shared) {
  const M warp = compose_warp(map);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = warp;
  __syncthreads();
  M all = shared[0];
  for (int w = 1; w < kSegmentWarps; ++w) all = shared[w].after(all);
  return all;
}

// Makes the map of this block's segment known and returns the state before it. `first` is the row's first slot.
template <class M>
__device__ __forceinline__ double state_before(const Segments& s, int64_t first, int64_t segment, const M& own, double initial, M* shared) {
  if (threadIdx.x == 0) publish(s, first + segment, own);
  const int64_t group = segment / kGroup;
  const int position = static_cast<int>(segment % kGroup), thread = static_cast<int>(threadIdx.x);
  M before = {1, 0};
  if (position > 0) before = compose_block(thread < position ? wait_for<M>(s, first + group * kGroup + thread) : M{1, 0}, shared);
  if (thread == 0 && position == kGroup - 1) publish(s, first + s.segments + group, own.after(before));
  double state = initial;
  for (int64_t start = 0; start < group; start += kGroup) {
    __syncthreads();
    state = compose_block(start + thread < group ? wait_for<M>(s, first + s.segments + start + thread) : M{1, 0}, shared).apply(state);
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

// A block's place among the segments: by its ticket where it waits for others, so that whatever the order in which blocks start, those of the segments before
// its own are running or done. CUDA promises no such order for the numbers of blocks.
template <bool alone>
__device__ __forceinline__ unsigned place_of_block(const Signals& signals) {
  if constexpr (alone) return blockIdx.x;
  __shared__ unsigned ticket;
  if (threadIdx.x == 0) ticket = atomicAdd(signals.counter, 1u) - signals.counted;
  __syncthreads();
  return ticket;
}

// A block a segment of kChunks·4·kSegmentThreads elements, which is a whole row where it is `alone`.
template <class F, int kChunks, bool alone>
__global__ void __launch_bounds__(kSegmentThreads, kSegmentBlocks<F>) scan_segments(const __grid_constant__ F f, const __grid_constant__ Fours fours,
                                                                                  const __grid_constant__ Segments s) {
  using M = MapOf<F>;
  __shared__ double shared_maps[2][kSegmentWarps][2];
  __shared__ typename F::Type shared_values[kSegmentWarps];
  __shared__ bool shared_seen[kSegmentWarps];
  const unsigned place = place_of_block<alone>(s.signals);
  const int64_t row = place / s.segments, segment = place - row * s.segments, count = fours.count(row);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t slots = s.segments + s.groups, first_slot = row * slots, start = (segment * kSegmentWarps + warp) * kChunks * 32;
  M* const exchange = reinterpret_cast<M*>(shared_maps[0]);
  M* const warps = reinterpret_cast<M*>(shared_maps[1]);

  typename F::Chunk chunks[kChunks];
  Four at[kChunks];
  load_chunks<32>(f, fours, row, start, count, lane, chunks, at);
  prepare_chunks(f, chunks, at);
  typename F::Type first_next = 0;
  if constexpr (F::kNext) {
    // The values first: those of a segment without a valid step pass through it, which is an affine map too.
    share_last_values(f, chunks, shared_values, shared_seen);
    M whole = {1, 0};
    for (int w = 0; w < kSegmentWarps; ++w) {
      if (shared_seen[w]) whole = {0, static_cast<double>(shared_values[w])};
    }
    first_next = f.initial_next(row);
    if constexpr (!alone) {
      const double given = state_before(s, fours.rows * slots + first_slot, segment, whole, static_cast<double>(first_next), exchange);
      first_next = static_cast<typename F::Type>(given);
    }
    for (int w = 0; w < warp; ++w) first_next = shared_seen[w] ? shared_values[w] : first_next;
    typename F::Type next = first_next;
#pragma unroll
    for (int k = 0; k < kChunks; ++k) team_next<32>(f, chunks[k], lane, next);
  }

  const double power = power_before(f, lane);
  M before[kChunks];
  const M all = scan_warp(f, chunks, lane, power, before);
  if (lane == 0) warps[warp] = all;
  __syncthreads();
  M earlier = {1, 0}, whole = {1, 0};
  for (int w = 0; w < kSegmentWarps; ++w) {
    if (w == warp) earlier = whole;
    whole = warps[w].after(whole);
  }
  double state = f.initial(row);
  if constexpr (!alone) {
    state = state_before(s, first_slot, segment, whole, state, exchange);
    load_chunks<32>(f, fours, row, start, count, lane, chunks, at);
    prepare_chunks(f, chunks, at);
    if constexpr (F::kNext) {
#pragma unroll
      for (int k = 0; k < kChunks; ++k) team_next<32>(f, chunks[k], lane, first_next);
    }
  }
  state = earlier.apply(state);
  MomentSums sums;
  finish_chunks(f, chunks, at, before, state, sums);
  if constexpr (F::kMoments) {
    if (f.moments.data) segment_moments(s, row, segment, sums, f.moments);
  }
}

template <int kChunks>
int64_t segments_of(const Fours& fours) {
  return std::max<int64_t>(1, ceil_div(fours.most(), int64_t{kChunks} * kSegmentThreads));
}

template <int kChunks, bool alone, class F>
void launch_segments(const char* what, const F& f, const Fours& fours) {
  const int64_t segments = alone ? 1 : segments_of<kChunks>(fours), groups = segments / kGroup;
  const int64_t slots = alone ? 0 : fours.rows * (segments + groups) * (F::kNext ? 2 : 1), partials = F::kMoments && !alone ? fours.rows * segments : 0;
  const Temporary memory(what, static_cast<size_t>(24 * partials));
  const int64_t blocks = fours.rows * segments;
  const Segments s = {segments, groups, signals(0, fours.rows, alone ? 0 : blocks, slots), memory.as<double>()};
  try {
    launch(what, scan_segments<F, kChunks, alone>, dim3(static_cast<unsigned>(blocks)), kSegmentThreads, 0, f, fours, s);
  } catch (...) {
    reset_signals();
    throw;
  }
}

// Runs the recurrence over all rows.
template <class F>
void scan_rows(const char* what, const F& f, const Fours& fours) {
  if (fours.rows == 0) return;
  // Fewer warps than this on each multiprocessor leave memory idle: then several share a row, if it is long.
  constexpr int64_t kWarps = 16, kLong = 256;
  constexpr bool wide = sizeof(typename F::Type) == 8 || F::kNext;  // more registers
  const int64_t processors = device().multiprocessors;
  if (fours.time <= kLong || fours.rows >= kWarps * processors) return scan_in_teams(what, f, fours);
  // A block alone with its row waits for nobody.
  if (segments_of<1>(fours) == 1) return launch_segments<1, true>(what, f, fours);
  if (segments_of<2>(fours) == 1) return launch_segments<2, true>(what, f, fours);
  if constexpr (!wide) {
    if (segments_of<4>(fours) == 1 && fours.rows >= processors) return launch_segments<4, true>(what, f, fours);
  }
  if constexpr (sizeof(typename F::Type) == 4) {  // float64 is not worth the code
    if (scan_in_blocks(what, f, fours)) return;
  }
  if constexpr (!wide) {
    // Work that all multiprocessors hold together is spread over as many blocks as they hold.
    if (fours.rows * segments_of<2>(fours) > kSegmentBlocks<F> * processors) return launch_segments<4, false>(what, f, fours);
  }
  launch_segments<2, false>(what, f, fours);
}

}  // namespace vantage::cuda
