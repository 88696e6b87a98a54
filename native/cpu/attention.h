// What the attention kernel and its gradient share: the arguments and how the work is cut into blocks.
#pragma once
#include "../core/kernels.h"
#include "gemm.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kQueryBlock = 64;
constexpr int64_t kKeyBlock = 512;

struct AttentionShape {
  int64_t B, H, Hk, Tq, Tk, D, query_offset;
  double scale;
};

// q, k, v and key_start are the first views of both kernels, out and lse the next.
inline AttentionShape attention_shape(const KernelCall& call) {
  const int64_t *q = call.views[0].shape, *k = call.views[1].shape;
  return {q[0], q[1], k[1], q[2], k[2], q[3], static_cast<int64_t>(call.scalars[1]), call.scalars[0]};
}

// The [T, D] matrix of one head.
inline Matrix head_of(const TensorView& view, int64_t b, int64_t h) {
  const int64_t offset = b * view.strides[0] + h * view.strides[1];
  return {static_cast<const char*>(view.data) + offset * static_cast<int64_t>(byte_size(view.dtype)), view.dtype, view.strides[2], view.strides[3]};
}

inline Matrix rows_from(const Matrix& m, int64_t row) {
  return {static_cast<const char*>(m.data) + row * m.row * static_cast<int64_t>(byte_size(m.dtype)), m.dtype, m.row, m.col};
}

template <class T>
Matrix packed_matrix(const T* data, int64_t cols) { return {data, dtype_of<T>(), cols, 1}; }

inline int64_t key_start_of(const TensorView& view, int64_t b) {
  return larger<int64_t>(0, view.as<const int32_t>()[b * view.strides[0]]);
}

// The keys [start, stop) that the query at row i sees.
inline int64_t key_stop_of(const AttentionShape& s, int64_t i) { return larger<int64_t>(0, smaller(s.query_offset + i + 1, s.Tk)); }

// The first query that sees the key at `start`; those before it see none.
inline int64_t first_query_of(const AttentionShape& s, int64_t start) {
  return start >= s.Tk ? s.Tq : smaller(s.Tq, larger<int64_t>(0, start - s.query_offset));
}

// Whether rows [from, to) hold finite numbers only. A zero weight keeps a finite number out of a product, but not NaN or infinity.
template <class T>
bool all_finite(const Matrix& m, int64_t from, int64_t to, int64_t D) {
  bool finite = true;
  for (int64_t i = from; i < to; ++i) {
    const T* row = m.at<T>(i, 0);
    T sum = 0;
    if (m.col == 1) {
      Vector<T> sums = {};
      int64_t d = 0;
      for (; d + kLanes<T> <= D; d += kLanes<T>) sums += load(row + d) * T(0);
      for (; d < D; ++d) sum += row[d] * 0;
      sum += sum_of<T>(sums);
    } else {
      for (int64_t d = 0; d < D; ++d) sum += row[d * m.col] * 0;
    }
    finite = finite && sum == 0;
  }
  return finite;
}

}  // namespace vantage::cpu::VANTAGE_ISA
