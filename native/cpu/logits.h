// What the kernels over logits compute of a row: its totals, from logits that are read once (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018, with a third running sum for the entropy), and the gradient of a token's log-probability and of the entropy.
#pragma once
#include "../core/kernels.h"
#include "../core/check.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kChunk = 1024;

// Σ exp(y - offset) and Σ exp(y - offset)·(y - offset) of the scaled logits y that were seen. The offset is near their maximum: the largest of an early
// chunk does until a logit is larger by more than kSlack, so that a chunk is read once, and its sums lose no digits.
struct Totals {
  double offset, sum, weighted;
};
constexpr double kSlack = 4;

constexpr double kNone = -__builtin_inf();

// Vectors of 8 float32 or float64 logits, or of two times as many bfloat16 in any order.
template <class T, class From>
struct Logits;
template <class T>
struct Logits<T, T> {
  static constexpr int kVectors = 1;
  static VANTAGE_INLINE void read(Vector<T> (&to)[1], const T* from) { to[0] = load(from); }
};
template <>
struct Logits<float, bf16> {
  static constexpr int kVectors = 2;
  static VANTAGE_INLINE void read(Vector<float> (&to)[2], const bf16* from) {
    typedef uint32_t Pairs __attribute__((vector_size(kVectorBytes)));
    Pairs pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    to[0] = (Vector<float>)(pairs << 16);
    to[1] = (Vector<float>)(pairs & 0xFFFF0000u);
  }
};

// exp(d) for d up to 60 or so, d as 2^(n+f) with |f| <= ½ and a polynomial for 2^f (minimax, 8e-8). What is too small for a float32 becomes the
// smallest one, which adds nothing to a sum of 1 or more, and d is clamped to fit. NaN stays NaN.
VANTAGE_INLINE void exponential(Vector<float>& e, Vector<float>& d) {
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Vector<float> lowest = splat(-87.0f);
  d = lowest > d ? lowest : d;
  const float magic = 12582912.0f + 127.0f;  // 1.5·2^23 rounds to an integer, which the low bits then hold, and 127 is the exponent's bias
  const Vector<float> shifted = d * 1.44269504f + magic;
  const Vector<float> f = d * 1.44269504f - (shifted - magic);
  Vector<float> p = f * 1.3276471979e-3f + 9.6755413342e-3f;
  p = p * f + 5.5507132735e-2f;
  p = p * f + 2.4022119724e-1f;
  p = p * f + 6.9314696706e-1f;
  p = p * f + 1.0f;
  e = p * (Vector<float>)((Bits)shifted << 23);
}
VANTAGE_INLINE void exponential(Vector<double>& e, Vector<double>& d) {
  d = clamp_exponent<double>(d);
  e = exp_of(d);
}

// The largest of n scaled logits, n a multiple of two vectors. A NaN is not larger than anything: it is left to the sums.
template <class T, class From>
double largest(const From* x, int64_t n, T scale) {
  using Read = Logits<T, From>;
  constexpr int kStep = kLanes<T> * Read::kVectors;
  Vector<T> high = splat(static_cast<T>(kNone));
  for (int64_t i = 0; i < n; i += kStep) {
    Vector<T> y[Read::kVectors];
    Read::read(y, x + i);
    for (const Vector<T>& v : y) high = v * scale > high ? v * scale : high;
  }
  return static_cast<double>(max_of<T>(high));
}

// Adds n logits, n a multiple of two vectors.
template <class T, class From>
void add_chunk(const From* x, int64_t n, T scale, Totals& totals) {
  using Read = Logits<T, From>;
  constexpr int L = kLanes<T>, kParts = 2;
  if (totals.offset == kNone) totals.offset = largest(x, n, scale);
  for (;;) {
    const T offset = totals.offset == kNone ? 0 : static_cast<T>(totals.offset);  // -inf - -inf would be NaN
    Vector<T> sums[kParts] = {}, weighted[kParts] = {}, high[kParts] = {splat(static_cast<T>(kNone)), splat(static_cast<T>(kNone))};
    for (int64_t i = 0; i < n; i += kParts * L) {
      Vector<T> y[kParts];
      if constexpr (Read::kVectors == kParts) {
        Read::read(y, x + i);
      } else {
        for (int k = 0; k < kParts; ++k) y[k] = load(x + i + k * L);
      }
#pragma GCC unroll 2
      for (int k = 0; k < kParts; ++k) {
        Vector<T> d = y[k] * scale - offset, e;
        high[k] = d > high[k] ? d : high[k];
        exponential(e, d);
        sums[k] += e;
        weighted[k] += e * d;
      }
    }
    const double above = static_cast<double>(max_of<T>(high[0] > high[1] ? high[0] : high[1]));
    if (above <= kSlack || totals.offset == kNone) {
      const double sum = static_cast<double>(sum_of<T>(sums[0] + sums[1]));
      if (above == kNone && sum == sum) return;  // nothing but -inf
      totals.sum += sum;
      totals.weighted += static_cast<double>(sum_of<T>(weighted[0] + weighted[1]));
      return;
    }
    // Once more, from the new maximum.
    const double higher = largest(x, n, scale), shift = totals.offset - higher, factor = totals.sum > 0 ? __builtin_exp(shift) : 0;
    totals.weighted = totals.sum > 0 ? factor * (totals.weighted + shift * totals.sum) : totals.weighted;
    totals.sum *= totals.sum > 0 ? factor : 1;  // a NaN stays
    totals.offset = higher;
  }
}

