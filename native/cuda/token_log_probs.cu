// Log-probability of a token and entropy of its distribution, from logits that are read once, and the gradient of both (logits.h).
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "logits.h"
#include "report.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kAhead = 4;     // vectors of 16 bytes that a thread asks for before it uses the first
constexpr int kElements = 8;  // likewise elements, where there are no vectors

// The part of a row that a block has. Parts are whole vectors long, so that where a row begins at a boundary all of them do.
__device__ __forceinline__ Span part_of(int64_t length, unsigned parts, unsigned part, int width) {
  const int64_t size = ceil_div(ceil_div(length, parts), width) * width;
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
  unsigned parts;         // blocks of a row
  Totals<T>* partials;    // [N][parts]
  unsigned* tickets;      // a row's, 0
  Report bad_id;
};

// A block a row, or several where there are few rows.
template <class S>
__global__ void __launch_bounds__(kThreads) forward_rows(const Forward<S> f) {
  using T = typename Forward<S>::T;
  constexpr int kWidth = Vectors<const S>::kWidth;
  __shared__ Totals<T> shared[kWarps];
  const int64_t row = blockIdx.x / f.parts;
  const unsigned part = blockIdx.x % f.parts;
  const Span mine = part_of(f.vocabulary, f.parts, part, kWidth), span = span_of(f.logits, row, mine.first, mine.last);
  const int thread = static_cast<int>(threadIdx.x);
  // As good as nothing, whatever the sign of the scale.
  const T nothing = f.scale < 0 ? Exponent<T>::infinity() : -Exponent<T>::infinity();
  Totals<T> t = no_totals<T>();

  // Asked for now, so that nobody waits for it at the end.
  const int64_t id = f.ids[row];
  const bool valid = id >= 0 && id < f.vocabulary;
  const T chosen = valid && thread == 0 ? load_as_computed(f.logits.at(row, id)) : T(0);

  const S* const vectors = &f.logits.at(row, span.start < f.vocabulary ? span.start : 0);
  int64_t v = thread;
  for (; v - thread + kThreads * kAhead <= span.count; v += kThreads * kAhead) {
    Vector<S> raw[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) raw[k] = load_vector(vectors + (v + k * kThreads) * kWidth);
    T x[kAhead][kWidth];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) unpack(x[k], raw[k]);
    add<kAhead * kWidth>(t, f.scale, [&](int i) { return x[i / kWidth][i % kWidth]; });
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
      add<kWidth>(t, f.scale, [&](int i) { return x[i]; });
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

  join_block<kWarps>(t, shared);
  if (thread >= 32) return;
  if (f.parts > 1) {
    Totals<T>* partials = f.partials + row * f.parts;
    bool last = false;
    if (thread == 0) {
      partials[part] = t;
      __threadfence();
      last = atomicAdd(f.tickets + row, 1u) == f.parts - 1;
    }
    if (__shfl_sync(kAllLanes, static_cast<int>(last), 0) == 0) return;
    __threadfence();
    t = no_totals<T>();
    for (unsigned p = threadIdx.x; p < f.parts; p += 32) join(t, partials[p]);
    join_lanes<32>(t);
    if (thread == 0) f.tickets[row] = 0;
  }
  if (thread != 0) return;
  if (!valid) return f.bad_id.index(id, row, f.vocabulary);
  const RowResult<T> result = result_of(t, chosen, f.scale);
  f.log_probs[row] = result.log_prob;
  f.entropy[row] = result.entropy;
  f.lse[row] = result.lse;
}

// Blocks of a row: as few as keep the device busy, and where even one for each batch would not, as many as there are batches.
int64_t parts_of(int64_t rows, int64_t vocabulary, int64_t batch) {
  const int64_t busy = 8 * device().multiprocessors;
  return std::clamp<int64_t>(ceil_div(busy, rows), 1, std::max<int64_t>(1, ceil_div(vocabulary, batch)));
}

template <class S>
void forward(const KernelCall& call) {
  using T = typename Forward<S>::T;
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], vocabulary = v[0].shape[1];
  if (rows == 0) return;
  const int64_t parts = parts_of(rows, vocabulary, int64_t{kThreads} * kAhead * Vectors<S>::kWidth);
  const Temporary memory("token_log_probs", parts > 1 ? static_cast<size_t>(rows * parts) * sizeof(Totals<T>) : 0);
  const Forward<S> f = {vectors_of<const S>(v[0]), vocabulary, column<const int32_t>(v[1]), column<T>(v[2]), column<T>(v[3]), column<T>(v[4]),
                        static_cast<T>(call.scalars[0] / Exponent<T>::kUnit), static_cast<unsigned>(parts), memory.as<Totals<T>>(), signals(0, rows, 0).tickets,
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
  unsigned parts;
  Report bad_id;
};

