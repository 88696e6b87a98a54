// Statistics and advantages of groups of rows against plain loops in double.
#include <cmath>
#include <limits>

#include "../cpu/cache.h"
#include "kernels_test.h"

namespace test {
namespace {

const double kNaN = std::nan("");

struct Plain {
  double count = 0, mean = 0, spread = 0;
};

TEST(group_moments_values) {
  const int64_t groups = 7;
  for (DType dtype : {DType::f32, DType::f64}) {
    for (Layout layout : kLayouts) {
      // Few rows to a group, and many.
      const int64_t rows = layout == Layout::contiguous ? 2'500 : 60;
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

// Rows of groups that stand together or apart, of equal sizes or not.
struct Grouped {
  Tensor rewards, mask, order, starts;
  std::vector<std::vector<int64_t>> groups;

  Grouped(DType dtype, int64_t rows, int64_t time, Layout layout, int64_t size, bool apart)
      : rewards(normal(dtype, {rows, time}, layout)), mask(DType::u8, {rows, time}, layout), order(DType::i32, {rows}, layout),
        starts(DType::i32, {(rows + size - 1) / size + 1}, layout) {
    const int64_t count = (rows + size - 1) / size;
    groups.resize(static_cast<size_t>(count));
    for (int64_t row = 0; row < rows; ++row) groups[static_cast<size_t>(apart ? row % count : row / size)].push_back(row);
    int64_t at = 0;
    for (int64_t g = 0; g < count; ++g) {
      starts.set(g, at);
      for (int64_t row : groups[static_cast<size_t>(g)]) order.set(at++, row);
    }
    starts.set(count, at);
    for (int64_t row = 0; row < rows; ++row) {
      // Padding behind most rows, holes in all but every third, nothing in every seventh.
      const int64_t length = row % 7 == 6 ? 0 : time - row * 37 % (time + 1) / 2;
      for (int64_t t = 0; t < time; ++t) {
        const int64_t i = row * time + t;
        const bool valid = t < length && (row % 3 == 0 || i % 5 != 0);
        mask.set(i, valid ? 1 + i % 3 : 0);
        // Equal rewards in every fourth group.
        if (row / size % 4 == 3) rewards.set(i, t == 0 ? 0.1 : 0);
        if (!valid) rewards.set(i, kNaN);
      }
    }
  }
};

double expected_advantage(const std::vector<double>& scores, size_t i, const double (&scalars)[3], int mode) {
  const double n = static_cast<double>(scores.size());
  double mean = 0, spread = 0;
  for (double score : scores) mean += score / n;
  for (double score : scores) spread += (score - mean) * (score - mean);
  if (n == 1) {
    if (!(mode & 8)) return 0;
    const double variance = std::fmax(1, scalars[2]);
    return !(mode & 1) ? scores[0] : scores[0] / (mode & 2 ? std::sqrt(variance) + scalars[1] : std::sqrt(variance + scalars[1]));
  }
  double advantage = scores[i] - mean;
  if (mode & 4) {
    double others = 0;
    for (size_t k = 0; k < scores.size(); ++k) others += k == i ? 0 : scores[k];
    advantage = scores[i] - others / (n - 1);
  }
  const double variance = spread / (n - scalars[0]);
  if (!(mode & 1) || variance < 1e-14) return variance < 1e-14 ? 0 : advantage;
  const double floored = std::fmax(variance, scalars[2]);
  return advantage / (mode & 2 ? std::sqrt(floored) + scalars[1] : std::sqrt(floored + scalars[1]));
}

void check_advantages(Grouped g, int mode, double ddof, double min_variance) {
  const int64_t rows = g.rewards.view.shape[0], time = g.rewards.view.shape[1];
  const DType dtype = g.rewards.view.dtype;
  const double scalars[3] = {ddof, 1e-3, min_variance}, tolerance = dtype == DType::f64 ? 1e-10 : 2e-5;
  Tensor advantages(g.rewards), per_row(dtype, {rows});
  run(Kernel::group_advantages, {&g.rewards, &g.mask, &g.order, &g.starts, &advantages, &per_row}, {scalars[0], scalars[1], scalars[2]}, mode);
  for (const std::vector<int64_t>& group : g.groups) {
    std::vector<double> scores;
    for (int64_t row : group) {
      double score = 0;
      for (int64_t t = 0; t < time; ++t) score += g.mask[row * time + t] != 0 ? g.rewards[row * time + t] : 0;
      scores.push_back(dtype == DType::f64 ? score : static_cast<double>(static_cast<float>(score)));
    }
    for (size_t k = 0; k < group.size(); ++k) {
      const double expected = expected_advantage(scores, k, scalars, mode);
      CHECK_CLOSE(per_row[group[k]], expected, tolerance, tolerance);
      for (int64_t t = 0; t < time; ++t) {
        const int64_t i = group[k] * time + t;
        CHECK(advantages[i] == (g.mask[i] != 0 ? per_row[group[k]] : 0));
      }
    }
  }
}

TEST(group_advantages_values) {
  for_each_isa([] {
    for (DType dtype : {DType::f32, DType::f64}) {
      for (Layout layout : kLayouts) {
        for (bool apart : {false, true}) {
          for (int64_t time : {0, 1, 8, 21, 128, 130}) check_advantages(Grouped(dtype, 9, time, layout, 4, apart), 3, 1, 0);
          for (int64_t time : {16, 37}) check_advantages(Grouped(dtype, 150, time, layout, 3, apart), 4, 0, 0);
        }
      }
      for (int mode = 0; mode < 16; ++mode) check_advantages(Grouped(dtype, 17, 40, Layout::contiguous, mode & 8 ? 1 : 4, mode % 3 == 0), mode, mode & 1, mode & 2 ? 0.5 : 0);
      // Few groups and many, of long rows, and a single one.
      for (int64_t size : {2, 50, 100}) check_advantages(Grouped(dtype, 100, 1100, Layout::contiguous, size, false), 3, 1, 0);
      check_advantages(Grouped(dtype, 3, 9000, Layout::contiguous, 3, false), 3, 1, 0);
      for (int64_t size : {300, 500, 1000}) check_advantages(Grouped(dtype, 1000, 3, Layout::contiguous, size, size == 300), size == 500 ? 4 : 3, 1, 0);
      cpu::set_cache_size(0);  // stores past the caches
      for (int64_t time : {5, 2100}) check_advantages(Grouped(dtype, 80, time, Layout::contiguous, 2, true), 1, 1, 0);
      cpu::set_cache_size(-1);
    }
  });
}

TEST(group_advantages_of_unlisted_rows) {
  Tensor rewards(DType::f32, {3, 2}), mask(DType::u8, {3, 2}), order(DType::i32, {3}), starts(DType::i32, {2}), out(DType::f32, {3, 2}), per_row(DType::f32, {3});
  for (int64_t i = 0; i < 6; ++i) rewards.set(i, static_cast<double>(i)), mask.set(i, 1);
  order.set(0, 2), order.set(1, 0), order.set(2, 1);
  starts.set(0, 0), starts.set(1, 2);
  for_each_isa([&] {
    run(Kernel::group_advantages, {&rewards, &mask, &order, &starts, &out, &per_row}, {1, 0, 0}, 0);
    for (int64_t i = 0; i < 6; ++i) CHECK(out[i] == (i < 2 ? -4 : i < 4 ? 0 : 4));
  });
}

TEST(group_advantages_of_what_is_not_finite) {
  Tensor rewards(DType::f32, {4, 2}), mask(DType::u8, {4, 2}), order(DType::i32, {4}), starts(DType::i32, {3}), out(DType::f32, {4, 2}), per_row(DType::f32, {4});
  for (int64_t i = 0; i < 8; ++i) rewards.set(i, static_cast<double>(i)), mask.set(i, i != 7);
  for (int64_t i = 0; i < 4; ++i) order.set(i, i);
  starts.set(0, 0), starts.set(1, 2), starts.set(2, 4);
  for (double bad : {kNaN, static_cast<double>(std::numeric_limits<float>::infinity())}) {
    rewards.set(0, bad);
    for_each_isa([&] {
      run(Kernel::group_advantages, {&rewards, &mask, &order, &starts, &out, &per_row}, {1, 1e-6, 0}, 3);
      CHECK(std::isnan(per_row[0]) && std::isnan(out[0]));
      CHECK(std::isfinite(per_row[2]) && out[7] == 0);
    });
  }
}

TEST(group_advantages_arguments) {
  Tensor x(DType::f32, {3, 2}), mask(DType::u8, {3, 2}), rows(DType::i32, {3}), starts(DType::i32, {3}), y(DType::f32, {3}), shorter(DType::f32, {2});
  for (int64_t i = 0; i < 3; ++i) rows.set(i, i);
  starts.set(0, 0), starts.set(1, 2), starts.set(2, 3);
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::group_advantages, {&x, &mask, &rows, &starts, &x, &shorter}, {1, 0, 0}, 3), "group_advantages: row_advantages: expected shape [3], got [2]");
    CHECK_THROWS(run_once(Kernel::group_advantages, {&x, &mask, &rows, &starts, &x, &y}, {1, 0, 0}, 16), "group_advantages: mode: expected an integer in [0, 15], got 16");
    Tensor outside = rows, falling = starts;
    outside.set(1, 3), falling.set(2, 1);
    CHECK_THROWS(run_once(Kernel::group_advantages, {&x, &mask, &outside, &starts, &x, &y}, {1, 0, 0}, 3), "group_advantages: row 3 at position 1 is outside [0, 3)");
    CHECK_THROWS(run_once(Kernel::group_advantages, {&x, &mask, &rows, &falling, &x, &y}, {1, 0, 0}, 3), "group_advantages: starts: expected numbers that do not fall, got a smaller one at position 2");
  });
}

}  // namespace
}  // namespace test
