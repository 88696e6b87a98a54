// Long rows that keep all multiprocessors busy: a block goes along each, its warps side by side, or a cluster of blocks where rows are few. What comes next is asked
// for before the present chunks are composed, so that memory works meanwhile; nothing is read twice.
#pragma once
#include <atomic>
#include <limits>

#include "cluster.h"
#include "scan.h"

namespace vantage::cuda {

constexpr int kMostBlocks = 8;  // of a cluster

// What the warps of a block and the blocks of a cluster tell each other, by turns: one may be ahead of the others by as much as lies between two barriers.
template <class F, int kWarps>
struct Board {
  double maps[2][kWarps][2], block_maps[2][kMostBlocks][2];
  double warp_moments[kWarps][3], block_moments[kMostBlocks][3];
  typename F::Type values[2][kWarps], block_values[2][kMostBlocks];
  bool seen[2][kWarps], block_seen[2][kMostBlocks];
};

// Steps that take more registers have more in flight by themselves.
template <class F>
constexpr int kBlockChunks = F::kNext ? 1 : 2;
template <class F, int kThreads>
constexpr int kRowBlocks = kThreads > 128 ? 1 : F::kNext ? 4 : 5;

// `size` blocks a row; 1 where they are no cluster.
template <class F, int kThreads, bool kCluster>
__global__ void __launch_bounds__(kThreads, kRowBlocks<F, kThreads>) scan_blocks(const __grid_constant__ F f, const __grid_constant__ Fours fours, unsigned size) {
  using M = MapOf<F>;
  constexpr int kWarps = kThreads / 32, kChunks = kBlockChunks<F>, kAll = kThreads * kChunks;
  Board<F, kWarps>& board = *reinterpret_cast<Board<F, kWarps>*>(dynamic_shared());
  const unsigned thread = threadIdx.x, rank = kCluster ? cluster_rank() : 0, blocks = kCluster ? size : 1;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row = blockIdx.x / blocks, count = fours.count(row), step = int64_t{kAll} * blocks, mine = int64_t{rank} * kAll + warp * kChunks * 32;
  const double power = power_before(f, lane);
  double state = f.initial(row);
  typename F::Type next = 0;
  if constexpr (F::kNext) next = f.initial_next(row);
  MomentSums sums;
  typename F::Chunk coming[kChunks];
  Four places[kChunks];
  load_chunks<32>(f, fours, row, mine, count, lane, coming, places);
  if constexpr (kCluster) cluster_barrier();  // the others' memory is there
  int turn = 0;
  for (int64_t start = 0; start < count; start += step, turn ^= 1) {
    typename F::Chunk chunks[kChunks];
    Four at[kChunks];
#pragma unroll
    for (int k = 0; k < kChunks; ++k) chunks[k] = coming[k], at[k] = places[k];
    if (start + step < count) load_chunks<32>(f, fours, row, start + step + mine, count, lane, coming, places);
    prepare_chunks(f, chunks, at);

    if constexpr (F::kNext) {
      const typename F::Type* const values = board.values[turn];
      const bool* const seen = board.seen[turn];
      share_last_values(f, chunks, board.values[turn], board.seen[turn]);
      if constexpr (kCluster) {
        typename F::Type last = 0;
        bool any = false;
        for (int w = 0; w < kWarps; ++w) {
          if (seen[w]) last = values[w], any = true;
        }
        if (thread < size) *in_block(&board.block_values[turn][rank], thread) = last, *in_block(&board.block_seen[turn][rank], thread) = any;
        cluster_barrier();
      }
      typename F::Type given = next;
      for (unsigned b = 0; b < blocks; ++b) {
        if (b == rank) {
          given = next;
          for (int w = 0; w < warp; ++w) given = seen[w] ? values[w] : given;
        }
        if constexpr (kCluster) next = board.block_seen[turn][b] ? board.block_values[turn][b] : next;
        else for (int w = 0; w < kWarps; ++w) next = seen[w] ? values[w] : next;
      }
#pragma unroll
      for (int k = 0; k < kChunks; ++k) team_next<32>(f, chunks[k], lane, given);
    }

    M before[kChunks];
    const M all = scan_warp(f, chunks, lane, power, before);
    M* const warps = reinterpret_cast<M*>(board.maps[turn]);
    if (lane == 0) warps[warp] = all;
    __syncthreads();
    if constexpr (kCluster) {
      M whole = warps[0];
      for (int w = 1; w < kWarps; ++w) whole = warps[w].after(whole);
      M* const maps = reinterpret_cast<M*>(board.block_maps[turn]);
      if (thread < size) *in_block(maps + rank, thread) = whole;
      cluster_barrier();
      double enters = state;
      for (unsigned b = 0; b < size; ++b) {
        if (b == rank) enters = state;
        state = maps[b].apply(state);
      }
      for (int w = 0; w < warp; ++w) enters = warps[w].apply(enters);
      finish_chunks(f, chunks, at, before, enters, sums);
    } else {
      double enters = state;
      for (int w = 0; w < kWarps; ++w) {
        if (w == warp) enters = state;
        state = warps[w].apply(state);
      }
      finish_chunks(f, chunks, at, before, enters, sums);
    }
  }
  if constexpr (F::kMoments) {
    if (!f.moments.data) return;
    Moments m = block_moments<kThreads>(sums.result(), board.warp_moments);
    if constexpr (kCluster) {
      double* const to = *in_block(&board.block_moments[rank], 0);
      if (thread == 0) to[0] = m.count, to[1] = m.mean, to[2] = m.spread;
      cluster_barrier();
      for (unsigned b = 1; rank == 0 && thread == 0 && b < size; ++b) {
        const double* const from = board.block_moments[b];
        Moments other;
        other.count = from[0], other.mean = from[1], other.spread = from[2];
        combine(m, other);
      }
    }
    if (rank == 0 && thread == 0) write_moments(f.moments, row, m);
  }
}

// Rows go by kThreads threads of `size` blocks each.
template <class F, int kThreads, bool kCluster>
struct ByBlocks {
  static constexpr auto kernel = scan_blocks<F, kThreads, kCluster>;
  static constexpr size_t kShared = sizeof(Board<F, kThreads / 32>);

