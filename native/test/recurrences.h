// What the tests of the recurrences share: every row count and length around the block sizes, all layouts.
#pragma once
#include <cmath>
#include <limits>

#include "../cpu/cache.h"
#include "kernels_test.h"

namespace test {

inline const double kNaN = std::nan("");

enum class Holes { none, some, padded, all };

struct Sample {
  DType dtype;
  int64_t rows, time;
  Layout layout;
  Holes holes = Holes::some;
  int ends = 0;  // one step in so many has one
};

template <class Body>
void for_each_layout(const Body& body) {
  for (Layout layout : kLayouts) {
    for (DType dtype : {DType::f32, DType::f64}) {
      for (int64_t rows : {0, 1, 7, 33}) {
        for (int64_t time : {0, 1, 7, 8, 15, 16, 17, 31, 64, 65, 100, 203}) {
          // A device may be an emulation, which is slow: the lengths around its own blocks.
          if (current_isa()->device && (rows == 1 || rows == 7 || time == 8 || time == 15 || time == 31 || time == 64 || time == 100)) continue;
          for (Holes holes : {Holes::none, Holes::some, Holes::padded}) body(Sample{dtype, rows, time, layout, holes});
        }
      }
    }
  }
  for (Holes holes : {Holes::none, Holes::some, Holes::padded, Holes::all}) {
    body({DType::f32, 64, 1300, Layout::contiguous, holes});
    body({DType::f32, 700, 9, Layout::contiguous, holes});
    body({DType::f32, 2, 70001, Layout::contiguous, holes});  // in segments
    if (!current_isa()->device) continue;
    // So many rows that a warp goes along each, a small block, a large block, a cluster of two.
    const int64_t processors = multiprocessors();
    body({DType::f32, 16 * processors, 300, Layout::contiguous, holes});
    body({DType::f32, 4 * processors, 4999, Layout::gaps, holes});
    body({DType::f32, processors, 6001, Layout::contiguous, holes});
    body({DType::f32, processors / 2, 17001, Layout::contiguous, holes});
    body({DType::f64, 1, 70001, Layout::gaps, holes});
  }
}

// Each with stores as usual and with stores past the caches.
template <class Body>
void for_each_case(const Body& body) {
  for (int64_t cache : {int64_t{-1}, int64_t{0}}) {
    if (cache == 0 && current_isa()->device) continue;
    cpu::set_cache_size(cache);
    for_each_layout(body);
  }
  cpu::set_cache_size(-1);
}

// `scale`: the size of the numbers of the row.
inline void expect(const Sample& c, const Tensor& got, int64_t i, double expected, const char* what, double scale = 1) {
  const double tolerance = c.dtype == DType::f64 ? 1e-12 : c.dtype == DType::bf16 ? 1e-2 : 1e-5;
  CHECK_THAT(close(got[i], expected, tolerance, tolerance * scale), "%s %s of %lldx%lld (layout %d, holes %d, ends %d): element %lld: expected %.9g, got %.9g",
             current_isa()->name.c_str(), what, static_cast<long long>(c.rows), static_cast<long long>(c.time), static_cast<int>(c.layout),
             static_cast<int>(c.holes), c.ends, static_cast<long long>(i), expected, got[i]);
}

// What a masked position holds must not matter.
struct Batch {
  Tensor rewards, values, mask, ends, bootstrap;

  explicit Batch(const Sample& c)
      : rewards(c.dtype, {c.rows, c.time}, c.layout), values(rewards), mask(DType::u8, {c.rows, c.time}, c.layout), ends(mask), bootstrap(rewards) {
    for (int64_t i = 0; i < c.rows * c.time; ++i) {
      const int64_t row = i / c.time, t = i % c.time;
      bool valid = c.holes != Holes::all;
      if (c.holes == Holes::some) valid = (i * 7 + i / 5) % 9 != 0;
      if (c.holes == Holes::padded) valid = t >= row % 5 && t < c.time - row * 3 % (c.time + 1);
      const int end = c.ends && (i * 5 + i / 3) % c.ends == 0 ? 1 + static_cast<int>(i % 2) : 0;
      mask.set(i, valid ? 1 + i % 3 : 0);
      ends.set(i, valid ? end : 2);
      rewards.set(i, valid ? std::sin(i * 1.3) : kNaN);
      values.set(i, valid ? std::cos(i * 0.7) : std::numeric_limits<double>::infinity());
      bootstrap.set(i, valid && end == 2 ? std::sin(i * 0.3) : kNaN);
    }
  }
};

// `moments` holds those of what `mask` keeps of row `row` of x.
inline void expect_moments(const Tensor& moments, int64_t row, const Tensor& x, const Tensor& mask) {
  const int64_t time = x.view.shape[1];
  double count = 0, mean = 0, spread = 0;
  for (int64_t i = row * time; i < (row + 1) * time; ++i) {
    if (mask[i] != 0) count += 1, mean += x[i];
  }
  mean = count == 0 ? 0 : mean / count;
  for (int64_t i = row * time; i < (row + 1) * time; ++i) spread += mask[i] != 0 ? (x[i] - mean) * (x[i] - mean) : 0;
  const double relative = 1e-11;
  CHECK(moments[row * 3] == count);
  CHECK_CLOSE(moments[row * 3 + 1], mean, relative, relative);
  CHECK_CLOSE(moments[row * 3 + 2], spread, relative, relative * std::fmax(1, count));
}

}  // namespace test
