// softmax and the kernels over logits against plain loops in double.
#include <algorithm>
#include <limits>

#include "kernels_test.h"

namespace test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNaN = std::nan("");

std::vector<double> log_softmax(const std::vector<double>& x) {
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double v : x) sum += std::exp(v - max);
  std::vector<double> out;
  for (double v : x) out.push_back(v - max - std::log(sum));
  return out;
}

std::vector<double> row_of(const Tensor& t, int64_t row, double scale = 1) {
  std::vector<double> x;
  for (int64_t i = 0; i < t.view.shape[1]; ++i) x.push_back(t[row * t.view.shape[1] + i] * scale);
  return x;
}

TEST(softmax_values) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (Layout layout : kLayouts) {
      for (int64_t n : {1, 3, 13, 64, 1500}) {
        Tensor x = normal(dtype, {21, n}, layout, 5), out(dtype, {21, n}, layout);
        if (n > 3) x.set(2, -kInfinity);
        std::vector<double> logs, probabilities;
        for (int64_t r = 0; r < 21; ++r) {
          for (double v : log_softmax(row_of(x, r))) logs.push_back(v), probabilities.push_back(std::exp(v));
        }
        for_each_isa([&] {
          run(Kernel::softmax, {&x, &out}, {}, 0);
          check_close(out, probabilities, tolerance(dtype), "softmax");
          run(Kernel::softmax, {&x, &out}, {}, 1);
          check_close(out, logs, tolerance(dtype), "log-softmax");
        });
      }
    }
  }
}

// Rows that a block holds, and longer ones; that begin anywhere; in place, and to rows that begin elsewhere.
TEST(softmax_long_rows) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (int64_t n : {1025, 2048, 9001, 40000, 120003}) {
      const int64_t rows = n < 10000 ? 9 : 3;
      Tensor x = normal(dtype, {rows, n}, Layout::contiguous, 3), out(dtype, {rows, n + 1});
      out.view.shape[1] = n;  // rows one element further apart than those of x
      for (int64_t i = 0; i < n; ++i) {
        x.set(i, x[i] + (dtype == DType::bf16 ? 100 : 2000));
        x.set(n + i, i % 7 == 3 ? -kInfinity : x[n + i] + static_cast<double>(i) / 1000);
      }
      std::vector<double> logs, probabilities;
      for (int64_t r = 0; r < rows; ++r) {
        for (double v : log_softmax(row_of(x, r))) logs.push_back(v), probabilities.push_back(std::exp(v));
      }
      for_each_isa([&] {
        run(Kernel::softmax, {&x, &out}, {}, 0);
        for (int64_t i = 0; i < out.size(); ++i) CHECK_CLOSE(out[i], probabilities[i], tolerance(dtype), 1e-30);
        run(Kernel::softmax, {&x, &out}, {}, 1);
        check_close(out, logs, tolerance(dtype), "log-softmax");
        Tensor in_place = x;
        run(Kernel::softmax, {&in_place, &in_place}, {}, 1);
        check_close(in_place, logs, tolerance(dtype), "log-softmax in place");
      });
    }
  }
}

struct Expected {
  std::vector<double> log_probs, entropy, lse;
};

Expected token_reference(const Tensor& logits, const Tensor& ids, double scale) {
  Expected e;
  for (int64_t r = 0; r < logits.view.shape[0]; ++r) {
    const std::vector<double> x = row_of(logits, r, scale), logs = log_softmax(x);
    double entropy = 0;
    for (double v : logs) entropy -= v == -kInfinity ? 0 : std::exp(v) * v;
    const int64_t best = std::max_element(x.begin(), x.end()) - x.begin();
    e.log_probs.push_back(logs[static_cast<size_t>(ids[r])]), e.entropy.push_back(entropy), e.lse.push_back(x[best] - logs[best]);
  }
  return e;
}

