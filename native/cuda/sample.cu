// Draws one token for each row of logits. The same steps as on the CPU, with masses as whole numbers: their sums are the same in any order.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "../core/philox.h"
#include "device.h"
#include "report.h"

namespace vantage::cuda {
namespace {

constexpr int kMostWarps = 16, kItems = 4;  // of a block; tokens that a thread takes at a time
constexpr int kDigit = 8, kBins = 1 << kDigit;

using Mass = unsigned long long;

struct Options {
  double temperature, top_p, min_p;
  int64_t top_k;
  uint32_t key_low, key_high;
  uint64_t counter;
};

// The threads of a block: as many as a row has work for.
__device__ __forceinline__ int threads() { return static_cast<int>(blockDim.x); }
__device__ __forceinline__ int warps() { return threads() / 32; }

// What the threads of a block share.
struct Shared {
  Mass masses[kBins];
  Mass counts[kBins];
  Mass warps[kMostWarps];
  double sums[kMostWarps];
  int64_t ids[kMostWarps];
  uint64_t prefix;  // of the bits of the weight that is searched
  double count, mass;
  int64_t ties, id;
};

__device__ __forceinline__ uint64_t bits_of(float x) { return math::bits_of(x); }
__device__ __forceinline__ uint64_t bits_of(double x) { return static_cast<uint64_t>(__double_as_longlong(x)); }
__device__ __forceinline__ void from_bits(float& x, uint64_t bits) { x = math::float_of(static_cast<uint32_t>(bits)); }
__device__ __forceinline__ void from_bits(double& x, uint64_t bits) { x = __longlong_as_double(static_cast<long long>(bits)); }

// A row's weights are taken again in each pass: never inlined, so that each pass gets the same bits.
#ifndef VANTAGE_CUDA_EMULATED
__noinline__
#endif
__device__ float weight_of(float x, float max, float scale) { return math::exp((x - max) * scale); }
#ifndef VANTAGE_CUDA_EMULATED
__noinline__
#endif
__device__ double weight_of(double x, double max, double scale) { return math::exp((x - max) * scale); }

template <class T>
struct Row {
  AnyMatrix logits;
  int64_t row, n;
  T max, scale;
  double unit;  // of a mass

