// token_policy_gradient against the definition in double: the token's loss written out, its derivatives by differences.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels_test.h"

namespace test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNaN = std::nan("");

struct Settings {
  double scale = 1, eps_low = 0.2, eps_high = 0.3, bound = kInfinity, cap = kInfinity, entropy_coef = 0, kl_coef = 0;
  int kl = 3;
  bool reference = false;

  std::vector<double> scalars() const { return {scale, eps_low, eps_high, bound, cap, entropy_coef, kl_coef}; }
};

double limited(double x, double limit) { return std::min(std::max(x, -limit), limit); }

double token_loss(double log_prob, double entropy, double old, double advantage, double weight, double reference, const Settings& s) {
  const double ratio = std::exp(limited(log_prob - old, 20));
  double loss = -std::min(std::min(ratio, s.cap) * advantage, std::min(std::max(ratio, 1 - s.eps_low), 1 + s.eps_high) * advantage);
  if (advantage < 0 && s.bound < kInfinity) loss = std::min(loss, -s.bound * advantage);
  if (s.reference) {
    const double d = log_prob - reference, x = limited(-d, 20);
    loss += s.kl_coef * (s.kl == 0 ? d : s.kl == 1 ? std::fabs(d) : s.kl == 2 ? d * d / 2 : limited(std::exp(x) - x - 1, 10));
  }
  return weight * (loss - s.entropy_coef * entropy);
}

struct Rows {
  Tensor logits, ids, old, advantages, weights, reference;
};

// Row 2 of each six is masked, and holds what would spoil everything; the old log-probs are some way off the new ones, so that every side of a clip is met.
Rows rows_of(DType dtype, int64_t rows, int64_t n, Layout layout, double scale) {
  const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
  Rows r = {normal(dtype, {rows, n}, layout, 2), integers({rows}, 0, static_cast<int>(n) - 1, layout), normal(computed, {rows}, layout), normal(computed, {rows}, layout),
            Tensor(computed, {rows}, layout), normal(computed, {rows}, layout)};
  constexpr double kAway[] = {-0.5, -0.1, 0.05, 0.31, -3, 25, 2, -1.3};
  for (int64_t row = 0; row < rows; ++row) {
    if (row % 6 == 1 && n > 1) r.logits.set(row * n + (static_cast<int64_t>(r.ids[row]) + 1) % n, -kInfinity);
    double max = -kInfinity, sum = 0;
    for (int64_t i = 0; i < n; ++i) max = std::max(max, r.logits[row * n + i] * scale);
    for (int64_t i = 0; i < n; ++i) sum += std::exp(r.logits[row * n + i] * scale - max);
    const double log_prob = r.logits[row * n + static_cast<int64_t>(r.ids[row])] * scale - max - std::log(sum);
    r.old.set(row, log_prob + kAway[row % 8]);
    r.reference.set(row, log_prob + kAway[(row + 3) % 8] / 2);
    r.weights.set(row, row % 3 == 0 ? 1 : 0.125);
    if (row % 6 != 2) continue;
    r.weights.set(row, 0), r.ids.set(row, -7);
    r.old.set(row, kNaN), r.advantages.set(row, kNaN), r.reference.set(row, kNaN);
    for (int64_t i = 0; i < n; ++i) r.logits.set(row * n + i, i % 2 == 0 ? kNaN : kInfinity);
  }
  return r;
}

struct Expected {
  std::vector<double> losses, log_probs, entropy, d_logits;
};

