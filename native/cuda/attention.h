// What the attention kernel and its gradient share: the arguments, and products of tiles of 32 rows.
#pragma once
#include <type_traits>

#include "../core/kernel_arguments.h"
#include "device.h"

namespace vantage::cuda {

constexpr int kTile = 32;      // queries and keys of a tile
constexpr int kSide = 16, kAttentionThreads = kSide * kSide;
constexpr int kEach = kTile / kSide;  // a thread's rows, and columns, of a tile: kSide apart

struct AttentionShape {
  int64_t B, H, Hk, Tq, Tk, D, query_offset;
  double scale;

  // The keys [key_start, key_stop) that a query sees.
  __device__ __forceinline__ int64_t key_stop(int64_t query) const {
    const int64_t stop = query_offset + query + 1;
    return stop < 0 ? 0 : stop < Tk ? stop : Tk;
  }
};

inline AttentionShape attention_shape(const KernelCall& call) {
  const TensorView &q = call.views[0], &k = call.views[1];
  return {q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2], q.shape[3], static_cast<int64_t>(call.scalars[1]), call.scalars[0]};
}

// A [B,H,T,D] array, and the [T,D] matrix of one head of it.
template <class T>
struct Heads {
  T* data;
  int64_t batch, head, row, step;

  __device__ __forceinline__ Rows<T> of(int64_t b, int64_t h) const { return {data + b * batch + h * head, row, step}; }
};
template <class T>
Heads<T> heads_of(const TensorView& view) {
  return {view.as<T>(), view.strides[0], view.strides[1], view.strides[2], view.strides[3]};
}
// A [B,H,T] array.
template <class T>
Heads<T> row_values_of(const TensorView& view) {
  return {view.as<T>(), view.strides[0], view.strides[1], view.strides[2], 0};
}

__device__ __forceinline__ int64_t key_start_of(const Column<const int32_t>& starts, int64_t b) { return starts[b] < 0 ? 0 : starts[b]; }

template <class T>
using TileMemory = T[kTile][kTile + 1];

// The products of rows a0.. of a and b0.. of b; rows from `a_rows` and `b_rows` on are 0. A barrier is passed last.
template <class T>
__device__ __forceinline__ void dots(T (&sums)[kEach][kEach], const Rows<const T>& a, int64_t a0, int64_t a_rows, const Rows<const T>& b, int64_t b0,
                                     int64_t b_rows, int64_t D, TileMemory<T>& tile_a, TileMemory<T>& tile_b) {
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) sums[i][j] = 0;
  }
  for (int64_t d0 = 0; d0 < D; d0 += kTile) {
#pragma unroll
    for (int e = threadIdx.x; e < kTile * kTile; e += kAttentionThreads) {
      const int row = e / kTile, col = e % kTile;
      tile_a[row][col] = a0 + row < a_rows && d0 + col < D ? a.at(a0 + row, d0 + col) : T(0);
      tile_b[row][col] = b0 + row < b_rows && d0 + col < D ? b.at(b0 + row, d0 + col) : T(0);
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kTile; ++d) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] = fma(tile_a[ty + i * kSide][d], tile_b[tx + j * kSide][d], sums[i][j]);
      }
    }
    __syncthreads();
  }
}

// Adds weights[32][32]·m[m0..m0+32, d0..d0+kCols] to the thread's rows and columns of a sum. A weight of 0 keeps what is not finite out of the sum. The weights
// are complete before; a barrier is passed last.
template <class T, int kCols>
__device__ __forceinline__ void add_weighted(T (&sums)[kEach][kCols / kSide], const TileMemory<T>& weights, const Rows<const T>& m, int64_t m0, int64_t rows,
                                             int64_t d0, int64_t D, T (&tile)[kTile][kCols]) {
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  for (int e = threadIdx.x; e < kTile * kCols; e += kAttentionThreads) {
    const int row = e / kCols, col = e % kCols;
    tile[row][col] = m0 + row < rows && d0 + col < D ? m.at(m0 + row, d0 + col) : T(0);
  }
  __syncthreads();
#pragma unroll 4
  for (int k = 0; k < kTile; ++k) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const T weight = weights[ty + i * kSide][k];
      if (weight == 0) continue;
#pragma unroll
      for (int c = 0; c < kCols / kSide; ++c) sums[i][c] = fma(weight, tile[k][tx + c * kSide], sums[i][c]);
    }
  }
  __syncthreads();
}

// Writes the thread's rows and columns of a tile.
template <class T, int kCols>
__device__ __forceinline__ void write_tile(const Rows<T>& to, const T (&sums)[kEach][kCols / kSide], int64_t row0, int64_t rows, int64_t d0, int64_t D) {
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int c = 0; c < kCols / kSide; ++c) {
      const int64_t row = row0 + ty + i * kSide, d = d0 + tx + c * kSide;
      if (row < rows && d < D) to.at(row, d) = sums[i][c];
    }
  }
}

// Columns of a result that a block has in registers, and of a tile in shared memory; wider heads are cut among blocks. Calls body with a constant.
template <class T, class Body>
void with_columns(int64_t D, const Body& body) {
  if constexpr (sizeof(T) == 4) {
    if (D > 64) return body(std::integral_constant<int, 128>());
    if (D > 32) return body(std::integral_constant<int, 64>());
  }
  body(std::integral_constant<int, 32>());
}

}  // namespace vantage::cuda
