// The affine scan against plain loops in double, and what comes of numbers beyond float32 in every recurrence.
#include <cmath>

#include "recurrences.h"

namespace test {
namespace {

void expect_affine(const Sample& c, bool reverse, double low, double high, double scale = 1) {
  Tensor a(c.dtype, {c.rows, c.time}, c.layout), b(a), initial = normal(c.dtype, {c.rows}, c.layout), out(a);
  for (int64_t i = 0; i < c.rows * c.time; ++i) a.set(i, low + (high - low) * (0.5 + 0.5 * std::sin(i * 2.1))), b.set(i, std::cos(i * 0.9));
  run(Kernel::affine_scan, {&a, &b, &initial, &out}, {}, reverse);
  for (int64_t row = 0; row < c.rows; ++row) {
    double y = initial[row];
    for (int64_t s = 0; s < c.time; ++s) {
      const int64_t i = row * c.time + (reverse ? c.time - 1 - s : s);
      y = a[i] * y + b[i];
      expect(c, out, i, y, reverse ? "y backwards" : "y", scale);
    }
  }
}

// Products of neighbours leave float32 while no state does.
TEST(affine_scan_of_large_coefficients) {
  for_each_isa([] {
    constexpr int64_t kTime = 300, kRows = 3;
    for (bool reverse : {false, true}) {
      Tensor a(DType::f32, {kRows, kTime}), b(a), initial(DType::f32, {kRows}), out(a);
      for (int64_t i = 0; i < kRows * kTime; ++i) {
        const int64_t t = reverse ? kTime - 1 - i % kTime : i % kTime;
        a.set(i, t % 50 < 35 ? 6 : 1e-9);
        b.set(i, t % 50 == 0 ? 1e-20 : 0);
      }
      initial.set(1, 1e-25);
      run(Kernel::affine_scan, {&a, &b, &initial, &out}, {}, reverse);
      for (int64_t row = 0; row < kRows; ++row) {
        double y = initial[row];
        for (int64_t s = 0; s < kTime; ++s) {
          const int64_t i = row * kTime + (reverse ? kTime - 1 - s : s);
          y = a[i] * y + b[i];
          CHECK_CLOSE(out[i], y, 1e-5, 1e-30);
        }
      }
    }
  });
}

// What comes of an overflow, an infinity and a NaN is what the recurrence says step by step, however long the row is.
TEST(recurrences_beyond_float32) {
  for_each_isa([] {
    if (current_isa()->device) return;  // composes maps in double, in which 0 times an infinity is NaN earlier
    for (int64_t time : {4, 8, 21, 64, 200, 1100}) {
      for (bool reverse : {false, true}) {
        Tensor a(DType::f32, {4, time}), b(a), initial(DType::f32, {4}), out(a);
        for (int64_t i = 0; i < 4 * time; ++i) {
          const int64_t t = reverse ? time - 1 - i % time : i % time;
          a.set(i, t == 2 ? 0.1 : i < time ? 1 : 1e-10);
          b.set(i, i < time ? (t < 2 ? 3e38 : 0) : t == 1 ? (i < 2 * time ? INFINITY : i < 3 * time ? -INFINITY : kNaN) : 0.5);
        }
        run(Kernel::affine_scan, {&a, &b, &initial, &out}, {}, reverse);
        for (int64_t row = 0; row < 4; ++row) {
          double y = initial[row];
          for (int64_t s = 0; s < time; ++s) {
            const int64_t i = row * time + (reverse ? time - 1 - s : s);
            y = b[i] + a[i] * y;
            const double expected = static_cast<double>(static_cast<float>(y));
            CHECK_THAT(std::isnan(expected) ? std::isnan(out[i]) : out[i] == expected || close(out[i], expected, 1e-6, 0), "%s y of 4x%lld (reverse %d): element %lld: expected %g, got %g",
                       current_isa()->name.c_str(), static_cast<long long>(time), reverse, static_cast<long long>(i), expected, out[i]);
          }
        }
      }
      for (double gamma : {2.0, -3.0, 1e-10, 0.5}) {
        Tensor rewards(DType::f32, {3, time}), mask(DType::u8, {3, time}), returns(rewards), none(DType::f64, {0, 3});
        for (int64_t i = 0; i < 3 * time; ++i) {
          const int64_t t = time - 1 - i % time;
          rewards.set(i, i < time ? 1e20 * std::sin(static_cast<double>(i)) : t > 0 ? 0 : i < 2 * time ? INFINITY : 3e38);
          mask.set(i, 1);
        }
        run(Kernel::discounted_return, {&rewards, &mask, &returns, &none}, {gamma});
        for (int64_t row = 0; row < 3; ++row) {
          double y = 0;
          for (int64_t t = time - 1; t >= 0; --t) {
            const int64_t i = row * time + t;
            y = rewards[i] + gamma * y;
            const double expected = static_cast<double>(static_cast<float>(y));
            CHECK_THAT(std::isnan(expected) ? std::isnan(returns[i]) : returns[i] == expected || close(returns[i], expected, 1e-5, 1e15), "%s return of 3x%lld (gamma %g): element %lld: expected %g, got %g",
                       current_isa()->name.c_str(), static_cast<long long>(time), gamma, static_cast<long long>(i), expected, returns[i]);
          }
        }
      }
    }
  });
}

TEST(affine_scan_values) {
  for_each_isa([] {
    for (bool reverse : {false, true}) {
      for_each_case([&](const Sample& c) {
        if (c.holes == Holes::none) expect_affine(c, reverse, -0.5, 1);
      });
      for (Layout layout : kLayouts) {
        for (int64_t time : {1, 17, 600}) expect_affine({DType::bf16, 5, time, layout}, reverse, 0, 0.9);
      }
      // Ten thousand steps count in each, and cancel out.
      expect_affine({DType::f32, 2, 50000, Layout::contiguous}, reverse, 0.9999, 0.9999, 2);
    }
  });
  Tensor x(DType::f32, {2, 3}), other(DType::f32, {2, 4}), half(DType::bf16, {2, 3}), first(DType::f32, {2});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::affine_scan, {&x, &other, &first, &x}, {}), "affine_scan: b: expected shape [2,3], got [2,4]");
    CHECK_THROWS(run_once(Kernel::affine_scan, {&x, &x, &first, &half}, {}), "affine_scan: out: expected float32, got bfloat16");
    CHECK_THROWS(run_once(Kernel::affine_scan, {&x, &x, &x, &x}, {}), "affine_scan: initial: expected shape [2], got [2,3]");
    CHECK_THROWS(run_once(Kernel::affine_scan, {&x, &x, &first, &x}, {}, 2), "affine_scan: reverse: expected an integer in [0, 1], got 2");
  });
}

}  // namespace
}  // namespace test
