// A strided window on a buffer: what every kernel but a fused program takes.
#pragma once
#include <cstdint>

#include "dtype.h"

namespace vantage {

constexpr int kMaxDims = 8;

struct TensorView {
  void* data = nullptr;  // the first element of the view, the offset already added
  DType dtype = DType::f32;
  int ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[kMaxDims] = {};  // in elements; 0 where broadcast, negative where reversed

  int64_t size() const {
    int64_t total = 1;
    for (int d = 0; d < ndim; ++d) total *= shape[d];
    return total;
  }
  bool contiguous() const {
    int64_t expected = 1;
    for (int d = ndim - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != expected) return false;
      expected *= shape[d];
    }
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace vantage
