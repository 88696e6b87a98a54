// Kernels that only move values: index_copy (the key-value cache) and fill.
#include "../core/kernel_arguments.h"
#include "positions.h"
#include "vectors.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

template <class U>
__global__ void __launch_bounds__(kThreads) copy(U* dst, const U* src, const Positions<2> g) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= g.size) return;
  int64_t offset[2];
  g.offsets(i, offset);
  dst[offset[0]] = src[offset[1]];
}

template <class U>
__global__ void __launch_bounds__(kThreads) fill_elements(U* out, int64_t size, U value) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < size) out[i] = value;
}

template <class U>
void fill_with(const TensorView& out, U value) {
  const auto elements = [&](auto* to, int64_t size, auto x) {
    launch("fill", fill_elements<decltype(x)>, dim3(static_cast<unsigned>(ceil_div(size, kThreads))), kThreads, 0, to, size, x);
  };
  constexpr int64_t kWidth = 16 / sizeof(U);
  const bool aligned = reinterpret_cast<uintptr_t>(out.data) % 16 == 0;
  const int64_t size = out.size(), vectors = aligned ? size / kWidth : 0;
  Vector<U> vector;
  for (U& x : vector.x) x = value;
  elements(static_cast<Vector<U>*>(out.data), vectors, vector);
  elements(out.as<U>() + vectors * kWidth, size - vectors * kWidth, value);
}

}  // namespace

void index_copy(const KernelCall& call) {
  check_arguments(call);
  TensorView dst = call.views[0], src = call.views[1];
  dst.data = dst.as<char>() + static_cast<int64_t>(call.scalars[0]) * dst.strides[1] * static_cast<int64_t>(byte_size(dst.dtype));
  dst.shape[1] = src.shape[1];
  const int64_t unit = unit_of({&dst, &src});
  dst = in_units(dst, unit), src = in_units(src, unit);
  Positions<2> g;
  for (int d = 0; d < 3; ++d) g.append(src.shape[d], {dst.strides[d], src.strides[d]});
  with_unit(unit * static_cast<int64_t>(byte_size(src.dtype)), [&](auto* type) {
    using U = std::remove_pointer_t<decltype(type)>;
    launch("index_copy", copy<U>, dim3(static_cast<unsigned>(ceil_div(g.size, kThreads))), kThreads, 0, dst.as<U>(), src.as<const U>(), g);
  });
}

void fill(const KernelCall& call) {
  check_arguments(call);
  const TensorView& out = call.views[0];
  const double value = call.scalars[0];
  switch (out.dtype) {
    case DType::f32: return fill_with(out, static_cast<float>(value));
    case DType::f64: return fill_with(out, value);
    case DType::bf16: return fill_with(out, math::to_bfloat16(static_cast<float>(value)));
    case DType::i32: return fill_with(out, math::to_int32(value));
    case DType::u8: return fill_with(out, static_cast<uint8_t>(std::clamp(math::to_int32(value), 0, 255)));
    case DType::boolean: return fill_with(out, static_cast<uint8_t>(value != 0));
  }
}

}  // namespace vantage::cuda
