// Log-probability of a token and entropy of its distribution, from logits that are read once (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018, with a third running sum for the entropy), and the gradient of both.
#include "../core/kernels.h"
#include "check.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kChunk = 1024;

// Σ exp(y - max) and Σ exp(y - max)·(y - max) of the logits y that were seen.
struct Totals {
  double max, sum, weighted;
};

// A chunk stays in L1 between the pass for its maximum and the pass for its sums.
template <class T>
void add_chunk(T* y, int64_t n, T scale, Totals& totals) {
  constexpr int L = kLanes<T>;
  const T low = T(-__builtin_inf());
  const int64_t whole = n / L * L;
  // A NaN is not larger than anything: it is left to the sums below.
  Vector<T> high = splat(low);
  for (int64_t i = 0; i < whole; i += L) {
    const Vector<T> v = load(y + i) * scale;
    store(y + i, v);
    high = v > high ? v : high;
  }
  if (whole < n) {
    const Vector<T> v = lane_numbers<T>() < static_cast<T>(n - whole) ? load(y + whole) * scale : splat(low);
    store(y + whole, v);
    high = v > high ? v : high;
  }
  const double max = static_cast<double>(max_of<T>(high));
  if (max > totals.max) {
    const double shift = totals.max - max, factor = totals.sum > 0 ? __builtin_exp(shift) : 0;
    totals.weighted = totals.sum > 0 ? factor * (totals.weighted + shift * totals.sum) : 0;
    totals.sum *= factor;
    totals.max = max;
  }
  const T offset = totals.max == static_cast<double>(low) ? 0 : static_cast<T>(totals.max);  // -inf - -inf would be NaN
  Vector<T> sums[4] = {}, weighted[4] = {};
  const auto add = [&](int lane, int64_t at) __attribute__((always_inline)) {
    const Vector<T> shifted = clamp_exponent<T>(load(y + at) - offset), e = exp_of(shifted);
    sums[lane] += e;
    weighted[lane] += e * shifted;
  };
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    add(0, i), add(1, i + L), add(2, i + 2 * L), add(3, i + 3 * L);
  }
  for (; i < n; i += L) add(0, i);
  totals.sum += static_cast<double>(sum_of<T>((sums[0] + sums[1]) + (sums[2] + sums[3])));
  totals.weighted += static_cast<double>(sum_of<T>((weighted[0] + weighted[1]) + (weighted[2] + weighted[3])));
}

double element(const TensorView& view, int64_t offset) {
  double value;
  read_row(view, offset, 1, 1, &value);
  return value;
}

void set(const TensorView& view, int64_t row, double value) { write_row(&value, 1, view, row * view.strides[0], 1); }

int64_t token_of(const TensorView& ids, int64_t row, int64_t vocabulary, const char* kernel) {
  const int64_t id = ids.as<const int32_t>()[row * ids.strides[0]];
  if (id < 0 || id >= vocabulary) fail_index(kernel, "id", id, row, vocabulary);
  return id;
}

template <class T>
void forward(const KernelCall& call) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  const int64_t rows = logits.shape[0], vocabulary = logits.shape[1], group = larger<int64_t>(1, 8192 / (vocabulary + 1));
  const T scale = static_cast<T>(call.scalars[0]);
  parallel_for(ceil_div(rows, group), rows * vocabulary * 4, [&](int64_t task) {
    alignas(64) T chunk[kChunk] = {};
    for (int64_t r = task * group; r < smaller(rows, (task + 1) * group); ++r) {
      const int64_t start = r * logits.strides[0], id = token_of(ids, r, vocabulary, "token_log_probs");
      Totals totals{-__builtin_inf(), 0, 0};
      for (int64_t i = 0; i < vocabulary; i += kChunk) {
        const int64_t count = smaller(kChunk, vocabulary - i);
        read_row(logits, start + i * logits.strides[1], logits.strides[1], count, chunk);
        add_chunk(chunk, count, scale, totals);
      }
      const double log_sum = log_of(totals.sum);
      const T scaled = static_cast<T>(element(logits, start + id * logits.strides[1])) * scale;
      set(call.views[2], r, (static_cast<double>(scaled) - totals.max) - log_sum);
      set(call.views[3], r, log_sum - totals.weighted / totals.sum);
      set(call.views[4], r, totals.max + log_sum);
    }
  });
}

