// Log-probability of a token and entropy of its distribution, from logits that are read once (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018, with a third running sum for the entropy), and the gradient of both.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "exponential.h"
#include "report.h"
#include "vectors.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kAhead = 4;     // vectors of 16 bytes that a thread asks for before it uses the first
constexpr int kElements = 8;  // likewise elements, where there are no vectors

// Of the scaled logits y = s·x that were seen, in units of which `Exponent` is the exponential: the largest, Σ e^(y - max) and Σ e^(y - max)·(y - max).
template <class T>
struct Totals {
  T max;
  double sum, weighted;
};

template <class T>
__device__ __forceinline__ void rescale(Totals<T>& t, T max) {
  if (!(max > t.max)) return;
  const double shift = static_cast<double>(t.max) - static_cast<double>(max), factor = t.sum > 0 ? Exponent<T>::wide(shift) : 0;
  t.weighted = t.sum > 0 ? factor * (t.weighted + shift * t.sum) : 0;
  t.sum *= factor;
  t.max = max;
}
template <class T>
__device__ __forceinline__ void join(Totals<T>& t, Totals<T> other) {
  rescale(t, other.max);
  rescale(other, t.max);
  t.sum += other.sum;
  t.weighted += other.weighted;
}

// `kCount` logits, x(i).
template <int kCount, class T, class Read>
__device__ __forceinline__ void add(Totals<T>& t, T scale, const Read& x) {
  // A NaN is not larger than anything: it is left to the sums below.
  T high = -Exponent<T>::infinity();
#pragma unroll
  for (int i = 0; i < kCount; ++i) high = fmax(high, x(i) * scale);
  rescale(t, high);
  const T offset = t.max == -Exponent<T>::infinity() ? T(0) : t.max;  // -inf - -inf would be NaN
  T sum = 0, weighted = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const T shifted = fma(x(i), scale, -offset), e = Exponent<T>::of(shifted);
    sum += e;
    weighted = fma(e, fmax(shifted, Exponent<T>::kLowest), weighted);  // 0·-inf would be NaN
  }
  t.sum += static_cast<double>(sum);
  t.weighted += static_cast<double>(weighted);
}

// The totals of a block in its first thread, always joined in the same order.
template <class T>
__device__ __forceinline__ Totals<T> block_totals(Totals<T> t) {
  __shared__ T shared_max[kWarps];
  __shared__ double shared[kWarps][2];
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    join(t, Totals<T>{__shfl_down_sync(kAllLanes, t.max, d), __shfl_down_sync(kAllLanes, t.sum, d), __shfl_down_sync(kAllLanes, t.weighted, d)});
  }
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) shared_max[warp] = t.max, shared[warp][0] = t.sum, shared[warp][1] = t.weighted;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kWarps; ++w) join(t, Totals<T>{shared_max[w], shared[w][0], shared[w][1]});
  }
  return t;
}

// The part of a row that a block has. Parts are whole vectors long, so that where a row begins at a boundary all of them do.
__device__ __forceinline__ Span part_of(int64_t length, int64_t parts, int width) {
  const int64_t size = ceil_div(ceil_div(length, parts), width) * width, part = blockIdx.x % parts;
  return {std::min(length, part * size), std::min(length, (part + 1) * size), 0, 0};
}

template <class S>
struct Forward {
  using T = ComputedIn<S>;
  Vectors<const S> logits;
  int64_t vocabulary;
  Column<const int32_t> ids;
  Column<T> log_probs, entropy, lse;
  T scale;
  int64_t parts;          // blocks of a row
  Totals<T>* partials;    // [N][parts]
  unsigned* tickets;      // a row's, 0
  Report bad_id;
};

template <class S, class T>
__device__ void write_row(const Forward<S>& f, int64_t row, const Totals<T>& t) {
  const int64_t id = f.ids[row];
  if (id < 0 || id >= f.vocabulary) return f.bad_id.index(id, row, f.vocabulary);
  // Back to natural units.
  const double unit = Exponent<T>::kUnit, max = static_cast<double>(t.max) * unit, log_sum = math::log(t.sum);
  const double x = static_cast<double>(load_as_computed(f.logits.at(row, id))) * static_cast<double>(f.scale) * unit;
  f.log_probs[row] = static_cast<T>((x - max) - log_sum);
  f.entropy[row] = static_cast<T>(log_sum - t.weighted * unit / t.sum);
  f.lse[row] = static_cast<T>(max + log_sum);
}