TEST(token_log_probs_values) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
    for (Layout layout : kLayouts) {
      for (int64_t n : {1, 2, 13, 1024, 3001}) {
        Tensor logits = normal(dtype, {19, n}, layout, 4), ids = integers({19}, 0, static_cast<int>(n) - 1, layout);
        if (n > 1024) {
          for (int64_t i = 0; i < 2000; ++i) logits.set(n + i, -kInfinity);  // the whole first chunk of row 1
          logits.set(2 * n + 7, -kInfinity), ids.set(2, 7);
          logits.set(3 * n + 2900, 60);  // the largest comes late
        }
        Tensor log_probs(computed, {19}, layout), entropy(computed, {19}, layout), lse(computed, {19}, layout);
        for (double scale : {1.0, 0.25, 2.5}) {
          const Expected e = token_reference(logits, ids, scale);
          for_each_isa([&] {
            run(Kernel::token_log_probs, {&logits, &ids, &log_probs, &entropy, &lse}, {scale});
            const double allowed = computed == DType::f64 ? 1e-11 : 2e-5;
            check_close(log_probs, e.log_probs, allowed, "log_probs");
            check_close(entropy, e.entropy, allowed, "entropy");
            check_close(lse, e.lse, allowed, "lse");
          });
        }
      }
    }
  }
}

// Rows whose maximum comes late or step by step, that lie far from 0, that hold -inf but for one logit; and one with a NaN in its middle.
TEST(token_log_probs_difficult_rows) {
  const int64_t n = 5000;
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
    Tensor logits = normal(dtype, {7, n}), ids = integers({7}, 0, static_cast<int>(n) - 1);
    for (int64_t i = 0; i < n; ++i) {
      logits.set(i, logits[i] + static_cast<double>(i) / 250);              // 3 to 4 more in each chunk
      logits.set(n + i, logits[n + i] + static_cast<double>(i) / 25);       // 40 more
      logits.set(2 * n + i, logits[2 * n + i] - static_cast<double>(i) / 25);
      logits.set(3 * n + i, logits[3 * n + i] - 300);
      logits.set(4 * n + i, i == 4321 ? -250 : -kInfinity);
      logits.set(5 * n + i, logits[5 * n + i] + (i % 1024 == 1023 ? 90 : 0));
    }
    ids.set(4, 4321);
    logits.set(6 * n + 2500, kNaN);
    Tensor log_probs(computed, {7}), entropy(computed, {7}), lse(computed, {7});
    Tensor clean = logits;
    clean.set(6 * n + 2500, 0);
    const Expected e = token_reference(clean, ids, 1);
    for_each_isa([&] {
      run(Kernel::token_log_probs, {&logits, &ids, &log_probs, &entropy, &lse}, {1});
      CHECK(std::isnan(log_probs[6]) && std::isnan(entropy[6]) && std::isnan(lse[6]));
      const double allowed = computed == DType::f64 ? 1e-11 : 2e-5;
      for (int64_t row = 0; row < 6; ++row) {
        CHECK_CLOSE(log_probs[row], e.log_probs[row], allowed, allowed);
        CHECK_CLOSE(entropy[row], e.entropy[row], allowed, allowed);
        CHECK_CLOSE(lse[row], e.lse[row], allowed, allowed);
      }
    });
  }
}

TEST(token_log_probs_backward_values) {
  constexpr double kScale = 0.7;
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
    for (int64_t n : {1, 13, 1029}) {
      Tensor logits = normal(dtype, {11, n}, Layout::gaps, 2), ids = integers({11}, 0, static_cast<int>(n) - 1);
      Tensor g = normal(computed, {11}), h = normal(computed, {11}), out(dtype, {11, n}, Layout::transposed);
      Tensor log_probs(computed, {11}), entropy(computed, {11}), lse(computed, {11});
      for (int64_t i = 0; i < n; ++i) logits.set(5 * n + i, kNaN);  // a masked row
      g.set(5, 0), h.set(5, 0);
      std::vector<double> expected(11 * n);
      for (int64_t r = 0; r < 11; ++r) {
        if (r == 5) continue;
        // Central differences of the double reference.
        const std::vector<double> x = row_of(logits, r);
        const auto objective = [&](int64_t at, double step) {
          std::vector<double> moved = x;
          moved[at] += step;
          for (double& v : moved) v *= kScale;
          const std::vector<double> logs = log_softmax(moved);
          double entropy = 0;
          for (double v : logs) entropy -= std::exp(v) * v;
          return g[r] * logs[static_cast<size_t>(ids[r])] + h[r] * entropy;
        };
        for (int64_t i = 0; i < n; ++i) expected[r * n + i] = (objective(i, 1e-5) - objective(i, -1e-5)) / 2e-5;
      }
      for_each_isa([&] {
        run(Kernel::token_log_probs, {&logits, &ids, &log_probs, &entropy, &lse}, {kScale});
        CHECK(std::isnan(log_probs[5]) && std::isnan(entropy[5]));
        run(Kernel::token_log_probs_backward, {&logits, &ids, &lse, &entropy, &g, &h, &out}, {kScale});
        check_close(out, expected, dtype == DType::f64 ? 1e-8 : dtype == DType::f32 ? 1e-5 : 1e-2, "d_logits");
      });
    }
  }
}

