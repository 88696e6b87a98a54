// Moments of rows, and whitening, against plain loops in double.
#include <cmath>
#include <limits>

#include "../cpu/cache.h"
#include "kernels_test.h"

namespace test {
namespace {

const double kNaN = std::nan("");

struct Masked {
  Tensor x, mask;
  // One position in `holes` is masked; 0: none, 1: all.
  Masked(DType dtype, int64_t rows, int64_t time, Layout layout, int holes, double offset)
      : x(normal(dtype, {rows, time}, layout)), mask(DType::u8, {rows, time}, layout) {
    for (int64_t i = 0; i < rows * time; ++i) {
      const bool valid = holes == 0 || (i * 7 + i / 5) % holes != 0;
      mask.set(i, valid ? 1 + i % 2 : 0);
      x.set(i, valid ? x[i] + offset : kNaN);
    }
  }
};

struct Plain {
  double count = 0, mean = 0, spread = 0;
};
Plain plain(const Masked& m, int64_t first, int64_t last) {
  Plain p;
  long double sum = 0;  // the numbers may have a large common offset
  for (int64_t i = first; i < last; ++i) {
    if (m.mask[i] != 0) p.count += 1, sum += m.x[i];
  }
  p.mean = p.count == 0 ? 0 : static_cast<double>(sum / p.count);
  for (int64_t i = first; i < last; ++i) p.spread += m.mask[i] != 0 ? (m.x[i] - p.mean) * (m.x[i] - p.mean) : 0;
  return p;
}

template <class Body>
void for_each_case(const Body& body) {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (Layout layout : kLayouts) {
      for (int64_t rows : {0, 1, 9}) {
        for (int64_t time : {0, 1, 8, 21, 700}) body(Masked(dtype, rows, time, layout, 4, 1e4));
      }
    }
    for (int holes : {0, 1, 3}) body(Masked(dtype, 40, 1500, Layout::contiguous, holes, 1e4));
    body(Masked(dtype, 3000, 7, Layout::contiguous, 5, -3));  // more rows than one sum takes
    cpu::set_cache_size(0);  // stores past the caches
    for (int64_t time : {5, 700}) body(Masked(dtype, 9, time, Layout::contiguous, 4, 1e4));
    cpu::set_cache_size(-1);
  }
}

TEST(masked_moments_values) {
  for_each_isa([] {
    for_each_case([](Masked m) {
      const int64_t rows = m.x.view.shape[0], time = m.x.view.shape[1];
      Tensor moments(DType::f64, {rows, 3}, Layout::gaps);
      run(Kernel::masked_moments, {&m.x, &m.mask, &moments}, {});
      for (int64_t row = 0; row < rows; ++row) {
        const Plain p = plain(m, row * time, (row + 1) * time);
        CHECK(moments[row * 3] == p.count);
        CHECK_CLOSE(moments[row * 3 + 1], p.mean, 1e-13, 0);
        CHECK_CLOSE(moments[row * 3 + 2], p.spread, 1e-9, 0);
      }
    });
  });
  Tensor x(DType::f32, {2, 4}), mask(DType::u8, {2, 4}), short_mask(DType::u8, {2, 3}), moments(DType::f64, {2, 3}), none(DType::f64, {0, 3});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::masked_moments, {&x, &short_mask, &moments}, {}), "masked_moments: mask: expected shape [2,4], got [2,3]");
    CHECK_THROWS(run_once(Kernel::masked_moments, {&x, &mask, &none}, {}), "masked_moments: moments: expected shape [2,3], got [0,3]");
  });
}

TEST(whiten_values) {
  for_each_isa([] {
    for_each_case([](Masked m) {
      const int64_t rows = m.x.view.shape[0], time = m.x.view.shape[1], size = rows * time;
      const Plain p = plain(m, 0, size);
      Tensor moments(DType::f64, {rows, 3}), none(DType::f64, {0, 3}), out(m.x);
      run_once(Kernel::masked_moments, {&m.x, &m.mask, &moments}, {});
      for (int mode = 0; mode < 4; ++mode) {
        for (Tensor* known : {&moments, &none}) {
          const double epsilon = 1e-3, ddof = mode == 1 ? 0 : 1;
          run(Kernel::whiten, {&m.x, &m.mask, known, &out}, {epsilon, ddof}, mode);
          const double variance = p.spread / std::fmax(p.count - ddof, 1);
          const double factor = mode & 2 ? 1 / (std::sqrt(variance) + epsilon) : 1 / std::sqrt(variance + epsilon);
          const double tolerance = m.x.view.dtype == DType::f64 ? 1e-10 : 1e-6;
          for (int64_t i = 0; i < size; ++i) {
            const double expected = m.mask[i] != 0 ? (m.x[i] - p.mean) * factor + (mode & 1 ? p.mean : 0) : 0;
            CHECK_CLOSE(out[i], expected, tolerance, tolerance);
          }
        }
      }
    });
  });
  Tensor x(DType::f32, {2, 4}), mask(DType::u8, {2, 4}), none(DType::f64, {0, 3}), wrong(DType::f64, {3, 3});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::whiten, {&x, &mask, &wrong, &x}, {0, 1}, 0), "whiten: moments: expected shape [2,3], got [3,3]");
    CHECK_THROWS(run_once(Kernel::whiten, {&x, &mask, &none, &mask}, {0, 1}, 0), "whiten: out: expected float32, got uint8");
    CHECK_THROWS(run_once(Kernel::whiten, {&x, &mask, &none, &x}, {0, 1}, 4), "whiten: mode: expected an integer in [0, 3], got 4");
  });
}

}  // namespace
}  // namespace test