Expected expected_of(const Rows& r, const Settings& s) {
  const int64_t rows = r.logits.view.shape[0], n = r.logits.view.shape[1];
  Expected e = {std::vector<double>(rows), std::vector<double>(rows), std::vector<double>(rows), std::vector<double>(rows * n)};
  for (int64_t row = 0; row < rows; ++row) {
    if (r.weights[row] == 0) continue;
    std::vector<double> logs(n);
    double max = -kInfinity, sum = 0, entropy = 0;
    for (int64_t i = 0; i < n; ++i) max = std::max(max, logs[i] = r.logits[row * n + i] * s.scale);
    for (double y : logs) sum += std::exp(y - max);
    for (double& y : logs) y -= max + std::log(sum), entropy -= y == -kInfinity ? 0 : std::exp(y) * y;
    const int64_t id = static_cast<int64_t>(r.ids[row]);
    const auto loss = [&](double log_prob, double h) { return token_loss(log_prob, h, r.old[row], r.advantages[row], r.weights[row], r.reference[row], s); };
    constexpr double kStep = 1e-6;
    const double g = (loss(logs[id] + kStep, entropy) - loss(logs[id] - kStep, entropy)) / (2 * kStep), h = -r.weights[row] * s.entropy_coef;
    e.losses[row] = loss(logs[id], entropy), e.log_probs[row] = logs[id], e.entropy[row] = entropy;
    for (int64_t i = 0; i < n; ++i) {
      const double p = std::exp(logs[i]);
      e.d_logits[row * n + i] = s.scale * (g * ((i == id) - p) - (p == 0 ? 0 : h * p * (logs[i] + entropy)));
    }
  }
  return e;
}

enum class Gradient { apart, in_place, none };

void check_policy(DType dtype, int64_t rows, int64_t n, const Settings& s, Layout layout, Gradient gradient) {
  const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
  Rows r = rows_of(dtype, rows, n, layout, s.scale);
  const Expected e = expected_of(r, s);
  Tensor none(computed, {0}), no_gradient(dtype, {0, 0}), out(dtype, {rows, n}, layout == Layout::contiguous ? Layout::gaps : layout);
  Tensor losses(computed, {rows}, layout), log_probs(computed, {rows}, layout), entropy(computed, {rows}, layout);
  for_each_isa([&] {
    Tensor logits = r.logits;
    Tensor& to = gradient == Gradient::none ? no_gradient : gradient == Gradient::in_place ? logits : out;
    run(Kernel::token_policy_gradient, {&logits, &r.ids, &r.old, &r.advantages, &r.weights, s.reference ? &r.reference : &none, &losses, &log_probs, &entropy, &to},
        s.scalars(), s.kl);
    const double allowed = dtype == DType::f64 ? 1e-8 : 2e-5;
    check_close(losses, e.losses, allowed, "losses");
    check_close(log_probs, e.log_probs, allowed, "log_probs");
    check_close(entropy, e.entropy, allowed, "entropy");
    if (gradient == Gradient::none) return;
    const double relative = dtype == DType::bf16 ? 4.5e-3 : dtype == DType::f32 ? 2e-5 : 1e-7;
    for (int64_t i = 0; i < rows * n; ++i) {
      CHECK_THAT(close(to[i], e.d_logits[i], relative, dtype == DType::f64 ? 1e-9 : 2e-6), "%s: d_logits %lld of %lldx%lld: expected %.9g, got %.9g",
                 current_isa()->name.c_str(), static_cast<long long>(i), static_cast<long long>(rows), static_cast<long long>(n), e.d_logits[i], to[i]);
    }
  });
}

TEST(token_policy_gradient_losses) {
  std::vector<Settings> all(1);
  all.push_back({.scale = 0.7, .bound = 3, .entropy_coef = 0.01});
  all.push_back({.eps_low = 0, .eps_high = 0.1, .cap = 1.2, .entropy_coef = -0.5});
  for (int kl : {0, 1, 2, 3}) all.push_back({.bound = 1.5, .entropy_coef = 0.1, .kl_coef = 0.2, .kl = kl, .reference = true});
  for (const Settings& s : all) {
    for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      for (int64_t n : {1, 13, 1000}) check_policy(dtype, 24, n, s, Layout::contiguous, Gradient::in_place);
      check_policy(dtype, 24, 77, s, Layout::contiguous, Gradient::none);
    }
  }
}

