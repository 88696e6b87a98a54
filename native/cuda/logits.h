// What the kernels over logits compute of a row: running totals, from which come the log-probability of a token and the entropy (Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018, with a third running sum for the entropy), and the gradient of both.
#pragma once
#include "exponential.h"
#include "vectors.h"

namespace vantage::cuda {

// Of the scaled logits y = s·x that were seen, in units of which `Exponent` is the exponential: Σ e^(y - offset) and Σ e^(y - offset)·(y - offset).
// The offset is the largest of an early batch (-inf: none was seen): it does until a batch has a sum above kMostSum, so that few batches are read twice.
template <class T>
struct Totals {
  T offset;
  double sum, weighted;
};
constexpr int kMostSum = 1024;

template <class T>
__device__ __forceinline__ Totals<T> no_totals() { return {-Exponent<T>::infinity(), 0, 0}; }

template <class T>
__device__ __forceinline__ void raise(Totals<T>& t, T offset) {
  if (!(offset > t.offset)) return;
  const T shift = t.offset - offset;
  const double factor = static_cast<double>(Exponent<T>::of(shift));
  t.weighted = t.sum > 0 ? factor * (t.weighted + static_cast<double>(shift) * t.sum) : 0;
  t.sum *= t.sum > 0 ? factor : 1;  // a NaN stays
  t.offset = offset;
}

// `kCount` logits, x(i).
template <int kCount, class T, class Read>
__device__ __forceinline__ void add(Totals<T>& t, T scale, const Read& x) {
  T sum = 0, weighted = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const T shifted = fma(x(i), scale, -t.offset), e = Exponent<T>::of(shifted);
    sum += e;
    weighted = fma(e, shifted, weighted);
  }
  if (!(sum <= T(kMostSum)) || weighted != weighted) {  // before the first batch both are so
    // A NaN is not larger than anything: it is left to the sums below.
    T high = -Exponent<T>::infinity();
#pragma unroll
    for (int i = 0; i < kCount; ++i) high = fmax(high, x(i) * scale);
    raise(t, high);
    const T offset = t.offset == -Exponent<T>::infinity() ? T(0) : t.offset;  // -inf - -inf would be NaN
    sum = weighted = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const T shifted = fma(x(i), scale, -offset), e = Exponent<T>::of(shifted);
      sum += e;
      weighted = fma(e, fmax(shifted, Exponent<T>::kLowest), weighted);  // 0·-inf would be NaN
    }
  }
  t.sum += static_cast<double>(sum);
  t.weighted += static_cast<double>(weighted);
}

template <class T>
__device__ __forceinline__ void join(Totals<T>& t, Totals<T> other) {
  raise(t, other.offset);
  raise(other, t.offset);
  t.sum += other.sum;
  t.weighted += other.weighted;
}
// The totals of `kLanes` neighbouring lanes, in all of them: one exponential each, whatever their number.
template <int kLanes, class T>
__device__ __forceinline__ void join_lanes(Totals<T>& t) {
  T high = t.offset;
#pragma unroll
  for (int d = kLanes / 2; d > 0; d /= 2) high = fmax(high, __shfl_xor_sync(kAllLanes, high, d));
  raise(t, high);
#pragma unroll
  for (int d = kLanes / 2; d > 0; d /= 2) {
    t.sum += __shfl_xor_sync(kAllLanes, t.sum, d);
    t.weighted += __shfl_xor_sync(kAllLanes, t.weighted, d);
  }
}
// The totals of a block in its first warp. `shared` has a place for each warp.
template <int kWarps, class T>
__device__ __forceinline__ void join_block(Totals<T>& t, Totals<T>* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  join_lanes<32>(t);
  if (lane == 0) shared[warp] = t;
  __syncthreads();
  if (warp != 0) return;
  t = lane < kWarps ? shared[lane] : no_totals<T>();
  join_lanes<kWarps>(t);
}

// What a row's totals say, in natural units.
template <class T>
struct RowResult {
  T log_prob, entropy, lse;
};
// `x`: the token's logit.
template <class T>
__device__ __forceinline__ RowResult<T> result_of(const Totals<T>& t, T x, T scale) {
  const double unit = Exponent<T>::kUnit, offset = static_cast<double>(t.offset) * unit, log_sum = math::log(t.sum);
  const double y = static_cast<double>(x) * static_cast<double>(scale) * unit;
  return {static_cast<T>((y - offset) - log_sum), static_cast<T>(log_sum - t.weighted * unit / t.sum), static_cast<T>(offset + log_sum)};
}

// d_x_j = s·( g_l·([j=id] - p_j) - g_H·p_j·(log p_j + H) ), all but the part of the token's own: p_j·(constant + slope·log p_j), and `token` there.
template <class T>
struct RowGradient {
  T scale, lse, constant, slope, token;

  __device__ __forceinline__ RowGradient(T scale, T lse, T entropy, T g_log_prob, T g_entropy)
      : scale(scale), lse(lse), constant(-scale * fma(g_entropy, entropy, g_log_prob)), slope(-scale * g_entropy), token(scale * g_log_prob) {}

  __device__ __forceinline__ T of(T x) const {
    const T log_p = fmax(fma(x, scale, -lse), Exponent<T>::kLowest);
    return Exponent<T>::natural(log_p) * fma(slope, log_p, constant);
  }
};

}  // namespace vantage::cuda