constexpr int kBatch = 2;  // vectors that a thread of the gradient asks for at a time: it stores as many

// Reads and writes the same elements, so that the gradient may take the place of the logits.
template <class S, class D>
__global__ void __launch_bounds__(kThreads) backward_rows(const Backward<S, D> f) {
  using T = typename Backward<S, D>::T;
  constexpr int kWidth = Vectors<const S>::kWidth;
  const int64_t row = blockIdx.x / f.parts;
  const unsigned part = blockIdx.x % f.parts;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t id = f.ids[row];
  const T g_log_prob = f.d_log_probs[row], g_entropy = f.d_entropy[row];
  const RowGradient<T> gradient(f.scale, f.lse[row], f.entropy[row], g_log_prob, g_entropy);
  if (id < 0 || id >= f.vocabulary) {
    if (thread == 0) f.bad_id.index(id, row, f.vocabulary);
    return;
  }
  // A row without a gradient is not read: what a masked position holds reaches nothing.
  const bool none = g_log_prob == 0 && g_entropy == 0;

  const Span mine = part_of(f.vocabulary, f.parts, part, kWidth);
  Span span = {mine.first, mine.last, mine.last, 0};
  if constexpr (sizeof(S) == sizeof(D)) {
    if (f.d_logits.step == 1 && f.d_logits.to_boundary(row, mine.first) == f.logits.to_boundary(row, mine.first)) {
      span = span_of(f.logits, row, mine.first, mine.last);
    }
    const S* from = &f.logits.at(row, span.count > 0 ? span.start : 0) + thread * kWidth;
    D* to = &f.d_logits.at(row, span.count > 0 ? span.start : 0) + thread * kWidth;
    // The token's vector, counted from the thread's own, and its place there.
    const int64_t id_vector = id < span.start ? -1 : (id - span.start) / kWidth;
    const int id_place = static_cast<int>((id - span.start) % kWidth);
    for (int64_t v = thread; v < span.count; v += kThreads * kBatch, from += kThreads * kBatch * kWidth, to += kThreads * kBatch * kWidth) {
      Vector<S> raw[kBatch] = {};
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (v + k * kThreads < span.count && !none) raw[k] = load_vector(from + k * kThreads * kWidth);
      }
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (v + k * kThreads >= span.count) continue;
        T x[kWidth] = {};
        if (!none) {
          unpack(x, raw[k]);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) x[i] = gradient.of(x[i]);
          if (v + k * kThreads == id_vector) {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) x[i] += i == id_place ? gradient.token : T(0);
          }
        }
        store_vector(to + k * kThreads * kWidth, pack<D>(x));
      }
    }
  }
  const auto elements = [&](int64_t from, int64_t to) {
    for (int64_t i = from + thread; i < to; i += kThreads) {
      T value = 0;
      if (!none) value = gradient.of(load_as_computed(f.logits.at(row, i))) + (i == id ? gradient.token : T(0));
      f.d_logits.at(row, i) = store_as<D>(value);
    }
  };
  elements(span.first, span.count > 0 ? span.start : span.last);
  elements(span.stop(kWidth), span.last);
}

// A block stores a few batches: long enough for what it reads of its row to be little, short enough for blocks to end at different times.
int64_t parts_of_gradient(int64_t rows, int64_t vocabulary, int64_t batch) {
  return std::max(parts_of(rows, vocabulary, batch), ceil_div(vocabulary, 4 * batch));
}

template <class S, class D>
void backward_to(const KernelCall& call) {
  using T = typename Backward<S, D>::T;
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], vocabulary = v[0].shape[1];
  if (rows == 0) return;
  const int64_t parts = parts_of_gradient(rows, vocabulary, int64_t{kThreads} * kBatch * Vectors<S>::kWidth);
  const Backward<S, D> f = {vectors_of<const S>(v[0]), vocabulary, column<const int32_t>(v[1]), column<const T>(v[2]), column<const T>(v[3]),
                            column<const T>(v[4]), column<const T>(v[5]), vectors_of<D>(v[6]), static_cast<T>(call.scalars[0]), static_cast<unsigned>(parts),
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
