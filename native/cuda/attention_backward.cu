// The gradient of attention: the probabilities are computed again from lse (Dao, "FlashAttention-2", 2023).
//   P = exp(scale·q·k - lse)   dV = Pᵀ·dO   dS = scale·P∘(dO·Vᵀ - Σ_d dO∘O)   dQ = dS·K   dK = dSᵀ·Q
// A block has a tile of queries and walks over keys, or a tile of keys and walks over the queries of all heads that read it: each sum has one owner and one order.
#include <algorithm>

#include "allocator.h"
#include "attention.h"

namespace vantage::cuda {
namespace {

template <class T>
struct Gradient {
  AttentionShape shape;
  Heads<const T> q, k, v;
  Column<const int32_t> key_start;
  Heads<const T> out, lse, dout;
  Heads<T> dq, dk, dv;
  T* delta;  // [B,H,Tq], Σ_d dO∘O

  __device__ __forceinline__ T& delta_of(int64_t b, int64_t h, int64_t i) const { return delta[(b * shape.H + h) * shape.Tq + i]; }
};

// A warp a query.
template <class T>
__global__ void __launch_bounds__(kAttentionThreads) find_delta(const Gradient<T> g) {
  const AttentionShape& s = g.shape;
  const int64_t query = (int64_t{blockIdx.x} * kAttentionThreads + threadIdx.x) / 32;
  if (query >= s.B * s.H * s.Tq) return;
  const int64_t b = query / (s.H * s.Tq), h = query / s.Tq % s.H, i = query % s.Tq;
  const Rows<const T> out = g.out.of(b, h), dout = g.dout.of(b, h);
  T sum = 0;
  for (int64_t d = threadIdx.x % 32; d < s.D; d += 32) sum = fma(out.at(i, d), dout.at(i, d), sum);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(kAllLanes, sum, d);
  if (threadIdx.x % 32 == 0) g.delta[query] = sum;
}

// P and dS of a query and a key that it sees; 0 otherwise.
template <class T>
struct Pair {
  T p, ds;
};
template <class T>
__device__ __forceinline__ Pair<T> differentiate(const AttentionShape& s, T product, T dp, T lse, T delta) {
  const T scale = static_cast<T>(s.scale), p = math::exp(product * scale - lse);
  return {p, scale * p * (dp - delta)};
}

template <class T, int kCols>
__global__ void __launch_bounds__(kAttentionThreads) find_dq(const Gradient<T> g) {
  __shared__ TileMemory<T> tile_a, tile_b, weights;
  __shared__ T tile[kTile][kCols];
  const AttentionShape& s = g.shape;
  const int64_t tiles = ceil_div(s.Tq, kTile), i0 = blockIdx.x % tiles * kTile, head = blockIdx.x / tiles, b = head / s.H, h = head % s.H;
  const int64_t hk = h * s.Hk / s.H, d0 = int64_t{blockIdx.y} * kCols;
  const Rows<const T> q = g.q.of(b, h), k = g.k.of(b, hk), v = g.v.of(b, hk), dout = g.dout.of(b, h), lse = g.lse.of(b, h);
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  T sums[kEach][kCols / kSide] = {};
  const int64_t start = key_start_of(g.key_start, b), last = i0 + kTile < s.Tq ? i0 + kTile : s.Tq, stop = s.key_stop(last - 1);
  for (int64_t j0 = start; j0 < stop; j0 += kTile) {
    T products[kEach][kEach], dp[kEach][kEach];
    dots(products, q, i0, s.Tq, k, j0, s.Tk, s.D, tile_a, tile_b);
    dots(dp, dout, i0, s.Tq, v, j0, s.Tk, s.D, tile_a, tile_b);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const int row = ty + i * kSide, col = tx + j * kSide;
        const int64_t query = i0 + row;
        const bool sees = query < s.Tq && j0 + col < s.key_stop(query);
        weights[row][col] = sees ? differentiate(s, products[i][j], dp[i][j], lse.at(query, 0), g.delta_of(b, h, query)).ds : T(0);
      }
    }
    __syncthreads();
    add_weighted<T, kCols>(sums, weights, k, j0, s.Tk, d0, s.D, tile);
  }
  write_tile<T, kCols>(g.dq.of(b, h), sums, i0, s.Tq, d0, s.D);
}