template <class T>
void backward(const KernelCall& call) {
  constexpr int L = kLanes<T>;
  const TensorView &logits = call.views[0], &ids = call.views[1], &d_logits = call.views[6];
  const int64_t rows = logits.shape[0], vocabulary = logits.shape[1], group = larger<int64_t>(1, 8192 / (vocabulary + 1));
  const T scale = static_cast<T>(call.scalars[0]);
  parallel_for(ceil_div(rows, group), rows * vocabulary * 4, [&](int64_t task) {
    alignas(64) T chunk[kChunk] = {};
    for (int64_t r = task * group; r < smaller(rows, (task + 1) * group); ++r) {
      const auto at = [&](int view) { return static_cast<T>(element(call.views[view], r * call.views[view].strides[0])); };
      const T lse = at(2), entropy = at(3), g_log_prob = at(4), g_entropy = at(5);
      const int64_t start = r * logits.strides[0], id = token_of(ids, r, vocabulary, "token_log_probs_backward");
      // A row without a gradient is not read: what a masked position holds reaches nothing.
      const bool none = g_log_prob == 0 && g_entropy == 0;
      for (int64_t i = 0; i < vocabulary; i += kChunk) {
        const int64_t count = smaller(kChunk, vocabulary - i);
        if (none) {
          for (int64_t j = 0; j < count; ++j) chunk[j] = 0;
        } else {
          read_row(logits, start + i * logits.strides[1], logits.strides[1], count, chunk);
          for (int64_t j = 0; j < count; j += L) {
            const Vector<T> log_p = clamp_exponent<T>(load(chunk + j) * scale - lse), p = exp_of(log_p);
            store(chunk + j, -scale * p * (g_log_prob + g_entropy * (log_p + entropy)));
          }
          if (id >= i && id < i + count) chunk[id - i] += scale * g_log_prob;
        }
        write_row(chunk, count, d_logits, r * d_logits.strides[0] + i * d_logits.strides[1], d_logits.strides[1]);
      }
    }
  });
}

// logits and ids first, then one value a row in each of the views from `first` to `last`.
void check(const char* kernel, const KernelCall& call, const char* const* names, int last) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  check_dtype(kernel, "logits", logits, kFloating);
  check_ndim(kernel, "logits", logits, 2, 2);
  check_dtype(kernel, "ids", ids, bit(DType::i32));
  check_shape(kernel, "ids", ids, {logits.shape[0]});
  for (int i = 2; i <= last; ++i) {
    check_dtype(kernel, names[i - 2], call.views[i], bit(computed_in(logits.dtype)));
    check_shape(kernel, names[i - 2], call.views[i], {logits.shape[0]});
  }
}

}  // namespace

void token_log_probs(const KernelCall& call) {
  constexpr const char* names[] = {"log_probs", "entropy", "lse"};
  check("token_log_probs", call, names, 4);
  call.views[0].dtype == DType::f64 ? forward<double>(call) : forward<float>(call);
}

void token_log_probs_backward(const KernelCall& call) {
  constexpr const char* names[] = {"lse", "entropy", "d_log_probs", "d_entropy"};
  check("token_log_probs_backward", call, names, 5);
  check_dtype("token_log_probs_backward", "d_logits", call.views[6], kFloating);
  check_shape_of("token_log_probs_backward", "d_logits", call.views[6], call.views[0]);
  call.views[0].dtype == DType::f64 ? backward<double>(call) : backward<float>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
