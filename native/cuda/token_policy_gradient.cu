// The policy loss of sampled tokens and its gradient in the logits (policy_loss.h, logits.h), with one read of the logits: a row stays on chip between its
// statistics and its gradient, in the shared memory of the blocks of a cluster.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "../core/policy_loss.h"
#include "cluster.h"
#include "held_row.h"
#include "logits.h"
#include "report.h"

namespace vantage::cuda {
namespace {

template <class S>
struct Policy {
  using T = ComputedIn<S>;
  Vectors<const S> logits;
  int64_t rows, vocabulary;
  Column<const int32_t> ids;
  Column<const T> old_log_probs, advantages, weights, ref_log_probs;
  Column<T> losses, log_probs, entropy;
  Vectors<S> d_logits;
  bool gradient;  // it is wanted
  T scale;
  policy::Options<T> options;
  Report bad_id;

  __device__ __forceinline__ T unit_scale() const { return scale / static_cast<T>(Exponent<T>::kUnit); }
};

// What is known of a row before its logits are. But for the weight, only thread 0 has it.
template <class S>
struct Sample {
  using T = ComputedIn<S>;
  int64_t id;
  T chosen;  // the token's logit
  policy::Token<T> token;

  // Read before anybody writes to the row: the gradient may take its place.
  __device__ __forceinline__ Sample(const Policy<S>& f, int64_t row) : id(-1), chosen(0), token{} {
    if (row >= f.rows) return;
    token.weight = f.weights[row];
    if (token.weight == 0) return;
    id = f.ids[row];
    if (threadIdx.x != 0) return;
    if (id >= 0 && id < f.vocabulary) chosen = load_as_computed(f.logits.at(row, id));
    token.old_log_prob = f.old_log_probs[row];
    token.advantage = f.advantages[row];
    if (f.options.reference) token.ref_log_prob = f.ref_log_probs[row];
  }
  // A row that counts for nothing is not read: what a masked position holds reaches nothing.
  __device__ __forceinline__ bool masked() const { return token.weight == 0; }
};

// From the totals of a whole row; thread 0. `writes`: the results too.
template <class S, class T>
__device__ __forceinline__ RowGradient<T> finish(const Policy<S>& f, int64_t row, const Sample<S>& sample, const Totals<T>& t, bool writes) {
  const RowResult<T> result = result_of(t, sample.chosen, f.unit_scale());
  const policy::Loss<T> loss = policy::token_loss(result.log_prob, result.entropy, sample.token, f.options);
  if (writes) {
    if (sample.id < 0 || sample.id >= f.vocabulary) f.bad_id.index(sample.id, row, f.vocabulary);
    f.losses[row] = loss.value;
    f.log_probs[row] = result.log_prob;
    f.entropy[row] = result.entropy;
  }
  return {f.scale, result.lse, result.entropy, loss.d_log_prob, loss.d_entropy};
}
template <class S>
__device__ __forceinline__ void finish_masked(const Policy<S>& f, int64_t row) {
  f.losses[row] = f.log_probs[row] = f.entropy[row] = 0;
}

// ---- Rows on chip ------------------------------------------------------------------------------------------------------------

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr unsigned kMostBlocks = 8;  // of a cluster, on every device that has clusters
// Blocks that a multiprocessor has at a time: some read while others wait for one another.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kResident = 2;
#else
constexpr int kResident = 3;
#endif

// What the threads of a block and the blocks of a cluster tell one another, behind the row in the dynamic shared memory.
template <class T>
struct Board {
  Totals<T> warps[kWarps];
  Totals<T> blocks[2][kMostBlocks];  // of a row, and of the next one: a block may be ahead by as much
  RowGradient<T> gradient;
};

// A cluster has a row; the next one is on its way while it writes.
template <class S>
__global__ void __launch_bounds__(kThreads, sizeof(S) == 8 ? 1 : kResident) policy_held(const Policy<S> f, int vectors, unsigned size) {
  using T = typename Policy<S>::T;
  using Held = HeldRow<S, kThreads>;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  size = 1;  // there are no clusters: what they need takes registers
#endif
  const Held held(dynamic_shared(), vectors);
  Board<T>& board = *reinterpret_cast<Board<T>*>(dynamic_shared() + int64_t{vectors} * 16);
  const unsigned rank = size > 1 ? cluster_rank() : 0;
  const int64_t step = gridDim.x / size, first = std::min(f.vocabulary, int64_t{rank} * vectors * Held::kWidth);
  const int64_t last = std::min(f.vocabulary, first + int64_t{vectors} * Held::kWidth);
  const int thread = static_cast<int>(threadIdx.x);
  const T scale = f.unit_scale();
  const auto find = [&](int64_t row, const Sample<S>& sample) { return sample.masked() ? typename Held::Place{} : held.find(f.logits, row, first, last); };

  int64_t row = blockIdx.x / size;
  Sample<S> sample(f, row);
  typename Held::Place place = find(row, sample);
  held.fetch(f.logits, place);
  if (size > 1) cluster_barrier();  // the others' memory is there
  for (int turn = 0; row < f.rows; row += step) {
    T on_token = 0;
    RowGradient<T> gradient;
    if (sample.masked()) {
      clear_row<kThreads>(f.d_logits, row, first, last);
      if (rank == 0 && thread == 0) finish_masked(f, row);
    } else {
      Totals<T> t = no_totals<T>();
      held.first_pass(place, [&](const auto& x) { add<Held::kWidth>(t, scale, x); }, [&](T x) { add<1>(t, scale, [&](int) { return x; }); });
      join_block<kWarps>(t, board.warps);
      if (size > 1) {
        if (thread < static_cast<int>(size)) *in_block(&board.blocks[turn][rank], threadIdx.x) = t;
        cluster_barrier();
        if (thread < 32) {
          t = thread < static_cast<int>(size) ? board.blocks[turn][thread] : no_totals<T>();
          join_lanes<kMostBlocks>(t);
        }
        turn ^= 1;
      }
      if (thread == 0) board.gradient = finish(f, row, sample, t, rank == 0);
      __syncthreads();
      gradient = board.gradient;
      on_token = gradient.token;
    }
    const int64_t id = sample.id;
    sample = Sample<S>(f, row + step);
    const typename Held::Place next = find(row + step, sample);
    held.last_pass(place, f.d_logits, [&](T x) { return gradient.of(x); }, id, [&](T x) { return gradient.of(x) + on_token; }, f.logits, next);
    place = next;
  }
}

// How rows are spread: `vectors` of a row to each block of a cluster of `size`; 0 where no cluster holds a row.
struct Spread {
  unsigned size;
  int vectors;
  size_t bytes;
};

template <class S>
Spread spread_of(const Policy<S>& f) {
  constexpr int kWidth = Vectors<S>::kWidth;
  constexpr size_t kReserved = 1024;  // that the device keeps of each block's memory
  const unsigned most = device().major >= 9 ? kMostBlocks : 1;
  Spread spread = {};
  for (unsigned size = 1; size <= most; size *= 2) {
    const int64_t vectors = ceil_div(ceil_div(f.vocabulary, size), kWidth);
    const size_t bytes = static_cast<size_t>(vectors) * 16 + sizeof(Board<typename Policy<S>::T>);
    if (bytes > device().most_shared) continue;
    spread = {size, static_cast<int>(vectors), bytes};
    const bool busy = f.rows * size >= int64_t{kResident} * device().multiprocessors || vectors <= kThreads;
    if (busy && kResident * (bytes + kReserved) <= device().most_shared + kReserved) break;
  }
  return spread;
}

// ---- Rows that are read twice ------------------------------------------------------------------------------------------------

// For rows that no cluster holds, that do not lie along memory, or whose gradient is not wanted. There are as few at a time as the device has multiprocessors,
// so that a cache may have a row the second time.
template <class S>
__global__ void __launch_bounds__(kRowThreads<S>) policy_rows(const Policy<S> f) {
  using T = typename Policy<S>::T;
  constexpr int kThreads = kRowThreads<S>;
  __shared__ Totals<T> warps[kThreads / 32];
  __shared__ RowGradient<T> shared;
  for (int64_t row = blockIdx.x; row < f.rows; row += gridDim.x) {
    const Sample<S> sample(f, row);
    if (sample.masked()) {
      if (f.gradient) clear_row<kThreads>(f.d_logits, row, 0, f.vocabulary);
      if (threadIdx.x == 0) finish_masked(f, row);
      continue;
    }
    Totals<T> t = totals_of<kThreads, S>(f.logits, row, 0, f.vocabulary, f.unit_scale());
    join_block<kThreads / 32>(t, warps);
    if (threadIdx.x == 0) shared = finish(f, row, sample, t, true);
    __syncthreads();
    const RowGradient<T> gradient = shared;
    if (f.gradient) {
      map_row<kThreads, S>(f.logits, f.d_logits, row, 0, f.vocabulary, [&](T x) { return gradient.of(x); }, sample.id,
                               [&](T x) { return gradient.of(x) + gradient.token; });
    }
  }
}

template <class S>
bool launch_held(const Policy<S>& f) {
  constexpr const char* what = "token_policy_gradient";
  const Spread spread = spread_of(f);
  if (spread.size == 0) return false;
  const auto kernel = policy_held<S>;
  // The driver is asked once for a vocabulary, which is one as a rule.
  static thread_local struct {
    unsigned size = 0;
    size_t bytes = 0;
    int resident = 0;
  } known;
  if (known.size != spread.size || known.bytes != spread.bytes) {
    if (spread.bytes > kFreeShared) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(spread.bytes)), what);
    known = {spread.size, spread.bytes, static_cast<int>(resident_clusters(what, kernel, spread.size, kThreads, spread.bytes))};
  }
  const int64_t clusters = std::min<int64_t>(f.rows, known.resident);
  if (clusters == 0) return false;
  launch_clusters(what, kernel, spread.size, dim3(static_cast<unsigned>(clusters) * spread.size), kThreads, spread.bytes, f, spread.vectors, spread.size);
  return true;
}

