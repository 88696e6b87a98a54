// What the tests of the recurrences share: every row count and length around the block sizes, all layouts.
#pragma once
#include <cmath>

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

}  // namespace test