TEST(token_policy_gradient_layouts) {
  const Settings s = {.bound = 3, .entropy_coef = 0.1, .kl_coef = 0.2, .reference = true};
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (Layout layout : kLayouts) {
      check_policy(dtype, 9, 1029, s, layout, Gradient::apart);
      check_policy(dtype, 9, 1029, s, layout, Gradient::in_place);
    }
  }
}

// Rows that one block holds, and that two, four and eight blocks of a cluster do; the last ones fit nowhere.
TEST(token_policy_gradient_long_rows) {
  const Settings s = {.scale = 0.8, .bound = 3, .entropy_coef = 0.1, .kl_coef = 0.2, .reference = true};
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int64_t n : {20000, 35001, 60008, 120003, 256000}) check_policy(dtype, 5, n, s, Layout::contiguous, Gradient::in_place);
  }
  for (int64_t n : {100002, 300000}) check_policy(DType::f64, 4, n, s, Layout::contiguous, Gradient::in_place);
}

// A NaN that counts reaches the loss and the whole row's gradient, and no other row.
TEST(token_policy_gradient_nan) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const DType computed = dtype == DType::bf16 ? DType::f32 : dtype;
    const int64_t n = 2000;
    Rows r = rows_of(dtype, 5, n, Layout::contiguous, 1);
    const Expected e = expected_of(r, {});
    r.logits.set(3 * n + 1234, kNaN);
    Tensor none(computed, {0}), out(dtype, {5, n}), losses(computed, {5}), log_probs(computed, {5}), entropy(computed, {5});
    for_each_isa([&] {
      run(Kernel::token_policy_gradient, {&r.logits, &r.ids, &r.old, &r.advantages, &r.weights, &none, &losses, &log_probs, &entropy, &out}, Settings{}.scalars(), 3);
      for (int64_t row = 0; row < 5; ++row) {
        CHECK(std::isnan(losses[row]) == (row == 3));
        for (int64_t i = 0; i < n; ++i) CHECK(row == 3 ? std::isnan(out[row * n + i]) : close(out[row * n + i], e.d_logits[row * n + i], 5e-3, 2e-6));
      }
    });
  }
}

TEST(token_policy_gradient_errors) {
  Tensor logits = normal(DType::f32, {3, 4}), ids = integers({3}, 0, 3), row = normal(DType::f32, {3}), two(DType::f32, {2}), none(DType::f32, {0});
  Tensor bf(DType::bf16, {3, 4}), a(DType::f32, {3}), b(DType::f32, {3}), c(DType::f32, {3});
  const std::vector<double> scalars = Settings{}.scalars();
  const Kernel kernel = Kernel::token_policy_gradient;
  for_each_isa([&] {
    CHECK_THROWS(run_once(kernel, {&logits, &ids, &row, &two, &row, &none, &a, &b, &c, &logits}, scalars), "token_policy_gradient: advantages: expected shape [3], got [2]");
    CHECK_THROWS(run_once(kernel, {&logits, &ids, &row, &row, &row, &two, &a, &b, &c, &logits}, scalars), "ref_log_probs: expected shape [3], got [2]");
    CHECK_THROWS(run_once(kernel, {&logits, &ids, &row, &row, &row, &none, &a, &b, &c, &bf}, scalars), "d_logits: expected float32, got bfloat16");
    CHECK_THROWS(run_once(kernel, {&logits, &ids, &row, &row, &row, &none, &a, &b, &c, &logits}, scalars, 4), "kl");
    Tensor bad = ids;
    bad.set(1, 4);
    CHECK_THROWS(run_once(kernel, {&logits, &bad, &row, &row, &row, &none, &a, &b, &c, &logits}, scalars), "token_policy_gradient: id 4 at position 1 is outside [0, 4)");
  });
}

}  // namespace
}  // namespace test
