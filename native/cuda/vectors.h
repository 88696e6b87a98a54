// Rows of a matrix read 16 bytes at a time, wherever a row begins: what lies before the first multiple of 16 bytes and after the last one is read by elements.
#pragma once
#include <type_traits>

#include "bfloat16.h"
#include "device.h"

namespace vantage::cuda {

template <class S>
struct Vectors {
  using Element = std::remove_const_t<S>;
  static constexpr int kWidth = static_cast<int>(16 / sizeof(S));

  S* data;
  int64_t row, step;  // strides in elements

  __device__ __forceinline__ S& at(int64_t r, int64_t i) const { return data[r * row + i * step]; }
  // Elements from the place on, along memory, to the next multiple of 16 bytes.
  __device__ __forceinline__ int to_boundary(int64_t r, int64_t i) const {
    return static_cast<int>((0 - reinterpret_cast<uintptr_t>(&at(r, i)) / sizeof(S)) % kWidth);
  }
};

template <class S>
Vectors<S> vectors_of(const TensorView& view) {
  return {view.as<S>(), view.strides[0], view.shape[1] == 1 ? 1 : view.strides[1]};
}

// The elements [first, last) of a row: `count` whole vectors from element `start` on, which is `last` where there are none.
struct Span {
  int64_t first, last, start, count;

  __device__ __forceinline__ int64_t stop(int width) const { return start + count * width; }
};
template <class S>
__device__ __forceinline__ Span span_of(const Vectors<S>& v, int64_t r, int64_t first, int64_t last) {
  const int64_t start = first + v.to_boundary(r, first);
  if (v.step != 1 || start + Vectors<S>::kWidth > last) return {first, last, last, 0};
  return {first, last, start, (last - start) / Vectors<S>::kWidth};
}

template <class S>
struct alignas(16) Vector {
  S x[16 / sizeof(S)];
};
template <class S>
__device__ __forceinline__ Vector<std::remove_const_t<S>> load_vector(S* from) {
  Vector<std::remove_const_t<S>> v;
  *reinterpret_cast<uint4*>(&v) = *reinterpret_cast<const uint4*>(from);
  return v;
}
template <class S>
__device__ __forceinline__ void store_vector(S* to, const Vector<S>& v) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&v);
}

// The elements of a vector as they are computed with, and back.
template <class S>
__device__ __forceinline__ void unpack(ComputedIn<S> (&to)[16 / sizeof(S)], const Vector<S>& v) {
  if constexpr (std::is_same_v<S, bf16>) {
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(&v);
#pragma unroll
    for (int i = 0; i < 4; ++i) to[2 * i] = __uint_as_float(pairs[i] << 16), to[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  } else {
#pragma unroll
    for (int i = 0; i < static_cast<int>(16 / sizeof(S)); ++i) to[i] = v.x[i];
  }
}
template <class S>
__device__ __forceinline__ Vector<S> pack(const ComputedIn<S> (&from)[16 / sizeof(S)]) {
  Vector<S> v;
  if constexpr (std::is_same_v<S, bf16>) {
    pack_bfloat16(*reinterpret_cast<uint32_t(*)[4]>(&v), from);
  } else {
#pragma unroll
    for (int i = 0; i < static_cast<int>(16 / sizeof(S)); ++i) v.x[i] = from[i];
  }
  return v;
}

}  // namespace vantage::cuda
