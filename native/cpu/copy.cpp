// Kernels that only move values: index_copy (the key-value cache) and fill.
#include "../core/kernels.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
void copy_lines(const TensorView& dst, const TensorView& src, int64_t position) {
  const int64_t steps = src.shape[1], channels = src.shape[2];
  parallel_for(src.shape[0], src.shape[0] * steps * channels, [&](int64_t b) {
    for (int64_t t = 0; t < steps; ++t) {
      const T* from = src.as<const T>() + b * src.strides[0] + t * src.strides[1];
      T* to = dst.as<T>() + b * dst.strides[0] + (position + t) * dst.strides[1];
      if (src.strides[2] == 1 && dst.strides[2] == 1) {
        __builtin_memcpy(to, from, static_cast<size_t>(channels) * sizeof(T));
      } else {
        for (int64_t c = 0; c < channels; ++c) to[c * dst.strides[2]] = from[c * src.strides[2]];
      }
    }
  });
}

template <class T>
void fill_with(const TensorView& out, T value) {
  constexpr int64_t kPiece = 65536;
  const int64_t size = out.size();
  parallel_for(ceil_div(size, kPiece), size, [&](int64_t task) {
    T* to = out.as<T>() + task * kPiece;
    const int64_t count = smaller(kPiece, size - task * kPiece);
    for (int64_t i = 0; i < count; ++i) to[i] = value;
  });
}

}  // namespace

void index_copy(const KernelCall& call) {
  const TensorView &dst = call.views[0], &src = call.views[1];
  const int64_t position = static_cast<int64_t>(call.scalars[0]);
  switch (byte_size(dst.dtype)) {
    case 1: return copy_lines<uint8_t>(dst, src, position);
    case 2: return copy_lines<uint16_t>(dst, src, position);
    case 8: return copy_lines<uint64_t>(dst, src, position);
    default: return copy_lines<uint32_t>(dst, src, position);
  }
}

void fill(const KernelCall& call) {
  const TensorView& out = call.views[0];
  const double value = call.scalars[0];
  switch (out.dtype) {
    case DType::f32: return fill_with(out, static_cast<float>(value));
    case DType::f64: return fill_with(out, value);
    case DType::bf16: return fill_with(out, math::to_bfloat16(static_cast<float>(value)));
    case DType::i32: return fill_with(out, math::to_int32(value));
    case DType::u8: return fill_with(out, static_cast<uint8_t>(larger(0, smaller(255, math::to_int32(value)))));
    case DType::boolean: return fill_with(out, static_cast<uint8_t>(value != 0));
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