// A block a row, or several where there are few rows.
template <class S>
__global__ void __launch_bounds__(kThreads) forward_rows(const Forward<S> f) {
  using T = typename Forward<S>::T;
  constexpr int kWidth = Vectors<const S>::kWidth;
  const int64_t row = blockIdx.x / f.parts, part = blockIdx.x % f.parts;
  const Span mine = part_of(f.vocabulary, f.parts, kWidth), span = span_of(f.logits, row, mine.first, mine.last);
  const int thread = static_cast<int>(threadIdx.x);
  // As good as nothing, whatever the sign of the scale.
  const T nothing = f.scale < 0 ? Exponent<T>::infinity() : -Exponent<T>::infinity();
  Totals<T> t = {-Exponent<T>::infinity(), 0, 0};

  const S* const vectors = &f.logits.at(row, span.start < f.vocabulary ? span.start : 0);
  int64_t v = thread;
  for (; v - thread + kThreads * kAhead <= span.count; v += kThreads * kAhead) {
    Vector<S> x[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) x[k] = load_vector(vectors + (v + k * kThreads) * kWidth);
    add<kAhead * kWidth>(t, f.scale, [&](int i) { return load_as_computed(x[i / kWidth].x[i % kWidth]); });
  }
  if (v - thread < span.count) {
    Vector<S> x[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (v + k * kThreads < span.count) x[k] = load_vector(vectors + (v + k * kThreads) * kWidth);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (v + k * kThreads < span.count) add<kWidth>(t, f.scale, [&](int i) { return load_as_computed(x[k].x[i]); });
    }
  }
  const auto elements = [&](int64_t from, int64_t to) {
    for (int64_t start = from; start < to; start += kThreads * kElements) {
      T x[kElements];
#pragma unroll
      for (int k = 0; k < kElements; ++k) {
        const int64_t i = start + k * kThreads + thread;
        x[k] = i < to ? load_as_computed(f.logits.at(row, i)) : nothing;
      }
      add<kElements>(t, f.scale, [&](int i) { return x[i]; });
    }
  };
  elements(span.first, span.count > 0 ? span.start : span.last);
  elements(span.stop(kWidth), span.last);

  t = block_totals(t);
  if (thread != 0) return;
  if (f.parts == 1) return write_row(f, row, t);
  Totals<T>* partials = f.partials + row * f.parts;
  partials[part] = t;
  __threadfence();
  if (atomicAdd(f.tickets + row, 1u) != static_cast<unsigned>(f.parts - 1)) return;
  __threadfence();
  f.tickets[row] = 0;
  t = partials[0];
  for (int64_t p = 1; p < f.parts; ++p) join(t, partials[p]);
  write_row(f, row, t);
}

// Blocks of a row, so that the device is busy. A part has a batch for each thread at least.
int64_t parts_of(int64_t rows, int64_t vocabulary, int width) {
  const int64_t busy = 8 * device().multiprocessors;  // to be measured
  if (rows >= busy) return 1;
  return std::min(std::max<int64_t>(1, vocabulary / (int64_t{kThreads} * kAhead * width)), ceil_div(busy, rows));
}

template <class S>
void forward(const KernelCall& call) {
  using T = typename Forward<S>::T;
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], vocabulary = v[0].shape[1];
  if (rows == 0) return;
  const int64_t parts = parts_of(rows, vocabulary, Vectors<S>::kWidth);
  const Temporary memory("token_log_probs", parts > 1 ? static_cast<size_t>(rows * parts) * sizeof(Totals<T>) : 0);
  const Forward<S> f = {vectors_of<const S>(v[0]), vocabulary, column<const int32_t>(v[1]), column<T>(v[2]), column<T>(v[3]), column<T>(v[4]),
                        static_cast<T>(call.scalars[0] / Exponent<T>::kUnit), parts, memory.as<Totals<T>>(), signals(0, rows, 0).tickets,
                        index_report("token_log_probs", "id")};
  launch("token_log_probs", forward_rows<S>, dim3(static_cast<unsigned>(rows * parts)), kThreads, 0, f);
}

template <class S, class D>
struct Backward {
  using T = ComputedIn<S>;
  Vectors<const S> logits;
  int64_t vocabulary;
  Column<const int32_t> ids;
  Column<const T> lse, entropy, d_log_probs, d_entropy;
  Vectors<D> d_logits;
  T scale;
  int64_t parts;
  Report bad_id;
};

