// Generalised advantage estimation against the plain loop: masks with holes, every row count and length around the block sizes, all layouts.
#include <cmath>
#include <limits>

#include "kernels_test.h"

namespace test {
namespace {

// `holes`: one position in so many is masked; 0: none, which has a path of its own.
void expect_gae(DType dtype, int64_t rows, int64_t time, Layout layout, double gamma, double lambda, int holes = 9) {
  Tensor rewards(dtype, {rows, time}, layout), values(dtype, {rows, time}, layout), mask(DType::u8, {rows, time}, layout);
  Tensor advantages(dtype, {rows, time}, layout), returns(dtype, {rows, time}, layout);
  for (int64_t i = 0; i < rows * time; ++i) {
    const bool valid = holes == 0 || (i * 7 + i / 5) % holes != 0;
    mask.set(i, valid);
    rewards.set(i, valid ? std::sin(i * 1.3) : std::numeric_limits<double>::quiet_NaN());
    values.set(i, valid ? std::cos(i * 0.7) : std::numeric_limits<double>::infinity());
  }
  run(Kernel::gae, {&rewards, &values, &mask, &advantages, &returns}, {gamma, lambda});
  const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-5;
  for (int64_t row = 0; row < rows; ++row) {
    double advantage = 0, next = 0;
    for (int64_t t = time - 1; t >= 0; --t) {
      const int64_t i = row * time + t;
      if (mask[i] == 0) {
        CHECK(advantages[i] == 0 && returns[i] == 0);
        continue;
      }
      advantage = rewards[i] + gamma * next - values[i] + gamma * lambda * advantage;
      next = values[i];
      CHECK(std::abs(advantages[i] - advantage) <= tolerance * std::fmax(1, std::abs(advantage)));
      CHECK(std::abs(returns[i] - advantage - next) <= tolerance * std::fmax(1, std::abs(advantage)));
    }
  }
}

TEST(gae_values) {
  for_each_isa([] {
    for (Layout layout : kLayouts) {
      for (DType dtype : {DType::f32, DType::f64}) {
        for (int64_t rows : {0, 1, 7, 8, 9, 33}) {
          for (int64_t time : {0, 1, 15, 16, 17, 100}) expect_gae(dtype, rows, time, layout, 0.99, 0.95);
        }
      }
    }
    for (int holes : {0, 9, 500}) expect_gae(DType::f32, 64, 1000, Layout::contiguous, 1, 1, holes);
  });
}

TEST(gae_arguments) {
  Tensor x(DType::f32, {2, 3}), other(DType::f32, {2, 4}), wide(DType::f64, {2, 3}), mask(DType::u8, {2, 3});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::gae, {&x, &other, &mask, &x, &x}, {1, 1}), "gae: values: expected shape [2,3], got [2,4]");
    CHECK_THROWS(run_once(Kernel::gae, {&x, &wide, &mask, &x, &x}, {1, 1}), "gae: values: expected float32");
    CHECK_THROWS(run_once(Kernel::gae, {&x, &x, &x, &x, &x}, {1, 1}), "gae: mask: expected");
  });
}

}  // namespace
}  // namespace test