  __device__ __forceinline__ T weight(int64_t i) const { return weight_of(logits.read<T>(row, i), max, scale); }
  __device__ __forceinline__ Mass mass(T weight) const { return static_cast<Mass>(static_cast<double>(weight) * unit); }
};

// The sum of what the threads before this one have; `total` of all. Barriers before and after the shared memory is used.
__device__ __forceinline__ Mass block_sum_before(Mass x, Mass* total, Shared& shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Mass sum = x;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const Mass before = __shfl_up_sync(kAllLanes, sum, d);
    if (lane >= d) sum += before;
  }
  __syncthreads();
  if (lane == 31) shared.warps[warp] = sum;
  __syncthreads();
  Mass before = 0, all = 0;
  for (int w = 0; w < warps(); ++w) {
    if (w == warp) before = all;
    all += shared.warps[w];
  }
  *total = all;
  return before + sum - x;
}

// Index of the largest logit, the first of equals; -1 where one is NaN. In all threads.
template <class T>
__device__ __forceinline__ int64_t largest(const AnyMatrix& logits, int64_t row, int64_t n, Shared& shared) {
  const T low = static_cast<T>(-__builtin_inf());
  T best = low;
  int64_t at = n;
  bool nan = false;
  for (int64_t i = threadIdx.x; i < n; i += threads()) {
    const T x = logits.read<T>(row, i);
    nan = nan || x != x;
    if (x > best || at == n) best = x, at = i;
  }
  const auto choose = [&](T x, int64_t i) {
    if (i < n && (at == n || x > best || (x == best && i < at))) best = x, at = i;
  };
#pragma unroll
  for (int d = 16; d > 0; d /= 2) choose(__shfl_xor_sync(kAllLanes, best, d), __shfl_xor_sync(kAllLanes, at, d));
  nan = __syncthreads_or(nan);
  if (threadIdx.x % 32 == 0) shared.ids[threadIdx.x / 32] = at;
  __syncthreads();
  for (int w = 0; w < warps(); ++w) {
    const int64_t i = shared.ids[w];
    if (i < n) choose(logits.read<T>(row, i), i);
  }
  return nan ? -1 : at;
}

// The most likely tokens: all whose weight is larger than `weight`, and the first `ties` of those equal to it.
template <class T>
struct Cut {
  T weight;
  int64_t ties, equal;
};

// The smallest prefix of the tokens in order of weight that has `count` of them or a sum of `mass`. Weights are not negative, so that their bits are ordered as
// they are: a radix search from the top digit down finds the last weight of the prefix without sorting.
template <class T>
__device__ Cut<T> find_cut(const Row<T>& row, int64_t count, double mass, Shared& shared) {
  constexpr int kBitsOf = static_cast<int>(sizeof(T)) * 8;
  if (threadIdx.x == 0) shared.prefix = 0, shared.count = static_cast<double>(count), shared.mass = mass;
  uint64_t mask = 0;
  for (int shift = kBitsOf - kDigit; shift >= 0; shift -= kDigit) {
    for (int bin = threadIdx.x; bin < kBins; bin += threads()) shared.masses[bin] = 0, shared.counts[bin] = 0;
    __syncthreads();
    const uint64_t prefix = shared.prefix;
    for (int64_t i = threadIdx.x; i < row.n; i += threads()) {
      const T weight = row.weight(i);
      const uint64_t bits = bits_of(weight);
      if ((bits & mask) != prefix) continue;
      const int bin = static_cast<int>(bits >> shift & (kBins - 1));
      atomicAdd(&shared.counts[bin], Mass{1});
      atomicAdd(&shared.masses[bin], row.mass(weight));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bin = kBins - 1, last = bin;  // `last` not empty: rounding may leave the mass a little short of what was asked
      for (; bin >= 0; --bin) {
        if (shared.counts[bin] == 0) continue;
        last = bin;
        if (shared.count <= static_cast<double>(shared.counts[bin]) || shared.mass <= static_cast<double>(shared.masses[bin])) break;
        shared.count -= static_cast<double>(shared.counts[bin]), shared.mass -= static_cast<double>(shared.masses[bin]);
      }
      if (bin < 0) shared.count += static_cast<double>(shared.counts[last]), shared.mass += static_cast<double>(shared.masses[last]);
      shared.prefix = prefix | static_cast<uint64_t>(last) << shift;
      shared.ties = static_cast<int64_t>(shared.counts[last]);
    }
    mask |= static_cast<uint64_t>(kBins - 1) << shift;
    __syncthreads();
  }
  Cut<T> cut;
  from_bits(cut.weight, shared.prefix);
  cut.equal = shared.ties;
  const double one = static_cast<double>(row.mass(cut.weight)), needed = one > 0 ? ceil(shared.mass / one) : 1;
  double ties = fmin(shared.count, static_cast<double>(cut.equal));
  ties = fmin(ties, needed);
  cut.ties = ties < 1 ? 1 : static_cast<int64_t>(ties);
  __syncthreads();
  return cut;
}

// The masses of kItems neighbouring tokens that are left after the cuts. `tied` counts the tokens before the tile that are equal to the cut.
template <class T>
__device__ __forceinline__ void kept_masses(Mass (&masses)[kItems], const Row<T>& row, int64_t first, const Cut<T>& cut, T least, Mass& tied, Shared& shared) {
  T weights[kItems];
  Mass equal = 0;
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    weights[k] = first + k < row.n ? row.weight(first + k) : T(0);
    equal += first + k < row.n && weights[k] == cut.weight;
  }
  Mass rank = 0;
  if (cut.ties < cut.equal) {
    Mass all;
    rank = tied + block_sum_before(equal, &all, shared);
    tied += all;
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const bool is_tied = weights[k] == cut.weight;
    const bool kept = weights[k] > cut.weight || (is_tied && rank < static_cast<Mass>(cut.ties));
    rank += cut.ties < cut.equal && is_tied;
    masses[k] = kept && weights[k] >= least ? row.mass(weights[k]) : 0;
  }
}

