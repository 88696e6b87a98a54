// Floats to bfloat16, several at once: the bits of math::to_bfloat16. Where memory delivers a few elements a cycle to each multiprocessor there is no
// time to round in integers.
#pragma once
#include "device.h"

namespace vantage::cuda {

// Pairs, the first of each in the lower half of its word.
template <int kPairs>
__device__ __forceinline__ void pack_bfloat16(uint32_t (&to)[kPairs], const float (&from)[2 * kPairs]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  // The hardware's conversion knows one NaN, ours keeps what it can of the argument's bits.
  bool unordered = false;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) unordered |= (from[2 * i] != from[2 * i]) | (from[2 * i + 1] != from[2 * i + 1]);
  if (!unordered) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(to[i]) : "f"(from[2 * i + 1]), "f"(from[2 * i]));
    return;
  }
#endif
#pragma unroll
  for (int i = 0; i < kPairs; ++i) to[i] = math::to_bfloat16(from[2 * i]) | uint32_t{math::to_bfloat16(from[2 * i + 1])} << 16;
}

}  // namespace vantage::cuda
