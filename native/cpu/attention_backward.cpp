// The gradient of attention: the probabilities are computed again from lse (Dao, "FlashAttention-2", 2023).
//   P = exp(scale·q·k - lse)   dV = Pᵀ·dO   dS = scale·P∘(dO·Vᵀ - Σ_d dO∘O)   dQ = dS·K   dK = dSᵀ·Q
#include "attention.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// One query head: where its rows are, and where the gradients of its key head are summed.
template <class T>
struct Head {
  Matrix q, k, v, out, dout, dq;
  const T* lse;
  int64_t lse_stride, start;
  T *dk, *dv;  // [Tk, D]
};

template <class T>
struct Blocks {
  T *p, *ds, *dq, *delta;
};

// Row i of `to` becomes row i of from[rows, D], or 0 without one.
template <class T>
void write_rows(const T* from, const Matrix& to, int64_t rows, int64_t D) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t d = 0; d < D; ++d) *to.writable<T>(i, d) = from ? from[i * D + d] : 0;
  }
}

// p holds scores and ds the products dO·Vᵀ of one row: they become P and dS, 0 from `visible` on.
template <class T>
void differentiate(T* p, T* ds, int64_t n, int64_t visible, T scale, T lse, T delta) {
  for (int64_t j = 0; j < visible; j += kLanes<T>) {
    const Vector<T> probability = exp_of(load(p + j) * scale - lse);
    store(p + j, probability);
    store(ds + j, probability * (load(ds + j) - delta) * scale);
  }
  for (int64_t j = visible; j < n; ++j) p[j] = 0, ds[j] = 0;
}

// Adds what queries [i0, i1), all of which see at least one key, give to dq, dk and dv.
template <class T>
void backpropagate(const AttentionShape& s, const Head<T>& head, int64_t i0, int64_t i1, const Blocks<T>& blocks) {
  const int64_t rows = i1 - i0, stop = key_stop_of(s, i1 - 1);
  const Matrix q = rows_from(head.q, i0), dout = rows_from(head.dout, i0), out = rows_from(head.out, i0);
  for (int64_t i = 0; i < rows; ++i) {
    const T *g = dout.at<T>(i, 0), *o = out.at<T>(i, 0);
    T sum = 0;
    for (int64_t d = 0; d < s.D; ++d) sum += g[d * dout.col] * o[d * out.col];
    blocks.delta[i] = sum;
  }
  for (int64_t j0 = head.start; j0 < stop; j0 += kKeyBlock) {
    const int64_t keys = smaller(kKeyBlock, stop - j0), width = padded<T>(keys);
    const Matrix k = rows_from(head.k, j0), v = rows_from(head.v, j0);
    const Matrix p = packed_matrix(blocks.p, width), ds = packed_matrix(blocks.ds, width);
    gemm<T>(rows, keys, s.D, q, k.transposed(), blocks.p, width, false);
    gemm<T>(rows, keys, s.D, dout, v.transposed(), blocks.ds, width, false);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t visible = larger<int64_t>(0, smaller(keys, key_stop_of(s, i0 + i) - j0));
      differentiate(blocks.p + i * width, blocks.ds + i * width, width, visible, static_cast<T>(s.scale), head.lse[(i0 + i) * head.lse_stride],
                    blocks.delta[i]);
    }
    gemm<T>(rows, s.D, keys, ds, k, blocks.dq, s.D, j0 > head.start);
    gemm<T>(keys, s.D, rows, ds.transposed(), q, head.dk + j0 * s.D, s.D, true);
    gemm<T>(keys, s.D, rows, p.transposed(), dout, head.dv + j0 * s.D, s.D, true);
  }
  write_rows(blocks.dq, rows_from(head.dq, i0), rows, s.D);
}

template <class T>
void query_head(const AttentionShape& s, const Head<T>& head, const Blocks<T>& blocks) {
  const int64_t first = first_query_of(s, head.start), stop = first < s.Tq ? key_stop_of(s, s.Tq - 1) : 0;
  write_rows<T>(nullptr, head.dq, first, s.D);
  if (first == s.Tq) return;
  // In a block some queries do not see some keys. Where one of them is not finite, each query goes alone.
  const bool finite = all_finite<T>(head.k, head.start, stop, s.D) && all_finite<T>(head.q, first, s.Tq, s.D) &&
                      all_finite<T>(head.dout, first, s.Tq, s.D);
  const int64_t step = finite ? kQueryBlock : 1;
  for (int64_t i = first; i < s.Tq; i += step) backpropagate(s, head, i, smaller(s.Tq, i + step), blocks);
}

template <class T>
void backward_of(const KernelCall& call, const AttentionShape& s) {
  const TensorView& lse = call.views[5];
  const int64_t key_heads = s.B * s.Hk, repeat = s.Hk > 0 ? s.H / s.Hk : 0, size = s.Tk * s.D;
  const int64_t work = repeat * s.Tq * s.Tk * s.D, group = larger<int64_t>(1, 16384 / (work + 1));
  parallel_for(ceil_div(key_heads, group), 3 * key_heads * work, [&](int64_t task) {
    T* scores = scratch<T>(Scratch::scores, 2 * kQueryBlock * kKeyBlock);
    T* rows = scratch<T>(Scratch::accumulators, kQueryBlock * (s.D + 1));
    T* gradients = scratch<T>(Scratch::gradients, 2 * size);
    const Blocks<T> blocks{scores, scores + kQueryBlock * kKeyBlock, rows + kQueryBlock, rows};
    for (int64_t at = task * group; at < smaller(key_heads, (task + 1) * group); ++at) {
      const int64_t b = at / s.Hk, key_head = at % s.Hk;
      for (int64_t i = 0; i < 2 * size; ++i) gradients[i] = 0;
      for (int64_t h = key_head * repeat; h < (key_head + 1) * repeat; ++h) {
        const Head<T> head{head_of(call.views[0], b, h),
                           head_of(call.views[1], b, key_head),
                           head_of(call.views[2], b, key_head),
                           head_of(call.views[4], b, h),
                           head_of(call.views[6], b, h),
                           head_of(call.views[7], b, h),
                           lse.as<const T>() + b * lse.strides[0] + h * lse.strides[1],
                           lse.strides[2],
                           key_start_of(call.views[3], b),
                           gradients,
                           gradients + size};
        query_head(s, head, blocks);
      }
      write_rows(gradients, head_of(call.views[8], b, key_head), s.Tk, s.D);
      write_rows(gradients + size, head_of(call.views[9], b, key_head), s.Tk, s.D);
    }
  });
}

}  // namespace

void attention_backward(const KernelCall& call) {
  const AttentionShape s = attention_shape(call);
  call.views[0].dtype == DType::f64 ? backward_of<double>(call, s) : backward_of<float>(call, s);
}

}  // namespace vantage::cpu::VANTAGE_ISA
