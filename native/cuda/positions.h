// Positions in arrays of equal shape and any strides, for kernels that have a thread an element.
#pragma once
#include <algorithm>
#include <initializer_list>

#include "device.h"

namespace vantage::cuda {

// The shape of `kViews` arrays, without the dimensions of extent 1 and with those joined that lie alike in all of them.
template <int kViews>
struct Positions {
  int ndim = 0;
  int64_t size = 1;
  int64_t shape[kMaxDims];
  int64_t strides[kViews][kMaxDims];

  // Adds an inner dimension.
  void append(int64_t extent, const int64_t (&steps)[kViews]) {
    size *= extent;
    if (extent == 1) return;
    bool joined = ndim > 0;
    for (int v = 0; v < kViews; ++v) joined = joined && strides[v][ndim - 1] == steps[v] * extent;
    if (joined) shape[ndim - 1] *= extent;
    else shape[ndim++] = extent;
    for (int v = 0; v < kViews; ++v) strides[v][ndim - 1] = steps[v];
  }

  __host__ __device__ void offsets(int64_t element, int64_t (&offset)[kViews]) const {
#pragma unroll
    for (int v = 0; v < kViews; ++v) offset[v] = 0;
    for (int d = ndim - 1; d >= 0; --d) {
      int64_t i;
      if (element <= 0x7fffffff && shape[d] <= 0x7fffffff) {  // 64-bit divisions are slow
        const uint32_t whole = static_cast<uint32_t>(element), extent = static_cast<uint32_t>(shape[d]);
        i = whole % extent;
        element = whole / extent;
      } else {
        i = element % shape[d];
        element /= shape[d];
      }
#pragma unroll
      for (int v = 0; v < kViews; ++v) offset[v] += i * strides[v][d];
    }
  }
};

// How many elements of their last dimension can be moved as one, up to 16 bytes: 1, 2, 4, … The last dimension of the views lies along memory then.
inline int64_t unit_of(std::initializer_list<const TensorView*> views) {
  const TensorView& first = **views.begin();
  const int last = first.ndim - 1;
  const int64_t width = static_cast<int64_t>(byte_size(first.dtype));
  int64_t unit = 16 / width;
  for (const TensorView* view : views) {
    if (view->strides[last] != 1) return 1;
    const auto divides = [&](int64_t x) {
      while (x % unit != 0) unit /= 2;
    };
    divides(view->shape[last]);
    divides(static_cast<int64_t>(reinterpret_cast<uintptr_t>(view->data)) / width);
    for (int d = 0; d < last; ++d) {
      if (view->shape[d] != 1) divides(view->strides[d]);
    }
  }
  return unit;
}

// The view in units of `unit` elements.
inline TensorView in_units(TensorView view, int64_t unit) {
  const int last = view.ndim - 1;
  if (unit == 1) return view;
  view.shape[last] /= unit;
  for (int d = 0; d < last; ++d) view.strides[d] /= unit;
  return view;
}

// Calls body with a null pointer to a type of that many bytes.
template <class Body>
void with_unit(int64_t bytes, const Body& body) {
  switch (bytes) {
    case 1: return body(static_cast<uint8_t*>(nullptr));
    case 2: return body(static_cast<uint16_t*>(nullptr));
    case 4: return body(static_cast<uint32_t*>(nullptr));
    case 8: return body(static_cast<uint2*>(nullptr));
    default: return body(static_cast<uint4*>(nullptr));
  }
}

}  // namespace vantage::cuda