// The gradient in the place of the logits, rows that lie along memory: whole vectors, with what is before and after them.
TEST(token_log_probs_backward_in_place) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
    for (int64_t n : {8, 1000, 5003, 40000}) {
      constexpr int64_t kRows = 6;
      Tensor logits = normal(dtype, {kRows, n}, Layout::contiguous, 2), ids = integers({kRows}, 0, static_cast<int>(n) - 1);
      Tensor g = normal(computed, {kRows}), h = normal(computed, {kRows}), lse(computed, {kRows}), entropy(computed, {kRows}), log_probs(computed, {kRows});
      ids.set(0, 0), ids.set(1, n - 1), h.set(2, 0);
      for (int64_t i = 0; i < n; ++i) {
        if (i % 3 == 0 && i != static_cast<int64_t>(ids[2])) logits.set(2 * n + i, -kInfinity);
        if (i % 5 == 0 && i != static_cast<int64_t>(ids[3])) logits.set(3 * n + i, -kInfinity);
        logits.set(4 * n + i, kNaN);
      }
      g.set(4, 0), h.set(4, 0);  // a masked row
      logits.set(5 * n + n / 2, kNaN);
      const std::vector<double> expected = [&] {
        std::vector<double> all(kRows * n);
        for (int64_t r = 0; r < kRows - 1; ++r) {
          if (r == 4) continue;
          const std::vector<double> logs = log_softmax(row_of(logits, r));
          double total = 0;
          for (double v : logs) total -= v == -kInfinity ? 0 : std::exp(v) * v;
          for (int64_t i = 0; i < n; ++i) {
            const double p = std::exp(logs[i]), slope = p == 0 ? 0 : h[r] * (logs[i] + total);
            all[r * n + i] = g[r] * ((i == static_cast<int64_t>(ids[r])) - p) - p * slope;
          }
        }
        return all;
      }();
      for_each_isa([&] {
        run(Kernel::token_log_probs, {&logits, &ids, &log_probs, &entropy, &lse}, {1});
        Tensor out = logits;
        run(Kernel::token_log_probs_backward, {&out, &ids, &lse, &entropy, &g, &h, &out}, {1});
        const double allowed = dtype == DType::f64 ? 1e-11 : dtype == DType::f32 ? 1e-5 : 4e-3;
        for (int64_t i = 0; i < (kRows - 1) * n; ++i) {
          CHECK_THAT(close(out[i], expected[i], allowed, dtype == DType::f64 ? 1e-12 : 1e-6), "%s: element %lld: expected %.9g, got %.9g",
                     current_isa()->name.c_str(), static_cast<long long>(i), expected[i], out[i]);
        }
        for (int64_t i = (kRows - 1) * n; i < kRows * n; ++i) CHECK(std::isnan(out[i]));
      });
    }
  }
}

TEST(token_log_probs_errors) {
  Tensor logits = normal(DType::f32, {3, 4}), ids(DType::i32, {3}), a(DType::f32, {3}), b(DType::f32, {3}), c(DType::f32, {2});
  ids.set(0, 1), ids.set(1, 4), ids.set(2, 0);
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::token_log_probs, {&logits, &ids, &a, &b, &a}, {1}), "token_log_probs: id 4 at position 1 is outside [0, 4)");
    CHECK_THROWS(run_once(Kernel::token_log_probs, {&logits, &ids, &a, &b, &c}, {1}), "token_log_probs: lse: expected shape [3], got [2]");
  });
}

}  // namespace
}  // namespace test