template <class T, int kCols>
__global__ void __launch_bounds__(kAttentionThreads) find_dk_and_dv(const Gradient<T> g) {
  __shared__ TileMemory<T> tile_a, tile_b, weights_p, weights_ds;
  __shared__ T tile[kTile][kCols];
  const AttentionShape& s = g.shape;
  const int64_t tiles = ceil_div(s.Tk, kTile), j0 = blockIdx.x % tiles * kTile, head = blockIdx.x / tiles, b = head / s.Hk, hk = head % s.Hk;
  const int64_t d0 = int64_t{blockIdx.y} * kCols, repeat = s.H / s.Hk;
  const Rows<const T> k = g.k.of(b, hk), v = g.v.of(b, hk);
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  T dk[kEach][kCols / kSide] = {}, dv[kEach][kCols / kSide] = {};
  const int64_t start = key_start_of(g.key_start, b);
  // The first query that sees a key of the tile.
  const int64_t first = j0 - s.query_offset < 0 ? 0 : j0 - s.query_offset;
  for (int64_t h = hk * repeat; h < (hk + 1) * repeat; ++h) {
    const Rows<const T> q = g.q.of(b, h), dout = g.dout.of(b, h), lse = g.lse.of(b, h);
    for (int64_t i0 = first; i0 < s.Tq && j0 + kTile > start; i0 += kTile) {
      T products[kEach][kEach], dp[kEach][kEach];
      dots(products, k, j0, s.Tk, q, i0, s.Tq, s.D, tile_a, tile_b);
      dots(dp, v, j0, s.Tk, dout, i0, s.Tq, s.D, tile_a, tile_b);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const int row = ty + i * kSide, col = tx + j * kSide;
          const int64_t key = j0 + row, query = i0 + col;
          const bool sees = query < s.Tq && key >= start && key < s.key_stop(query);
          Pair<T> pair = {0, 0};
          if (sees) pair = differentiate(s, products[i][j], dp[i][j], lse.at(query, 0), g.delta_of(b, h, query));
          weights_p[row][col] = pair.p, weights_ds[row][col] = pair.ds;
        }
      }
      __syncthreads();
      add_weighted<T, kCols>(dv, weights_p, dout, i0, s.Tq, d0, s.D, tile);
      add_weighted<T, kCols>(dk, weights_ds, q, i0, s.Tq, d0, s.D, tile);
    }
  }
  write_tile<T, kCols>(g.dk.of(b, hk), dk, j0, s.Tk, d0, s.D);
  write_tile<T, kCols>(g.dv.of(b, hk), dv, j0, s.Tk, d0, s.D);
}

template <class T>
void run(const KernelCall& call) {
  const char* const what = "attention_backward";
  const TensorView* v = call.views;
  const AttentionShape s = attention_shape(call);
  const int64_t queries = s.B * s.H * s.Tq;
  const Temporary delta(what, static_cast<size_t>(queries) * sizeof(T));
  const Gradient<T> g = {s, heads_of<const T>(v[0]), heads_of<const T>(v[1]), heads_of<const T>(v[2]), column<const int32_t>(v[3]), heads_of<const T>(v[4]),
                         row_values_of<const T>(v[5]), heads_of<const T>(v[6]), heads_of<T>(v[7]), heads_of<T>(v[8]), heads_of<T>(v[9]), delta.as<T>()};
  launch(what, find_delta<T>, dim3(static_cast<unsigned>(ceil_div(queries * 32, kAttentionThreads))), kAttentionThreads, 0, g);
  with_columns<T>(s.D, [&](auto columns) {
    constexpr int kCols = columns;
    const unsigned slices = static_cast<unsigned>(std::max<int64_t>(1, ceil_div(s.D, kCols)));
    launch(what, find_dq<T, kCols>, dim3(static_cast<unsigned>(ceil_div(s.Tq, kTile) * s.B * s.H), slices), kAttentionThreads, 0, g);
    launch(what, find_dk_and_dv<T, kCols>, dim3(static_cast<unsigned>(ceil_div(s.Tk, kTile) * s.B * s.Hk), slices), kAttentionThreads, 0, g);
  });
}

}  // namespace

void attention_backward(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