// Inverts the cumulative distribution of what the cuts leave, in token order. In all threads.
template <class T>
__device__ int64_t draw(const Row<T>& row, Mass total, const Options& options, double uniform, Shared& shared) {
  const bool cut_k = options.top_k > 0 && options.top_k < row.n, cut_p = options.top_p < 1;
  Cut<T> cut = {T(-1), 0, 0};
  if (cut_k || cut_p) cut = find_cut(row, cut_k ? options.top_k : row.n, cut_p ? options.top_p * static_cast<double>(total) : __builtin_inf(), shared);
  const T least = static_cast<T>(options.min_p < 1 ? options.min_p : 1);  // the largest weight is 1
  Mass kept = 0, tied = 0;
  for (int64_t start = 0; start < row.n; start += threads() * kItems) {
    Mass masses[kItems];
    kept_masses(masses, row, start + threadIdx.x * kItems, cut, least, tied, shared);
    for (Mass mass : masses) kept += mass;
  }
  Mass all;
  block_sum_before(kept, &all, shared);
  // Below `all`, whatever the rounding: some token passes it.
  Mass target = static_cast<Mass>(uniform * static_cast<double>(all));
  target = target < all ? target : all - 1;
  Mass before = 0;
  tied = 0;
  for (int64_t start = 0; start < row.n; start += threads() * kItems) {
    const int64_t first = start + threadIdx.x * kItems;
    Mass masses[kItems], mine = 0, whole;
    kept_masses(masses, row, first, cut, least, tied, shared);
    for (Mass mass : masses) mine += mass;
    Mass cumulative = before + block_sum_before(mine, &whole, shared);
    before += whole;
    if (before <= target) continue;
    // One thread has the token.
    if (cumulative <= target && target < cumulative + mine) {
      int k = 0;
      while ((cumulative += masses[k]) <= target) ++k;
      shared.id = first + k;
    }
    break;
  }
  __syncthreads();
  return shared.id;
}

template <class T>
__global__ void __launch_bounds__(32 * kMostWarps) sample_rows(const AnyMatrix logits, int64_t n, Column<int32_t> ids, const AnyMatrix log_probs, const Options options,
                                                       double unit, const Report nan, const Report infinite) {
  __shared__ Shared shared;
  const int64_t r = blockIdx.x;
  int64_t id = largest<T>(logits, r, n, shared);
  if (id < 0) {
    if (threadIdx.x == 0) nan.row(r);
    return;
  }
  const T max = logits.read<T>(r, id);
  if (!(max - max == 0)) {
    if (threadIdx.x == 0) infinite.row(r);
    return;
  }
  const bool greedy = options.temperature == 0;
  const double temperature = greedy ? 1 : options.temperature;
  const Row<T> row = {logits, r, n, max, static_cast<T>(1 / temperature), unit};
  double sum = 0;
  Mass mass = 0, total;
  for (int64_t i = threadIdx.x; i < n; i += threads()) {
    const T weight = row.weight(i);
    sum += static_cast<double>(weight);
    mass += row.mass(weight);
  }
  block_sum_before(mass, &total, shared);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(kAllLanes, sum, d);
  if (threadIdx.x % 32 == 0) shared.sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int w = 0; w < warps(); ++w) sum += shared.sums[w];
  if (!greedy) {
    const PhiloxBlock block = vantage::philox(options.key_low, options.key_high, options.counter + static_cast<uint64_t>(r));
    id = draw(row, total, options, philox_uniform53(block.words[0], block.words[1]), shared);
  }
  if (threadIdx.x != 0) return;
  ids[r] = static_cast<int32_t>(id);
  log_probs.write(r, 0, static_cast<double>(logits.read<T>(r, id) - max) / temperature - math::log(sum));
}

template <class T>
void run(const KernelCall& call) {
  const TensorView& logits = call.views[0];
  const double* s = call.scalars;
  const int64_t rows = logits.shape[0], n = logits.shape[1];
  const unsigned warps = static_cast<unsigned>(std::clamp<int64_t>(n / (32 * kItems), 1, kMostWarps));
  // The sum of n masses of at most 1 fits in 62 bits.
  int bits = 0;
  while (int64_t{1} << bits < n) ++bits;
  const Options options = {s[0], s[1], s[2], static_cast<int64_t>(s[3]), static_cast<uint32_t>(s[4]), static_cast<uint32_t>(s[5]), static_cast<uint64_t>(s[6])};
  const AnyMatrix log_probs = {call.views[2].data, call.views[2].dtype, call.views[2].strides[0], 0};
  launch("sample", sample_rows<T>, dim3(static_cast<unsigned>(rows)), dim3(32 * warps), 0, matrix_of(logits), n, column<int32_t>(call.views[1]), log_probs, options,
         static_cast<double>(int64_t{1} << (62 - bits)), row_report("sample", "logits: expected numbers, got NaN in row"),
         row_report("sample", "logits: expected a finite largest value, got none in row"));
}

}  // namespace

void sample(const KernelCall& call) {
  check_arguments(call);
  if (call.views[0].shape[0] == 0) return;
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
