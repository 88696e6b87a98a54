// Which rows are a group's: the rows, group by group, and where each group starts.
#pragma once
#include "../core/check.h"
#include "../core/tensor_view.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {

template <class T>
VANTAGE_INLINE T& element(const TensorView& view, int64_t i) { return view.as<T>()[i * view.strides[0]]; }

struct GroupLists {
  TensorView rows, starts;
  int64_t count;  // of rows

  int64_t groups() const { return starts.shape[0] - 1; }
  int64_t start(int64_t group) const { return element<int32_t>(starts, group); }
  int64_t row(int64_t i) const { return element<int32_t>(rows, i); }

  void check(const char* kernel) const {
    for (int64_t i = 0; i < count; ++i) {
      if (row(i) < 0 || row(i) >= count) fail_index(kernel, "row", row(i), i, count);
    }
    int64_t before = 0;
    for (int64_t g = 0; g < starts.shape[0]; ++g) {
      if (start(g) < 0 || start(g) > count) fail_index(kernel, "start", start(g), g, count + 1);
      if (start(g) < before) fail_row(kernel, "starts: expected numbers that do not fall, got a smaller one at position", g);
      before = start(g);
    }
  }
};

}  // namespace vantage::cpu::VANTAGE_ISA
