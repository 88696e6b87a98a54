// The exponential of the logits' kernels. Where memory delivers several logits a cycle to each multiprocessor there is time for the hardware's 2^x
// (2 ulp), not for a polynomial; so float sums are over powers of two. Doubles use the library's e^x.
#pragma once
#include "device.h"

namespace vantage::cuda {

__device__ __forceinline__ float fast_exp2(float x) {
#ifdef VANTAGE_CUDA_EMULATED
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// of(x) = e^(kUnit·x), natural(x) = e^x; below kLowest both are 0 or nearly so.
template <class T>
struct Exponent;
template <>
struct Exponent<float> {
  static constexpr double kUnit = 0.69314718055994530942;
  static constexpr float kLowest = -200.0f;
  __device__ static __forceinline__ float infinity() { return __builtin_inff(); }
  __device__ static __forceinline__ float of(float x) { return fast_exp2(x); }
  __device__ static __forceinline__ double wide(double x) { return exp2(x); }
  __device__ static __forceinline__ float natural(float x) { return fast_exp2(x * 1.44269504088896341f); }
};
template <>
struct Exponent<double> {
  static constexpr double kUnit = 1;
  static constexpr double kLowest = -1000;
  __device__ static __forceinline__ double infinity() { return __builtin_inf(); }
  __device__ static __forceinline__ double of(double x) { return math::exp(x); }
  __device__ static __forceinline__ double wide(double x) { return math::exp(x); }
  __device__ static __forceinline__ double natural(double x) { return math::exp(x); }
};

}  // namespace vantage::cuda
