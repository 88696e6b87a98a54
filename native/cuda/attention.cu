// Causal attention without the matrix of scores: a tile of queries walks over tiles of keys with a running maximum and sum
// (Dao, "FlashAttention-2", 2023).
#include "attention.h"

#include <algorithm>

namespace vantage::cuda {
namespace {

template <class T>
struct Attention {
  AttentionShape shape;
  Heads<const T> q, k, v;
  Column<const int32_t> key_start;
  Heads<T> out, lse;
};

// A block a tile of queries of one head, and kCols columns of their results (blockIdx.y).
template <class T, int kCols>
__global__ void __launch_bounds__(kAttentionThreads) attend(const Attention<T> a) {
  __shared__ TileMemory<T> tile_q, tile_k, scores;
  __shared__ T values[kTile][kCols];
  __shared__ T row_max[kTile], row_sum[kTile], row_factor[kTile];
  const AttentionShape& s = a.shape;
  const int64_t tiles = ceil_div(s.Tq, kTile), i0 = blockIdx.x % tiles * kTile, head = blockIdx.x / tiles, b = head / s.H, h = head % s.H;
  const int64_t hk = h * s.Hk / s.H, d0 = int64_t{blockIdx.y} * kCols;
  const Rows<const T> q = a.q.of(b, h), k = a.k.of(b, hk), v = a.v.of(b, hk);
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  const T low = static_cast<T>(-__builtin_inf()), scale = static_cast<T>(s.scale);
  if (threadIdx.x < kTile) row_max[threadIdx.x] = low, row_sum[threadIdx.x] = 0;
  T sums[kEach][kCols / kSide] = {};
  const int64_t start = key_start_of(a.key_start, b), last = i0 + kTile < s.Tq ? i0 + kTile : s.Tq, stop = s.key_stop(last - 1);
  for (int64_t j0 = start; j0 < stop; j0 += kTile) {
    T products[kEach][kEach];
    dots(products, q, i0, s.Tq, k, j0, s.Tk, s.D, tile_q, tile_k);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const int64_t row = ty + i * kSide, col = tx + j * kSide;
        scores[row][col] = j0 + col < s.key_stop(i0 + row) ? products[i][j] * scale : low;
      }
    }
    __syncthreads();
    // Eight lanes a row, four scores each.
    constexpr int kLanes = kAttentionThreads / kTile, kScores = kTile / kLanes;
    const int row = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    T mine[kScores], high = low;
#pragma unroll
    for (int j = 0; j < kScores; ++j) mine[j] = scores[row][lane + j * kLanes], high = math::maximum(high, mine[j]);
#pragma unroll
    for (int d = kLanes / 2; d > 0; d /= 2) high = math::maximum(high, __shfl_xor_sync(kAllLanes, high, d));
    const T before = row_max[row], max = math::maximum(before, high), offset = max == low ? T(0) : max;
    T sum = 0;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      mine[j] = mine[j] == low ? T(0) : math::exp(mine[j] - offset);
      sum += mine[j];
      scores[row][lane + j * kLanes] = mine[j];
    }
#pragma unroll
    for (int d = kLanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(kAllLanes, sum, d);
    if (lane == 0) {
      const T factor = before == low ? T(0) : math::exp(before - offset);
      row_factor[row] = factor;
      row_sum[row] = (before == low ? T(0) : row_sum[row] * factor) + sum;
      row_max[row] = max;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int c = 0; c < kCols / kSide; ++c) sums[i][c] = row_factor[ty + i * kSide] == 0 ? T(0) : sums[i][c] * row_factor[ty + i * kSide];
    }
    add_weighted<T, kCols>(sums, scores, v, j0, s.Tk, d0, s.D, values);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const T sum = row_sum[ty + i * kSide];
#pragma unroll
    for (int c = 0; c < kCols / kSide; ++c) sums[i][c] = sum == 0 ? T(0) : sums[i][c] / sum;
  }
  write_tile<T, kCols>(a.out.of(b, h), sums, i0, s.Tq, d0, s.D);
  if (threadIdx.x < kTile && i0 + threadIdx.x < s.Tq && blockIdx.y == 0) {
    const T sum = row_sum[threadIdx.x];
    a.lse.of(b, h).at(i0 + threadIdx.x, 0) = sum == 0 ? low : row_max[threadIdx.x] + math::log(sum);
  }
}

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const Attention<T> a = {attention_shape(call), heads_of<const T>(v[0]), heads_of<const T>(v[1]), heads_of<const T>(v[2]), column<const int32_t>(v[3]),
                          heads_of<T>(v[4]), row_values_of<T>(v[5])};
  const int64_t blocks = ceil_div(a.shape.Tq, kTile) * a.shape.B * a.shape.H;
  with_columns<T>(a.shape.D, [&](auto columns) {
    constexpr int kCols = columns;
    launch("attention", attend<T, kCols>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(std::max<int64_t>(1, ceil_div(a.shape.D, kCols)))),
           kAttentionThreads, 0, a);
  });
}

}  // namespace

void attention(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