  // How many rows are on their way at a time; 0 where the device has no such clusters. The driver is asked once.
  static int64_t rows_at_once(const char* what, unsigned size) {
    static std::atomic<int> known[kMostBlocks + 1];  // one more than that
    if (known[size] == 0) known[size] = 1 + resident_clusters(what, kernel, size, kThreads, kShared);
    return known[size] - 1;
  }
  // One behind the other: fours of a row for each thread, and the rows that wait for others to end.
  static double steps(const char* what, const Fours& fours, unsigned size) {
    const int64_t at_once = rows_at_once(what, size);
    if (at_once == 0) return std::numeric_limits<double>::infinity();
    return static_cast<double>(ceil_div(fours.rows, at_once)) / (kThreads * size);
  }
  static void run(const char* what, const F& f, const Fours& fours, unsigned size) {
    launch_clusters(what, kernel, size, dim3(static_cast<unsigned>(fours.rows) * size), kThreads, kShared, f, fours, size);
  }
};

// By the way with the fewest steps, of equal ones that with the fewest threads a row, which have least to tell each other. False where rows are too few to keep
// memory busy, or too short.
template <class F>
bool scan_in_blocks(const char* what, const F& f, const Fours& fours) {
  using Few = ByBlocks<F, 128, false>;
  using Many = ByBlocks<F, 512, false>;
  using Cluster = ByBlocks<F, 512, true>;
  const int64_t busy = device().multiprocessors / 2;
  constexpr int64_t kFours = 512 * kBlockChunks<F> * 2;  // with fewer for each block, what is asked for ahead is nothing
  double steps = std::numeric_limits<double>::infinity();
  unsigned size = 0;
  bool few = false;
  if (fours.rows >= 4 * device().multiprocessors) steps = Few::steps(what, fours, 1), size = 1, few = true;
  if (fours.rows >= busy && Many::steps(what, fours, 1) < steps) steps = Many::steps(what, fours, 1), size = 1, few = false;
  for (unsigned blocks = 2; blocks <= kMostBlocks && fours.rows < device().multiprocessors; blocks *= 2) {
    if (fours.rows * blocks < busy || fours.most() < kFours * blocks || Cluster::steps(what, fours, blocks) >= steps) continue;
    steps = Cluster::steps(what, fours, blocks), size = blocks, few = false;
  }
  if (size == 0) return false;
  if (few) Few::run(what, f, fours, 1);
  else if (size == 1) Many::run(what, f, fours, 1);
  else Cluster::run(what, f, fours, size);
  return true;
}

}  // namespace vantage::cuda
