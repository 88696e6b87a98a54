// Draws one token for each row of logits.
#include "../core/check.h"
#include "../core/kernels.h"
#include "../core/philox.h"
#include "scratch.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

struct Options {
  double temperature, top_p, min_p;
  int64_t top_k;
};

template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  typedef uint32_t type;
};
template <>
struct BitsOf<double> {
  typedef uint64_t type;
};

template <class T>
VANTAGE_INLINE typename BitsOf<T>::type bits_of(T x) {
  typename BitsOf<T>::type bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The most likely tokens: all whose weight is larger than `weight`, and the first `ties` of those equal to it.
template <class T>
struct Cut {
  T weight;
  int64_t ties;
};

// The smallest prefix of the tokens in order of weight that has `count` of them or a sum of `mass`. Weights are not negative, so that their
// bits are ordered as they are: a radix search from the top digit down finds the last weight of the prefix without sorting.
template <class T>
Cut<T> find_cut(const T* weights, int64_t n, int64_t count, double mass) {
  typedef typename BitsOf<T>::type Bits;
  Bits prefix = 0, mask = 0;
  const int digit = n < 1024 ? 4 : 8, bins = 1 << digit;  // few tokens: small tables, which are quickly cleared and walked
  int64_t counts[256];
  double masses[256];
  for (int shift = static_cast<int>(sizeof(T)) * 8 - digit;; shift -= digit) {
    for (int bin = 0; bin < bins; ++bin) counts[bin] = 0, masses[bin] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const Bits bits = bits_of(weights[i]);
      if ((bits & mask) != prefix) continue;
      const int bin = static_cast<int>(bits >> shift & (bins - 1));
      ++counts[bin];
      masses[bin] += static_cast<double>(weights[i]);
    }
    int bin = bins - 1, last = bin;  // `last` not empty: rounding may leave the mass a little short of what was asked
    for (; bin >= 0; --bin) {
      if (counts[bin] == 0) continue;
      last = bin;
      if (count <= counts[bin] || mass <= masses[bin]) break;
      count -= counts[bin], mass -= masses[bin];
    }
    if (bin < 0) count += counts[last], mass += masses[last];
    prefix |= static_cast<Bits>(last) << shift;
    mask |= static_cast<Bits>(bins - 1) << shift;
    if (shift == 0) {
      T weight;
      __builtin_memcpy(&weight, &prefix, sizeof weight);
      int64_t ties = smaller(count, counts[last]);
      const double needed = weight > 0 ? __builtin_ceil(mass / static_cast<double>(weight)) : 1;
      if (needed < static_cast<double>(ties)) ties = static_cast<int64_t>(needed);
      return {weight, larger<int64_t>(ties, 1)};
    }
  }
}

// Index of the largest logit, the first of equals.
template <class T>
int64_t largest(const T* logits, int64_t n, int64_t row) {
  int64_t best = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (logits[i] != logits[i]) fail_row("sample", "logits: expected numbers, got NaN in row", row);
    best = logits[i] > logits[best] ? i : best;
  }
  return best;
}

// weights[i] = exp(logits[i] / temperature - the largest of them); returns their sum.
template <class T>
double weigh(const T* logits, int64_t n, double temperature, T max, T* weights) {
  const T scale = static_cast<T>(1 / temperature);
  double total = 0;
  for (int64_t start = 0; start < n; start += 1024) {
    Vector<T> sum = {};
    for (int64_t i = start; i < smaller(n, start + 1024); i += kLanes<T>) {
      const Vector<T> weight = exp_of((load(logits + i) - max) * scale);
      sum += weight;
      store(weights + i, weight);
    }
    total += static_cast<double>(sum_of<T>(sum));
  }
  return total;
}

// Inverts the cumulative distribution of the weights that the cuts leave, in token order.
template <class T>
int64_t draw(T* weights, int64_t n, double total, const Options& options, double uniform) {
  const bool cut_k = options.top_k > 0 && options.top_k < n, cut_p = options.top_p < 1;
  if (cut_k || cut_p) {
    Cut<T> cut = find_cut(weights, n, cut_k ? options.top_k : n, cut_p ? options.top_p * total : __builtin_inf());
    for (int64_t i = 0; i < n; ++i) {
      const bool tied = weights[i] == cut.weight;
      const bool kept = weights[i] > cut.weight || (tied && cut.ties > 0);
      cut.ties -= tied;
      weights[i] = kept ? weights[i] : 0;
    }
  }
  const T least = static_cast<T>(smaller(options.min_p, 1.0));  // the largest weight is 1
  double kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    weights[i] = weights[i] < least ? 0 : weights[i];
    kept += static_cast<double>(weights[i]);
  }
  const double target = uniform * kept;
  double cumulative = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (weights[i] == 0) continue;
    last = i;
    cumulative += static_cast<double>(weights[i]);
    if (cumulative > target) break;
  }
  return last;
}

template <class T>
void sample_rows(const KernelCall& call, const Options& options, uint32_t key_low, uint32_t key_high, uint64_t counter) {
  const TensorView &logits = call.views[0], &ids = call.views[1], &log_probs = call.views[2];
  const int64_t rows = logits.shape[0], n = logits.shape[1], width = padded<T>(n);
  const int64_t group = larger<int64_t>(1, 2048 / n);
  parallel_for(ceil_div(rows, group), rows * n * 8, [&](int64_t task) {
    T* row = scratch<T>(Scratch::rows, 2 * width);
    T* weights = row + width;
    for (int64_t r = task * group; r < smaller(rows, (task + 1) * group); ++r) {
      read_row(logits, r * logits.strides[0], logits.strides[1], n, row);
      for (int64_t i = n; i < width; ++i) row[i] = T(-__builtin_inf());
      int64_t id = largest(row, n, r);
      const T max = row[id];
      if (!(max - max == 0)) fail_row("sample", "logits: expected a finite largest value, got none in row", r);
      const bool greedy = options.temperature == 0;
      const double temperature = greedy ? 1 : options.temperature, total = weigh(row, n, temperature, max, weights);
      if (!greedy) {
        const PhiloxBlock block = vantage::philox(key_low, key_high, counter + static_cast<uint64_t>(r));
        id = draw(weights, n, total, options, philox_uniform53(block.words[0], block.words[1]));
      }
      const double log_prob = static_cast<double>(row[id] - max) / temperature - log_of(total);
      ids.as<int32_t>()[r * ids.strides[0]] = static_cast<int32_t>(id);
      write_row(&log_prob, 1, log_probs, r * log_probs.strides[0], 1);
    }
  });
}

}  // namespace

void sample(const KernelCall& call) {
  const TensorView& logits = call.views[0];
  if (logits.shape[0] == 0) return;
  const double* const p = call.scalars;
  const Options options{p[0], p[1], p[2], static_cast<int64_t>(p[3])};
  const auto key_low = static_cast<uint32_t>(p[4]), key_high = static_cast<uint32_t>(p[5]);
  const auto counter = static_cast<uint64_t>(p[6]);
  logits.dtype == DType::f64 ? sample_rows<double>(call, options, key_low, key_high, counter)
                             : sample_rows<float>(call, options, key_low, key_high, counter);
}

}  // namespace vantage::cpu::VANTAGE_ISA