template <class S>
void run(const KernelCall& call) {
  using T = ComputedIn<S>;
  const TensorView* v = call.views;
  const double* s = call.scalars;
  const policy::Options<T> options = {static_cast<T>(s[1]), static_cast<T>(s[2]), static_cast<T>(s[3]), static_cast<T>(s[4]), static_cast<T>(s[5]),
                                      static_cast<T>(s[6]), static_cast<policy::Kl>(static_cast<int>(call.attributes[0])), v[5].shape[0] > 0};
  const bool gradient = v[9].size() > 0;
  const Policy<S> f = {vectors_of<const S>(v[0]), v[0].shape[0], v[0].shape[1], column<const int32_t>(v[1]), column<const T>(v[2]), column<const T>(v[3]),
                       column<const T>(v[4]), column<const T>(v[5]), column<T>(v[6]), column<T>(v[7]), column<T>(v[8]),
                       gradient ? vectors_of<S>(v[9]) : Vectors<S>{}, gradient, static_cast<T>(s[0]), options, index_report("token_policy_gradient", "id")};
  if (f.rows == 0) return;
  if (gradient && f.logits.step == 1 && launch_held(f)) return;
  const int64_t blocks = std::min<int64_t>(f.rows, device().multiprocessors);
  launch("token_policy_gradient", policy_rows<S>, dim3(static_cast<unsigned>(blocks)), kRowThreads<S>, 0, f);
}

}  // namespace

void token_policy_gradient(const KernelCall& call) {
  check_arguments(call);
  switch (call.views[0].dtype) {
    case DType::f64: return run<double>(call);
    case DType::bf16: return run<bf16>(call);
    default: return run<float>(call);
  }
}

}  // namespace vantage::cuda
