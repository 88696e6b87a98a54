// Moments of rows and of groups, and whitening, against plain loops in double.
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

TEST(group_moments_values) {
  const int64_t rows = 60, groups = 7;
  for (DType dtype : {DType::f32, DType::f64}) {
    for (Layout layout : kLayouts) {
      Tensor scores = normal(dtype, {rows}, layout), valid(DType::u8, {rows}, layout), order(DType::i32, {rows}, layout), starts(DType::i32, {groups + 1}, layout);
      const auto group_of = [&](int64_t row) { return row % 5 == 3 ? 6 : row % 5; };  // group 5 is empty, group 3 as well
      int64_t at = 0;
      for (int64_t g = 0; g < groups; ++g) {
        starts.set(g, at);
        for (int64_t row = rows - 1; row >= 0; --row) {
          if (group_of(row) == g) order.set(at++, row);
        }
      }
      starts.set(groups, at);
      for (int64_t row = 0; row < rows; ++row) {
        const bool kept = row % 7 != 2 && group_of(row) != 4;  // group 4 has no valid row
        valid.set(row, kept);
        scores.set(row, kept ? 1e4 + scores[row] : kNaN);
      }
      Tensor count(DType::f64, {rows}, layout), mean(count), spread(count);
      for_each_isa([&] {
        run(Kernel::group_moments, {&scores, &valid, &order, &starts, &count, &mean, &spread}, {});
        for (int64_t row = 0; row < rows; ++row) {
          Plain p;
          for (int64_t other = 0; other < rows; ++other) {
            if (group_of(other) == group_of(row) && valid[other] != 0) p.count += 1, p.mean += scores[other];
          }
          p.mean = p.count == 0 ? 0 : p.mean / p.count;
          for (int64_t other = 0; other < rows; ++other) {
            if (group_of(other) == group_of(row) && valid[other] != 0) p.spread += (scores[other] - p.mean) * (scores[other] - p.mean);
          }
          CHECK(count[row] == p.count);
          CHECK_CLOSE(mean[row], p.mean, 1e-12, 0);
          CHECK_CLOSE(spread[row], p.spread, 1e-9, 0);
        }
      });
    }
  }
}

TEST(group_moments_arguments) {
  Tensor x(DType::f32, {3}), valid(DType::u8, {3}), rows(DType::i32, {3}), starts(DType::i32, {3}), y(DType::f64, {3}), shorter(DType::f64, {2});
  for (int64_t i = 0; i < 3; ++i) rows.set(i, i);
  starts.set(0, 0), starts.set(1, 2), starts.set(2, 3);
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::group_moments, {&x, &valid, &rows, &starts, &y, &shorter, &y}, {}), "group_moments: mean: expected shape [3], got [2]");
    Tensor outside = rows, falling = starts, beyond = starts;
    outside.set(1, 3), falling.set(2, 1), beyond.set(2, 4);
    CHECK_THROWS(run_once(Kernel::group_moments, {&x, &valid, &outside, &starts, &y, &y, &y}, {}), "group_moments: row 3 at position 1 is outside [0, 3)");
    CHECK_THROWS(run_once(Kernel::group_moments, {&x, &valid, &rows, &falling, &y, &y, &y}, {}), "group_moments: starts: expected numbers that do not fall, got a smaller one at position 2");
    CHECK_THROWS(run_once(Kernel::group_moments, {&x, &valid, &rows, &beyond, &y, &y, &y}, {}), "group_moments: start 4 at position 2 is outside [0, 4)");
  });
}

}  // namespace
}  // namespace test
