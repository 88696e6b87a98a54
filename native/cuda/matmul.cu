// Batched matrix product: by cuBLAS where it is installed and takes the strides, else by tiles in shared memory.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "blas.h"
#include "positions.h"

namespace vantage::cuda {
namespace {

using Batch = Positions<3>;  // a, b, out: `size` products

struct Product {
  AnyMatrix a, b, out;
  Batch batch;
  int64_t M, N, K;
};

__device__ __forceinline__ AnyMatrix moved(AnyMatrix m, int64_t offset) {
  const int64_t width = m.dtype == DType::f64 ? 8 : m.dtype == DType::bf16 ? 2 : 4;
  m.data = static_cast<char*>(m.data) + offset * width;
  return m;
}

constexpr int kSide = 16, kThreads = kSide * kSide, kDepth = 16;

// Elements of a tile from global memory, `kCount` a thread, the dimension that lies along memory first.
template <class T, int kRows, int kCols, int kCount>
__device__ __forceinline__ void fetch(T (&x)[kCount], const AnyMatrix& m, int64_t row, int64_t col, int64_t rows, int64_t cols, bool by_columns) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int e = static_cast<int>(threadIdx.x) + i * kThreads;
    const int r = by_columns ? e % kRows : e / kCols, c = by_columns ? e / kRows : e % kCols;
    x[i] = row + r < rows && col + c < cols ? m.read<T>(row + r, col + c) : T(0);
  }
}

// A block a tile of kTile·kTile elements of one product; each thread has kTile/16 rows and columns of it, 16 apart, in registers.
template <class T, int kTile>
__global__ void __launch_bounds__(kThreads) multiply(const Product p) {
  constexpr int kEach = kTile / kSide, kLoads = kTile * kDepth / kThreads;
  __shared__ T tile_a[kDepth][kTile + 1];  // the further column keeps the columns in different banks
  __shared__ T tile_b[kDepth][kTile + 1];
  const int64_t tiles = ceil_div(p.N, kTile);
  const int64_t row = blockIdx.x / tiles * kTile, col = blockIdx.x % tiles * kTile;
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  for (int64_t batch = blockIdx.y; batch < p.batch.size; batch += gridDim.y) {
    int64_t offset[3];
    p.batch.offsets(batch, offset);
    const AnyMatrix a = moved(p.a, offset[0]), b = moved(p.b, offset[1]), out = moved(p.out, offset[2]);
    const bool a_columns = a.step != 1, b_columns = b.step != 1;
    T sums[kEach][kEach] = {};
    T next_a[kLoads], next_b[kLoads];
    fetch<T, kTile, kDepth>(next_a, a, row, 0, p.M, p.K, a_columns);
    fetch<T, kDepth, kTile>(next_b, b, 0, col, p.K, p.N, b_columns);
    for (int64_t k = 0; k < p.K; k += kDepth) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int e = static_cast<int>(threadIdx.x) + i * kThreads;
        if (a_columns) tile_a[e / kTile][e % kTile] = next_a[i];
        else tile_a[e % kDepth][e / kDepth] = next_a[i];
        if (b_columns) tile_b[e % kDepth][e / kDepth] = next_b[i];
        else tile_b[e / kTile][e % kTile] = next_b[i];
      }
      __syncthreads();
      // The next tiles are on their way while these are multiplied.
      if (k + kDepth < p.K) {
        fetch<T, kTile, kDepth>(next_a, a, row, k + kDepth, p.M, p.K, a_columns);
        fetch<T, kDepth, kTile>(next_b, b, k + kDepth, col, p.K, p.N, b_columns);
      }
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        T x[kEach], y[kEach];
#pragma unroll
        for (int i = 0; i < kEach; ++i) x[i] = tile_a[d][ty + i * kSide], y[i] = tile_b[d][tx + i * kSide];
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int j = 0; j < kEach; ++j) sums[i][j] = fma(x[i], y[j], sums[i][j]);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const int64_t r = row + ty + i * kSide, c = col + tx + j * kSide;
        if (r < p.M && c < p.N) out.write(r, c, sums[i][j]);
      }
    }
  }
}

template <class T, int kTile>
void launch_tiles(const Product& p) {
  const int64_t tiles = ceil_div(p.M, kTile) * ceil_div(p.N, kTile);
  launch("matmul", multiply<T, kTile>, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(std::min<int64_t>(p.batch.size, 65535))), kThreads, 0, p);
}

