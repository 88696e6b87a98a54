// Long rows, as many as keep all multiprocessors busy: a block goes along each, its warps side by side. What comes next is asked for before the present chunks
// are composed, so that memory works meanwhile; nothing is read twice, and no block waits for another.
#pragma once
#include "scan.h"

namespace vantage::cuda {

// What the warps of a block tell each other, by turns: one may be ahead of the others by as much as lies between two barriers.
template <class F, int kWarps>
struct Exchange {
  double maps[2][kWarps][2];
  typename F::Type values[2][kWarps];
  bool seen[2][kWarps];
};

// With more registers a block has more in flight by itself.
template <class F>
constexpr bool kWideSteps = sizeof(typename F::Type) == 8 || F::kNext;
template <class F>
constexpr int kBlockChunks = kWideSteps<F> ? 1 : 2;
template <class F, int kThreads>
constexpr int kRowBlocks = kThreads > 128 ? 1 : kWideSteps<F> ? 4 : 5;

template <class F, int kThreads>
__global__ void __launch_bounds__(kThreads, kRowBlocks<F, kThreads>) scan_blocks(const __grid_constant__ F f, const __grid_constant__ Fours fours) {
  using M = MapOf<F>;
  constexpr int kWarps = kThreads / 32, kChunks = kBlockChunks<F>, kAll = kThreads * kChunks;
  __shared__ Exchange<F, kWarps> exchange;
  __shared__ double shared_moments[kWarps][3];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row = blockIdx.x, count = fours.count(row), mine = int64_t{warp} * kChunks * 32;
  const double power = power_before(f, lane);
  double state = f.initial(row);
  typename F::Type next = 0;
  if constexpr (F::kNext) next = f.initial_next(row);
  MomentSums sums;
  typename F::Chunk coming[kChunks];
  Four places[kChunks];
  load_chunks<32>(f, fours, row, mine, count, lane, coming, places);
  int turn = 0;
  for (int64_t start = 0; start < count; start += kAll, turn ^= 1) {
    typename F::Chunk chunks[kChunks];
    Four at[kChunks];
#pragma unroll
    for (int k = 0; k < kChunks; ++k) chunks[k] = coming[k], at[k] = places[k];
    if (start + kAll < count) load_chunks<32>(f, fours, row, start + kAll + mine, count, lane, coming, places);

    if constexpr (F::kNext) {
      typename F::Type* const values = exchange.values[turn];
      bool* const seen = exchange.seen[turn];
      share_last_values(f, chunks, values, seen);
      typename F::Type given = next;
      for (int w = 0; w < kWarps; ++w) {
        if (w == warp) given = next;
        if (seen[w]) next = values[w];
      }
#pragma unroll
      for (int k = 0; k < kChunks; ++k) team_next<32>(f, chunks[k], lane, given);
    }
    M before[kChunks], all = {1, 0};  // before[k]: of the warp's elements before this lane's chunk k
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      M team;
      scan_chunks<32>(f, chunks[k], lane, power, before[k], team);
      before[k] = before[k].after(all);
      all = team.after(all);
    }
    M* const warps = reinterpret_cast<M*>(exchange.maps[turn]);
    if (lane == 0) warps[warp] = all;
    __syncthreads();
    double enters = state;
    for (int w = 0; w < kWarps; ++w) {
      if (w == warp) enters = state;
      state = warps[w].apply(state);
    }
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      finish_chunk(f, chunks[k], before[k].apply(enters), sums);
      f.store(chunks[k], at[k]);
    }
  }
  if constexpr (F::kMoments) {
    if (!f.moments.data) return;
    const Moments m = block_moments<kThreads>(sums.result(), shared_moments);
    if (threadIdx.x == 0) write_moments(f.moments, row, m);
  }
}

template <int kThreads, class F>
void scan_in_blocks(const char* what, const F& f, const Fours& fours) {
  launch(what, scan_blocks<F, kThreads>, dim3(static_cast<unsigned>(fours.rows)), kThreads, 0, f, fours);
}

}  // namespace vantage::cuda
