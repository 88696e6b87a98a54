// Log-probability of a token and entropy of its distribution, from logits that are read once, and the gradient of both (logits.h).
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "logits.h"
#include "report.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kBatch = 16 * 4 * kThreads;  // bytes that a block asks for before it uses the first

// The elements [first, last) of a row that a block has. Parts are whole vectors long, so that where a row begins at a boundary all of them do.
struct Part {
  int64_t first, last;
};
__device__ __forceinline__ Part part_of(int64_t length, unsigned parts, unsigned part, int width) {
  const int64_t size = ceil_div(ceil_div(length, parts), width) * width;
  return {std::min(length, part * size), std::min(length, (part + 1) * size)};
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
  __shared__ Totals<T> shared[kWarps];
  const int64_t row = blockIdx.x / f.parts;
  const unsigned part = blockIdx.x % f.parts;
  const int thread = static_cast<int>(threadIdx.x);
  // Asked for now, so that nobody waits for it at the end.
  const int64_t id = f.ids[row];
  const bool valid = id >= 0 && id < f.vocabulary;
  const T chosen = valid && thread == 0 ? load_as_computed(f.logits.at(row, id)) : T(0);

  const Part mine = part_of(f.vocabulary, f.parts, part, Vectors<S>::kWidth);
  Totals<T> t = totals_of<kThreads, S>(f.logits, row, mine.first, mine.last, f.scale);
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
  const int64_t parts = parts_of(rows, vocabulary, kBatch / sizeof(S));
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

template <class S, class D>
__global__ void __launch_bounds__(kThreads) backward_rows(const Backward<S, D> f) {
  using T = typename Backward<S, D>::T;
  const int64_t row = blockIdx.x / f.parts;
  const unsigned part = blockIdx.x % f.parts;
  const int64_t id = f.ids[row];
  const T g_log_prob = f.d_log_probs[row], g_entropy = f.d_entropy[row];
  const RowGradient<T> gradient(f.scale, f.lse[row], f.entropy[row], g_log_prob, g_entropy);
  if (id < 0 || id >= f.vocabulary) {
    if (threadIdx.x == 0) f.bad_id.index(id, row, f.vocabulary);
    return;
  }
  const Part mine = part_of(f.vocabulary, f.parts, part, Vectors<S>::kWidth);
  // A row without a gradient is not read: what a masked position holds reaches nothing.
  if (g_log_prob == 0 && g_entropy == 0) return clear_row<kThreads>(f.d_logits, row, mine.first, mine.last);
  map_row<kThreads, S>(f.logits, f.d_logits, row, mine.first, mine.last, [&](T x) { return gradient.of(x); }, id,
                       [&](T x) { return gradient.of(x) + gradient.token; });
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
  const int64_t parts = parts_of_gradient(rows, vocabulary, kBatch / 2 / sizeof(S));
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
