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

// Of a block that goes along a whole row. With 1024 threads each has 64 registers, too few for the exponentials and logarithms of doubles.
template <class S>
constexpr int kRowThreads = sizeof(S) == 8 ? 512 : 1024;

// Vectors of 16 bytes that a thread asks for before it uses the first. Twice as many would not stay in 64 registers where a vector has eight values, nor
// beside the exponential of doubles.
template <int kThreads, class S>
constexpr int kVectorsAhead = sizeof(S) == 8 || (sizeof(S) == 2 && kThreads > 512) ? 2 : 4;

// The totals of what a thread of a block of `kThreads` sees of the elements [first, last) of a row.
template <int kThreads, class S, class T>
__device__ __forceinline__ Totals<T> totals_of(const Vectors<const S>& logits, int64_t row, int64_t first, int64_t last, T scale) {
  constexpr int kWidth = Vectors<const S>::kWidth;
  constexpr int kAhead = kVectorsAhead<kThreads, S>;
  constexpr int kElements = 8;  // that are asked for likewise where there are no vectors
  const Span span = span_of(logits, row, first, last);
  const int thread = static_cast<int>(threadIdx.x);
  Totals<T> t = no_totals<T>();
  const S* const vectors = &logits.at(row, span.count > 0 ? span.start : 0);
  int64_t v = thread;
  for (; v - thread + kThreads * kAhead <= span.count; v += kThreads * kAhead) {
    Vector<S> raw[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) raw[k] = load_vector(vectors + (v + k * kThreads) * kWidth);
    T x[kAhead][kWidth];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) unpack(x[k], raw[k]);
    add<kAhead * kWidth>(t, scale, [&](int i) { return x[i / kWidth][i % kWidth]; });
  }
  if (v - thread < span.count) {
    Vector<S> raw[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (v + k * kThreads < span.count) raw[k] = load_vector(vectors + (v + k * kThreads) * kWidth);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (v + k * kThreads >= span.count) continue;
      T x[kWidth];
      unpack(x, raw[k]);
      add<kWidth>(t, scale, [&](int i) { return x[i]; });
    }
  }
  // As good as nothing, whatever the sign of the scale.
  const T nothing = scale < 0 ? Exponent<T>::infinity() : -Exponent<T>::infinity();
  const auto elements = [&](int64_t from, int64_t to) {
    for (int64_t start = from; start < to; start += kThreads * kElements) {
      T x[kElements];
#pragma unroll
      for (int k = 0; k < kElements; ++k) {
        const int64_t i = start + k * kThreads + thread;
        x[k] = i < to ? load_as_computed(logits.at(row, i)) : nothing;
      }
      add<kElements>(t, scale, [&](int i) { return x[i]; });
    }
  };
  elements(span.first, span.count > 0 ? span.start : span.last);
  elements(span.stop(kWidth), span.last);
  return t;
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

// Which thread of a block handles an element of a span, where vectors and what is beside them are dealt out in turn.
template <int kThreads>
__device__ __forceinline__ int owner_of(int64_t i, const Span& span, int width) {
  if (i < span.first || i >= span.last) return -1;
  const int64_t stop = span.stop(width);
  return static_cast<int>((span.count == 0 || i < span.start ? i - span.first : i < stop ? (i - span.start) / width : i - stop) % kThreads);
}

// Writes f(x) for the elements [first, last) of a row, and g(x) for the element `special` if it is one of them; a block of `kThreads`. A thread reads and
// writes the same elements, so that `to` may be the memory of `from`.
template <int kThreads, class S, class D, class F, class G>
__device__ __forceinline__ void map_row(const Vectors<const S>& from, const Vectors<D>& to, int64_t row, int64_t first, int64_t last, const F& f,
                                        int64_t special, const G& g) {
  constexpr int kWidth = Vectors<const S>::kWidth, kAhead = 2;
  const int thread = static_cast<int>(threadIdx.x);
  Span span = {first, last, last, 0};
  if constexpr (sizeof(S) == sizeof(D)) {
    if (to.step == 1 && to.to_boundary(row, first) == from.to_boundary(row, first)) span = span_of(from, row, first, last);
  }
  const bool owner = owner_of<kThreads>(special, span, kWidth) == thread;
  const ComputedIn<S> kept = owner ? load_as_computed(from.at(row, special)) : ComputedIn<S>(0);
  if constexpr (sizeof(S) == sizeof(D)) {
    const S* source = &from.at(row, span.count > 0 ? span.start : 0) + thread * kWidth;
    D* target = &to.at(row, span.count > 0 ? span.start : 0) + thread * kWidth;
    for (int64_t v = thread; v < span.count; v += kThreads * kAhead, source += kThreads * kAhead * kWidth, target += kThreads * kAhead * kWidth) {
      Vector<S> raw[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (v + k * kThreads < span.count) raw[k] = load_vector(source + k * kThreads * kWidth);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (v + k * kThreads >= span.count) continue;
        ComputedIn<S> x[kWidth];
        unpack(x, raw[k]);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) x[i] = f(x[i]);
        store_vector(target + k * kThreads * kWidth, pack<D>(x));
      }
    }
  }
  const auto elements = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin + thread; i < end; i += kThreads) to.at(row, i) = store_as<D>(f(load_as_computed(from.at(row, i))));
  };
  elements(span.first, span.count > 0 ? span.start : span.last);
  elements(span.stop(kWidth), span.last);
  if (owner) to.at(row, special) = store_as<D>(g(kept));
}
template <int kThreads, class D>
__device__ __forceinline__ void clear_row(const Vectors<D>& to, int64_t row, int64_t first, int64_t last) {
  const Span span = span_of(to, row, first, last);
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t v = thread; v < span.count; v += kThreads) store_vector(&to.at(row, span.start + v * Vectors<D>::kWidth), Vector<D>{});
  for (int64_t i = span.first + thread; i < (span.count > 0 ? span.start : span.last); i += kThreads) to.at(row, i) = D{};
  for (int64_t i = span.stop(Vectors<D>::kWidth) + thread; i < span.last; i += kThreads) to.at(row, i) = D{};
}

// d_x_j = s·( g_l·([j=id] - p_j) - g_H·p_j·(log p_j + H) ), all but the part of the token's own: p_j·(constant + slope·log p_j), and `token` there.
template <class T>
struct RowGradient {
  T scale, lse, constant, slope, token;

  RowGradient() = default;
  __device__ __forceinline__ RowGradient(T scale, T lse, T entropy, T g_log_prob, T g_entropy)
      : scale(scale), lse(lse), constant(-scale * fma(g_entropy, entropy, g_log_prob)), slope(-scale * g_entropy), token(scale * g_log_prob) {}

  __device__ __forceinline__ T of(T x) const {
    const T log_p = fmax(fma(x, scale, -lse), Exponent<T>::kLowest);
    return Exponent<T>::natural(log_p) * fma(slope, log_p, constant);
  }
};

}  // namespace vantage::cuda