// A row, from where it lies or by way of a buffer.
template <class T, class From>
void add_row(const TensorView& logits, int64_t start, int64_t n, T scale, Totals& totals) {
  constexpr int64_t kWhole = 2 * kLanes<T>;
  alignas(64) T buffer[kChunk];
  int64_t i = 0;
  if (logits.strides[1] == 1) {
    const From* const x = logits.as<const From>() + start;
    for (; n - i >= kWhole; ) {
      const int64_t count = smaller(kChunk, (n - i) / kWhole * kWhole);
      add_chunk<T>(x + i, count, scale, totals);
      i += count;
    }
  }
  for (; i < n; i += kChunk) {
    const int64_t count = smaller(kChunk, n - i), whole = ceil_div(count, kWhole) * kWhole;
    read_row(logits, start + i * logits.strides[1], logits.strides[1], count, buffer);
    for (int64_t k = count; k < whole; ++k) buffer[k] = static_cast<T>(scale < 0 ? -kNone : kNone);
    add_chunk<T>(buffer, whole, scale, totals);
  }
}

VANTAGE_INLINE double element(const TensorView& view, int64_t offset) {
  double value;
  read_row(view, offset, 1, 1, &value);
  return value;
}

VANTAGE_INLINE void set(const TensorView& view, int64_t row, double value) { write_row(&value, 1, view, row * view.strides[0], 1); }

VANTAGE_INLINE int64_t token_of(const TensorView& ids, int64_t row, int64_t vocabulary, const char* kernel) {
  const int64_t id = ids.as<const int32_t>()[row * ids.strides[0]];
  if (id < 0 || id >= vocabulary) fail_index(kernel, "id", id, row, vocabulary);
  return id;
}

// What the totals of a row say. `x`: the token's logit.
struct RowResult {
  double log_prob, entropy, lse;
};
template <class T>
RowResult result_of(const Totals& totals, T x, T scale) {
  const double log_sum = log_of(totals.sum);
  return {(static_cast<double>(x * scale) - totals.offset) - log_sum, log_sum - totals.weighted / totals.sum, totals.offset + log_sum};
}

// d_x_j = s·( g_l·([j=id] - p_j) - g_H·p_j·(log p_j + H) )
template <class T>
struct RowGradient {
  T scale, lse, entropy, g_log_prob, g_entropy;
};

// Writes row r's gradient, which may take the place of the logits.
template <class T>
void write_gradient(const TensorView& logits, const TensorView& d_logits, int64_t r, int64_t id, const RowGradient<T>& g) {
  const int64_t start = r * logits.strides[0], vocabulary = logits.shape[1];
  alignas(64) T chunk[kChunk] = {};
  // A row without a gradient is not read: what a masked position holds reaches nothing.
  const bool none = g.g_log_prob == 0 && g.g_entropy == 0;
  for (int64_t i = 0; i < vocabulary; i += kChunk) {
    const int64_t count = smaller(kChunk, vocabulary - i);
    if (!none) {
      read_row(logits, start + i * logits.strides[1], logits.strides[1], count, chunk);
      for (int64_t j = 0; j < count; j += kLanes<T>) {
        const Vector<T> log_p = clamp_exponent<T>(load(chunk + j) * g.scale - g.lse), p = exp_of(log_p);
        store(chunk + j, -g.scale * p * (g.g_log_prob + g.g_entropy * (log_p + g.entropy)));
      }
      if (id >= i && id < i + count) chunk[id - i] += g.scale * g.g_log_prob;
    }
    write_row(chunk, count, d_logits, r * d_logits.strides[0] + i * d_logits.strides[1], d_logits.strides[1]);
  }
}

// Calls row(r) for all rows, several of them a task where they are short.
template <class Row>
void for_rows(const TensorView& logits, const Row& row) {
  const int64_t rows = logits.shape[0], vocabulary = logits.shape[1], group = larger<int64_t>(1, 8192 / (vocabulary + 1));
  parallel_for(ceil_div(rows, group), rows * vocabulary * 4, [&](int64_t task) {
    for (int64_t r = task * group; r < smaller(rows, (task + 1) * group); ++r) row(r);
  });
}

}  // namespace vantage::cpu::VANTAGE_ISA
