// Batched matrix product: the output is cut into tiles (and a long sum into parts) by shape alone, each multiplied by gemm.h.
#include "../core/kernels.h"
#include "gemm.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

struct Product {
  TensorView a, b, out;
  int batch_dims;
  int64_t batches, M, N, K;
};

int64_t batch_offset(const TensorView& view, int batch_dims, int64_t index) {
  int64_t offset = 0;
  for (int d = batch_dims - 1; d >= 0; --d) {
    offset += index % view.shape[d] * view.strides[d];
    index /= view.shape[d];
  }
  return offset;
}

Matrix matrix_at(const TensorView& view, int batch_dims, int64_t batch, int64_t i, int64_t j) {
  const int64_t row = view.strides[batch_dims], col = view.strides[batch_dims + 1];
  const int64_t offset = batch_offset(view, batch_dims, batch) + i * row + j * col;
  return {static_cast<const char*>(view.data) + offset * static_cast<int64_t>(byte_size(view.dtype)), view.dtype, row, col};
}

void swap_last_dims(TensorView& view) {
  const int row = view.ndim - 2, col = view.ndim - 1;
  const int64_t shape = view.shape[row], stride = view.strides[row];
  view.shape[row] = view.shape[col], view.shape[col] = shape;
  view.strides[row] = view.strides[col], view.strides[col] = stride;
}

// Dimensions `dim` and dim+1 become one, where the strides allow it.
bool can_merge(const TensorView& view, int dim) { return view.strides[dim] == view.shape[dim + 1] * view.strides[dim + 1]; }

void drop(TensorView& view, int dim) {
  for (int d = dim; d + 1 < smaller(view.ndim, kMaxDims); ++d) view.shape[d] = view.shape[d + 1], view.strides[d] = view.strides[d + 1];
  --view.ndim;
}

void merge(TensorView& view, int dim) {
  view.shape[dim + 1] *= view.shape[dim];
  drop(view, dim);
}

// The last batch dimension of a matrix b that is broadcast along it is more rows of a.
void fold_batch_into_rows(Product& p) {
  while (p.batch_dims > 0 && p.b.strides[p.batch_dims - 1] == 0 && can_merge(p.a, p.batch_dims - 1) && can_merge(p.out, p.batch_dims - 1)) {
    --p.batch_dims;
    merge(p.a, p.batch_dims);
    merge(p.out, p.batch_dims);
    drop(p.b, p.batch_dims);
  }
}

// Writes the product of a[rows, depth] and b[depth, cols] to a tile of out, whatever the strides and the dtype of out.
template <class T>
void multiply_into(const Product& p, int64_t batch, int64_t i, int64_t rows, int64_t j, int64_t cols) {
  const Matrix a = matrix_at(p.a, p.batch_dims, batch, i, 0), b = matrix_at(p.b, p.batch_dims, batch, 0, j);
  const Matrix out = matrix_at(p.out, p.batch_dims, batch, i, j);
  if (out.dtype == dtype_of<T>() && (out.col == 1 || cols == 1)) {
    gemm<T>(rows, cols, p.K, a, b, out.writable<T>(0, 0), out.row, false);
    return;
  }
  T* tile = scratch<T>(Scratch::tile, rows * cols);
  gemm<T>(rows, cols, p.K, a, b, tile, cols, false);
  TensorView target = p.out;
  target.data = const_cast<void*>(out.data);
  for (int64_t r = 0; r < rows; ++r) write_row(tile + r * cols, cols, target, r * out.row, out.col);
}