template <class T>
void multiply_by_tiles(const Product& p) {
  // Large tiles read less; small ones keep more multiprocessors busy.
  const int64_t large = ceil_div(p.M, 64) * ceil_div(p.N, 64) * p.batch.size;
  if (large >= device().multiprocessors) launch_tiles<T, 64>(p);
  else launch_tiles<T, 32>(p);
}

bool blas_matrix(const AnyMatrix& m, int64_t rows, int64_t cols, int64_t batch, BlasMatrix* result) {
  const bool by_rows = m.step == 1 && m.row >= std::max<int64_t>(1, cols), by_columns = m.row == 1 && m.step >= std::max<int64_t>(1, rows);
  *result = {m.data, by_rows ? m.row : m.step, batch, !by_rows};
  return by_rows || by_columns;
}

// The innermost dimension of the batch is one call.
bool multiply_by_blas(const Product& p) {
  Batch outer = p.batch;
  int64_t count = 1, steps[3] = {};
  if (outer.ndim > 0) {
    const int last = --outer.ndim;
    count = outer.shape[last];
    outer.size /= count;
    for (int v = 0; v < 3; ++v) steps[v] = outer.strides[v][last];
  }
  BlasMatrix a, b, out;
  const bool fits = blas_matrix(p.a, p.M, p.K, steps[0], &a) && blas_matrix(p.b, p.K, p.N, steps[1], &b) && blas_matrix(p.out, p.M, p.N, steps[2], &out) &&
                    !out.transposed && p.a.dtype == p.b.dtype && p.K > 0;
  if (!fits) return false;
  const auto at = [](const AnyMatrix& m, int64_t offset) { return static_cast<char*>(m.data) + offset * static_cast<int64_t>(byte_size(m.dtype)); };
  for (int64_t i = 0; i < outer.size; ++i) {
    int64_t offset[3];
    outer.offsets(i, offset);
    a.data = at(p.a, offset[0]), b.data = at(p.b, offset[1]);
    if (!blas_multiply(p.a.dtype, p.out.dtype, p.M, p.N, p.K, a, b, at(p.out, offset[2]), out.leading, out.batch, count)) return false;
  }
  return true;
}

// The innermost dimension of the batch becomes rows of a, where b is the same along it.
void fold_batch_into_rows(Product& p) {
  Batch& batch = p.batch;
  while (batch.ndim > 0) {
    const int last = batch.ndim - 1;
    if (batch.strides[1][last] != 0 || batch.strides[0][last] != p.M * p.a.row || batch.strides[2][last] != p.M * p.out.row) return;
    p.M *= batch.shape[last];
    batch.size /= batch.shape[last];
    --batch.ndim;
  }
}

}  // namespace

void matmul(const KernelCall& call) {
  check_arguments(call);
  const TensorView &a = call.views[0], &b = call.views[1], &out = call.views[2];
  const int rows = a.ndim - 2, cols = a.ndim - 1;
  const auto matrix = [&](const TensorView& v) { return AnyMatrix{v.data, v.dtype, v.strides[rows], v.strides[cols]}; };
  const auto transposed = [](AnyMatrix m) { return AnyMatrix{m.data, m.dtype, m.step, m.row}; };
  Product p = {matrix(a), matrix(b), matrix(out), {}, a.shape[rows], b.shape[cols], a.shape[cols]};
  if (out.size() == 0) return;
  // A transposed output is the product of the transposes, in the other order.
  const bool turned = p.out.step != 1 && p.out.row == 1;
  if (turned) {
    p = {transposed(p.b), transposed(p.a), transposed(p.out), {}, p.N, p.M, p.K};
  }
  for (int d = 0; d < rows; ++d) p.batch.append(a.shape[d], {(turned ? b : a).strides[d], (turned ? a : b).strides[d], out.strides[d]});
  fold_batch_into_rows(p);
  if (multiply_by_blas(p)) return;
  const bool wide = p.a.dtype == DType::f64 || p.b.dtype == DType::f64 || p.out.dtype == DType::f64;
  wide ? multiply_by_tiles<double>(p) : multiply_by_tiles<float>(p);
}

}  // namespace vantage::cuda
