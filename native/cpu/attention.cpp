// Causal attention without the matrix of scores: blocks of queries walk over blocks of keys with a running maximum and sum
// (Dao, "FlashAttention-2", 2023).
#include "attention.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// What a block of queries has gathered so far: for each row the largest score, Σ exp(score - largest), Σ exp(score - largest)·v.
template <class T>
struct Running {
  T *max, *sum, *values;
};

// Replaces n scores (padded to whole vectors) by exp(scale·score - max), 0 from `visible` on; updates the row's running state.
template <class T>
void fold_scores(T* scores, int64_t n, int64_t visible, T scale, int64_t D, T* max, T* sum, T* values) {
  constexpr int L = kLanes<T>;
  const T low = T(-__builtin_inf());
  Vector<T> high = splat(low);
  const int64_t stop = padded<T>(visible);
  for (int64_t j = 0; j < stop; j += L) {
    const Vector<T> seen = lane_numbers<T>() < static_cast<T>(visible - j) ? load(scores + j) * scale : splat(low);
    store(scores + j, seen);
    high = seen > high ? seen : high;
  }
  const T largest = larger(*max, max_of<T>(high));
  if (largest > *max && *sum != 0) {
    const T factor = static_cast<T>(__builtin_exp(static_cast<double>(*max - largest)));
    *sum *= factor;
    for (int64_t d = 0; d < D; ++d) values[d] *= factor;
  }
  *max = largest;
  const T offset = largest == low ? 0 : largest;
  Vector<T> total = {};
  for (int64_t j = 0; j < stop; j += L) {
    const Vector<T> p = exp_of(load(scores + j) - offset);
    store(scores + j, p);
    total += p;
  }
  for (int64_t j = stop; j < n; ++j) scores[j] = 0;
  *sum += sum_of<T>(total);
}

// Queries [i0, i1) of one head, all of which see at least one key.
template <class T>
void attend(const AttentionShape& s, const Matrix& q, const Matrix& k, const Matrix& v, int64_t start, int64_t i0, int64_t i1, T* scores,
            const Running<T>& state) {
  const int64_t rows = i1 - i0;
  for (int64_t i = 0; i < rows; ++i) state.max[i] = T(-__builtin_inf()), state.sum[i] = 0;
  for (int64_t i = 0; i < rows * s.D; ++i) state.values[i] = 0;
  const int64_t stop = key_stop_of(s, i1 - 1);
  for (int64_t j0 = start; j0 < stop; j0 += kKeyBlock) {
    const int64_t keys = smaller(kKeyBlock, stop - j0), width = padded<T>(keys);
    gemm<T>(rows, keys, s.D, rows_from(q, i0), rows_from(k, j0).transposed(), scores, width, false);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t visible = larger<int64_t>(0, smaller(keys, key_stop_of(s, i0 + i) - j0));
      fold_scores(scores + i * width, width, visible, static_cast<T>(s.scale), s.D, state.max + i, state.sum + i, state.values + i * s.D);
    }
    gemm<T>(rows, s.D, keys, packed_matrix(scores, width), rows_from(v, j0), state.values, s.D, true);
  }
}

template <class T>
void attention_of(const KernelCall& call, const AttentionShape& s) {
  const TensorView &out = call.views[4], &lse = call.views[5];
  const int64_t blocks = ceil_div(s.Tq, kQueryBlock), heads = s.B * s.H;
  const int64_t head_work = s.Tq * s.Tk * s.D, group = blocks == 1 ? larger<int64_t>(1, 32768 / (head_work + 1)) : 1;
  const int64_t tasks = heads * blocks;
  parallel_for(ceil_div(tasks, group), heads * head_work, [&](int64_t task) {
    T* scores = scratch<T>(Scratch::scores, kQueryBlock * kKeyBlock);
    T* memory = scratch<T>(Scratch::accumulators, kQueryBlock * (s.D + 2));
    const Running<T> state{memory, memory + kQueryBlock, memory + 2 * kQueryBlock};
    for (int64_t at = task * group; at < smaller(tasks, (task + 1) * group); ++at) {
      const int64_t b = at / blocks / s.H, h = at / blocks % s.H, i0 = at % blocks * kQueryBlock, i1 = smaller(s.Tq, i0 + kQueryBlock);
      const Matrix q = head_of(call.views[0], b, h), k = head_of(call.views[1], b, h * s.Hk / s.H), v = head_of(call.views[2], b, h * s.Hk / s.H);
      const int64_t start = key_start_of(call.views[3], b), first = smaller(i1, larger(i0, first_query_of(s, start)));
      const Matrix to = head_of(out, b, h);
      const auto finish = [&](int64_t i, T* values, T factor, T log_sum) {
        for (int64_t d = 0; d < s.D; ++d) values[d] = factor == 0 ? 0 : values[d] * factor;
        copy_strided(values, 1, to.writable<T>(i, 0), to.col, s.D);
        lse.as<T>()[b * lse.strides[0] + h * lse.strides[1] + i * lse.strides[2]] = log_sum;
      };
      for (int64_t i = i0; i < first; ++i) finish(i, state.values, 0, T(-__builtin_inf()));
      if (first == i1) continue;
      // A block holds keys that some of its queries do not see. Where their values are not finite, each query goes alone.
      const int64_t step = all_finite<T>(v, start, key_stop_of(s, i1 - 1), s.D) ? i1 - first : 1;
      for (int64_t i = first; i < i1; i += step) {
        attend(s, q, k, v, start, i, i + step, scores, state);
        for (int64_t r = 0; r < step; ++r) {
          finish(i + r, state.values + r * s.D, 1 / state.sum[r], state.max[r] + log_of(state.sum[r]));
        }
      }
    }
  });
}

}  // namespace

void attention(const KernelCall& call) {
  const AttentionShape s = attention_shape(call);
  call.views[0].dtype == DType::f64 ? attention_of<double>(call, s) : attention_of<float>(call, s);
}

}  // namespace vantage::cpu::VANTAGE_ISA