// One small output with a long sum: parts of the sum run in parallel and are added in order.
template <class T>
void multiply_in_parts(const Product& p, int64_t parts) {
  const int64_t size = p.M * p.N, depth = ceil_div(p.K, parts);
  T* sums = scratch<T>(Scratch::partials, parts * size * p.batches);
  parallel_for(p.batches * parts, p.batches * size * p.K / 8, [&](int64_t task) {
    const int64_t batch = task / parts, k0 = task % parts * depth;
    const Matrix a = matrix_at(p.a, p.batch_dims, batch, 0, k0), b = matrix_at(p.b, p.batch_dims, batch, k0, 0);
    gemm<T>(p.M, p.N, larger<int64_t>(0, smaller(depth, p.K - k0)), a, b, sums + task * size, p.N, false);
  });
  for (int64_t batch = 0; batch < p.batches; ++batch) {
    T* total = sums + batch * parts * size;
    for (int64_t part = 1; part < parts; ++part) {
      const T* term = total + part * size;
      for (int64_t i = 0; i < size; ++i) total[i] += term[i];
    }
    TensorView target = p.out;
    const Matrix out = matrix_at(p.out, p.batch_dims, batch, 0, 0);
    target.data = const_cast<void*>(out.data);
    for (int64_t i = 0; i < p.M; ++i) write_row(total + i * p.N, p.N, target, i * out.row, out.col);
  }
}

template <class T>
void multiply(const Product& p) {
  // Few tiles would leave cores idle: narrower ones then, and below that parts of the sum.
  int64_t tile_cols = kBlockCols<T>;
  const int64_t tall = ceil_div(p.M, kBlockRows);
  if (p.batches * tall * ceil_div(p.N, tile_cols) < 4) tile_cols = larger<int64_t>(kTileCols<T>, kBlockCols<T> / 2);
  if (p.batches * tall * ceil_div(p.N, tile_cols) < 2 && p.K >= 2 * kBlockDepth) {
    multiply_in_parts<T>(p, smaller<int64_t>(8, p.K / kBlockDepth));
    return;
  }
  const int64_t wide = ceil_div(p.N, tile_cols);
  const int64_t rows = ceil_div(ceil_div(p.M, tall), kTileRows) * kTileRows;
  const int64_t cols = ceil_div(ceil_div(p.N, wide), kTileCols<T>) * kTileCols<T>;
  const int64_t tiles = p.batches * tall * wide, work = p.M * p.N * (p.K + 1);
  // Matrices that are tiny are multiplied several in one task.
  const int64_t group = tall * wide == 1 ? larger<int64_t>(1, 65536 / (work + 1)) : 1;
  parallel_for(ceil_div(tiles, group), p.batches * work / 8, [&](int64_t task) {
    for (int64_t tile = task * group; tile < smaller(tiles, (task + 1) * group); ++tile) {
      const int64_t batch = tile / (tall * wide), i = tile / wide % tall * rows, j = tile % wide * cols;
      if (i < p.M && j < p.N) multiply_into<T>(p, batch, i, smaller(rows, p.M - i), j, smaller(cols, p.N - j));
    }
  });
}

}  // namespace

void matmul(const KernelCall& call) {
  Product p{call.views[0], call.views[1], call.views[2], 0, 1, 0, 0, 0};
  p.batch_dims = p.a.ndim - 2;
  p.M = p.a.shape[p.batch_dims], p.K = p.a.shape[p.batch_dims + 1], p.N = p.b.shape[p.batch_dims + 1];

  // A transposed output is the product of the transposes, in the other order.
  if (p.out.strides[p.batch_dims + 1] != 1 && p.out.strides[p.batch_dims] == 1) {
    const TensorView a = p.a;
    p.a = p.b, p.b = a;
    swap_last_dims(p.a), swap_last_dims(p.b), swap_last_dims(p.out);
  }
  fold_batch_into_rows(p);
  p.M = p.a.shape[p.batch_dims], p.N = p.b.shape[p.batch_dims + 1];
  for (int d = 0; d < p.batch_dims; ++d) p.batches *= p.a.shape[d];
  if (p.batches == 0 || p.M == 0 || p.N == 0) return;

  const bool wide = p.a.dtype == DType::f64 || p.b.dtype == DType::f64 || p.out.dtype == DType::f64;
  wide ? multiply<double>(p) : multiply<float>(p);
}

}  // namespace vantage::cpu::VANTAGE_ISA
