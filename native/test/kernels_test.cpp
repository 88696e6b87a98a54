// matmul, softmax, token_log_probs and adamw against plain loops in double.
#include "kernels_test.h"

#include <algorithm>
#include <limits>

namespace test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNaN = std::nan("");

std::vector<double> product(const Tensor& a, const Tensor& b, int64_t batches, int64_t M, int64_t N, int64_t K) {
  std::vector<double> out(batches * M * N);
  for (int64_t z = 0; z < batches; ++z) {
    for (int64_t i = 0; i < M; ++i) {
      for (int64_t k = 0; k < K; ++k) {
        for (int64_t j = 0; j < N; ++j) out[(z * M + i) * N + j] += a[(z * M + i) * K + k] * b[(z * K + k) * N + j];
      }
    }
  }
  return out;
}

void check_product(int64_t M, int64_t N, int64_t K, DType in, DType to, Layout la, Layout lb, Layout lo) {
  Tensor a = normal(in, {M, K}, la), b = normal(in, {K, N}, lb), out(to, {M, N}, lo);
  const std::vector<double> expected = product(a, b, 1, M, N, K);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &b, &out}, {});
    check_close(out, expected, tolerance(to == DType::bf16 ? to : in == DType::f64 ? in : DType::f32) * std::sqrt(1.0 + static_cast<double>(K)), "matmul");
  });
}

TEST(matmul_layouts) {
  for (Layout la : kLayouts) {
    for (Layout lb : kLayouts) {
      for (Layout lo : kLayouts) check_product(13, 21, 9, DType::f32, DType::f32, la, lb, lo);
    }
    check_product(70, 95, 301, DType::f64, DType::f64, la, Layout::transposed, Layout::contiguous);
    check_product(70, 95, 301, DType::bf16, DType::f32, la, Layout::transposed, Layout::contiguous);
    check_product(31, 40, 33, DType::bf16, DType::bf16, la, Layout::contiguous, Layout::transposed);
  }
}

TEST(matmul_shapes) {
  for (int64_t m : {1, 5, 6, 7, 12, 13, 25, 200}) {
    for (int64_t n : {1, 7, 8, 16, 17, 33, 70}) {
      for (int64_t k : {0, 1, 3, 64, 257}) check_product(m, n, k, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
    }
  }
  check_product(0, 4, 3, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
  check_product(4, 0, 3, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
  // Several tiles and blocks in each direction, and a long sum that is cut.
  check_product(401, 530, 300, DType::f32, DType::f32, Layout::contiguous, Layout::transposed, Layout::contiguous);
  check_product(64, 64, 3584, DType::f32, DType::f32, Layout::transposed, Layout::contiguous, Layout::gaps);
  check_product(5, 9, 2500, DType::f64, DType::f64, Layout::contiguous, Layout::contiguous, Layout::contiguous);
}

TEST(matmul_batches) {
  Tensor a = normal(DType::f32, {40, 3, 7, 8}), b = normal(DType::f32, {40, 3, 8, 5}), out(DType::f32, {40, 3, 7, 5});
  const std::vector<double> expected = product(a, b, 120, 7, 5, 8);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &b, &out}, {});
    check_close(out, expected, 2e-5, "batched matmul");
  });
  // b is the same matrix for the whole batch: strides 0.
  Tensor w = normal(DType::f32, {8, 5}), full(DType::f32, {40, 3, 8, 5});
  for (int64_t i = 0; i < full.size(); ++i) full.set(i, w[i % 40]);
  const std::vector<double> shared = product(a, full, 120, 7, 5, 8);
  w.view.ndim = 4;
  const int64_t shape[] = {40, 3, 8, 5}, strides[] = {0, 0, 5, 1};
  std::copy_n(shape, 4, w.view.shape), std::copy_n(strides, 4, w.view.strides);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &w, &out}, {});
    check_close(out, shared, 2e-5, "broadcast matmul");
  });
}

TEST(matmul_errors) {
  Tensor a(DType::f32, {2, 3}), b(DType::f32, {4, 5}), out(DType::f32, {2, 5}), integer(DType::i32, {3, 5}), good(DType::f32, {3, 5});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &b, &out}, {}), "matmul: b: expected shape [3,5], got [4,5]");
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &integer, &out}, {}), "matmul: b: expected float32 or float64 or bfloat16, got int32");
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &good, &a}, {}), "matmul: out: expected shape [2,5], got [2,3]");
  });
}

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

TEST(token_log_probs_errors) {
  Tensor logits = normal(DType::f32, {3, 4}), ids(DType::i32, {3}), a(DType::f32, {3}), b(DType::f32, {3}), c(DType::f32, {2});
  ids.set(0, 1), ids.set(1, 4), ids.set(2, 0);
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::token_log_probs, {&logits, &ids, &a, &b, &a}, {1}), "token_log_probs: id 4 at position 1 is outside [0, 4)");
    CHECK_THROWS(run_once(Kernel::token_log_probs, {&logits, &ids, &a, &b, &c}, {1}), "token_log_probs: lse: expected shape [3], got [2]");
  });
}

TEST(adamw_values) {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (int64_t n : {0, 1, 33, 50001}) {
      Tensor param = normal(dtype, {n}), m = normal(dtype, {n}), v = normal(dtype, {n}), grad = normal(dtype, {n}), scale(dtype, {1});
      scale.set(0, 0.3);
      for (int64_t i = 0; i < n; ++i) v.set(i, v[i] * v[i]);
      const double lr = 1e-3, b1 = 0.9, b2 = 0.99, eps = 1e-8, decay = 0.1, c1 = 1 - b1 * b1, c2 = 1 - b2 * b2;
      std::vector<double> params, ms, vs;
      for (int64_t i = 0; i < n; ++i) {
        const double g = grad[i] * scale[0];
        ms.push_back(b1 * m[i] + (1 - b1) * g), vs.push_back(b2 * v[i] + (1 - b2) * g * g);
        params.push_back(param[i] - lr * (ms[i] / c1 / (std::sqrt(vs[i] / c2) + eps) + decay * param[i]));
      }
      for_each_isa([&] {
        Tensor p = param, first = m, second = v;
        run(Kernel::adamw, {&p, &first, &second, &grad, &scale}, {lr, b1, b2, eps, decay, c1, c2});
        check_close(p, params, tolerance(dtype), "param");
        check_close(first, ms, tolerance(dtype), "m");
        check_close(second, vs, tolerance(dtype), "v");
      });
    }
  }
}

}  // namespace
}  // namespace test

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