// Reads and writes the same elements, so that the gradient may take the place of the logits.
template <class S, class D>
__global__ void __launch_bounds__(kThreads) backward_rows(const Backward<S, D> f) {
  using T = typename Backward<S, D>::T;
  constexpr int kWidth = Vectors<const S>::kWidth, kBatch = 2;
  const int64_t row = blockIdx.x / f.parts;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t id = f.ids[row];
  if (id < 0 || id >= f.vocabulary) {
    if (thread == 0) f.bad_id.index(id, row, f.vocabulary);
    return;
  }
  const T g_log_prob = f.d_log_probs[row], g_entropy = f.d_entropy[row], lse = f.lse[row], entropy = f.entropy[row];
  // A row without a gradient is not read: what a masked position holds reaches nothing.
  const bool none = g_log_prob == 0 && g_entropy == 0;
  const auto gradient = [&](S x, int64_t i) {
    const T log_p = fmax(fma(load_as_computed(x), f.scale, -lse), Exponent<T>::kLowest);
    const T value = -f.scale * Exponent<T>::natural(log_p) * fma(g_entropy, log_p + entropy, g_log_prob);
    return store_as<D>(i == id ? fma(f.scale, g_log_prob, value) : value);
  };

  const Span mine = part_of(f.vocabulary, f.parts, kWidth);
  Span span = {mine.first, mine.last, mine.last, 0};
  if constexpr (sizeof(S) == sizeof(D)) {
    if (f.d_logits.step == 1 && f.d_logits.to_boundary(row, mine.first) == f.logits.to_boundary(row, mine.first)) {
      span = span_of(f.logits, row, mine.first, mine.last);
    }
    for (int64_t v = thread; v < span.count; v += kThreads * kBatch) {
      Vector<S> x[kBatch] = {};
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (v + k * kThreads < span.count && !none) x[k] = load_vector(&f.logits.at(row, span.start + (v + k * kThreads) * kWidth));
      }
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (v + k * kThreads >= span.count) continue;
        const int64_t first = span.start + (v + k * kThreads) * kWidth;
        Vector<D> d = {};
        if (!none) {
#pragma unroll
          for (int i = 0; i < kWidth; ++i) d.x[i] = gradient(x[k].x[i], first + i);
        }
        store_vector(&f.d_logits.at(row, first), d);
      }
    }
  }
  const auto elements = [&](int64_t from, int64_t to) {
    for (int64_t i = from + thread; i < to; i += kThreads) f.d_logits.at(row, i) = none ? D{} : gradient(f.logits.at(row, i), i);
  };
  elements(span.first, span.count > 0 ? span.start : span.last);
  elements(span.stop(kWidth), span.last);
}

template <class S, class D>
void backward_to(const KernelCall& call) {
  using T = typename Backward<S, D>::T;
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], vocabulary = v[0].shape[1];
  if (rows == 0) return;
  const int64_t parts = parts_of(rows, vocabulary, Vectors<S>::kWidth);
  const Backward<S, D> f = {vectors_of<const S>(v[0]), vocabulary, column<const int32_t>(v[1]), column<const T>(v[2]), column<const T>(v[3]),
                            column<const T>(v[4]), column<const T>(v[5]), vectors_of<D>(v[6]), static_cast<T>(call.scalars[0]), parts,
                            index_report("token_log_probs_backward", "id")};
  launch("token_log_probs_backward", backward_rows<S, D>, dim3(static_cast<unsigned>(rows * parts)), kThreads, 0, f);
}

template <class S>
void backward(const KernelCall& call) {
  switch (call.views[6].dtype) {
    case DType::f64: return backward_to<S, double>(call);
    case DType::bf16: return backward_to<S, bf16>(call);
    default: return backward_to<S, float>(call);
  }
}

}  // namespace

void token_log_probs(const KernelCall& call) {
  check_arguments(call);
  switch (call.views[0].dtype) {
    case DType::f64: return forward<double>(call);
    case DType::bf16: return forward<bf16>(call);
    default: return forward<float>(call);
  }
}

void token_log_probs_backward(const KernelCall& call) {
  check_arguments(call);
  switch (call.views[0].dtype) {
    case DType::f64: return backward<double>(call);
    case DType::bf16: return backward<bf16>(call);
    default: return backward<float>(call);
  }
}

}  // namespace vantage::cuda
