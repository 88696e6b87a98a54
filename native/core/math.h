// The functions that the instruction table of program.h calls, for float, double and int32. The float ones are branch-free
// polynomials (about 2 ulp), so that a loop over them is vectorised; the double ones are the C library's.
//
// Everything here is static and always inlined: the CPU's files are compiled once for each instruction set, and a shared inline
// function would be kept once, in whichever variant the linker meets first.
#pragma once
#include <cstdint>

#ifndef VANTAGE_HD
#ifdef __CUDACC__
#define VANTAGE_HD static __host__ __device__ __forceinline__
#else
#define VANTAGE_HD static inline __attribute__((always_inline))
#endif
#endif

namespace vantage::math {

VANTAGE_HD uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
VANTAGE_HD float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

// ---- Arithmetic -----------------------------------------------------------------------------------------------------

VANTAGE_HD float divide(float a, float b) { return a / b; }
VANTAGE_HD double divide(double a, double b) { return a / b; }
// Truncates; x / 0 is 0 and INT_MIN / -1 wraps, since an integer division may not end the process.
VANTAGE_HD int32_t divide(int32_t a, int32_t b) {
  if (b == -1) return static_cast<int32_t>(0u - static_cast<uint32_t>(a));
  return b == 0 ? 0 : a / b;
}

// The result has the divisor's sign, as in Python. Integers: x mod 0 is 0.
VANTAGE_HD float modulo(float a, float b) {
  const float r = __builtin_fmodf(a, b);
  return r == 0 ? __builtin_copysignf(0.0f, b) : (r < 0) != (b < 0) ? r + b : r;
}
VANTAGE_HD double modulo(double a, double b) {
  const double r = __builtin_fmod(a, b);
  return r == 0 ? __builtin_copysign(0.0, b) : (r < 0) != (b < 0) ? r + b : r;
}
VANTAGE_HD int32_t modulo(int32_t a, int32_t b) {
  if (b == 0 || b == -1) return 0;
  const int32_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

// a·b + c. GPUs are told not to contract products and sums, so that a program computes the same whether it is interpreted or compiled; within a
// function they round once.
VANTAGE_HD float multiply_add(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return a * b + c;
#endif
}

// A NaN on either side is the result.
template <class T>
VANTAGE_HD T maximum(T a, T b) {
  return ((a > b) | (a != a)) ? a : b;
}
template <class T>
VANTAGE_HD T minimum(T a, T b) {
  return ((a < b) | (a != a)) ? a : b;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
// One instruction.
VANTAGE_HD float maximum(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
VANTAGE_HD float minimum(float a, float b) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
#endif

VANTAGE_HD float absolute(float a) { return __builtin_fabsf(a); }
VANTAGE_HD double absolute(double a) { return __builtin_fabs(a); }
VANTAGE_HD int32_t absolute(int32_t a) { return a < 0 ? static_cast<int32_t>(0u - static_cast<uint32_t>(a)) : a; }

template <class T>
VANTAGE_HD T sign(T a) {
  return a != a ? a : static_cast<T>((a > 0) - (a < 0));
}

VANTAGE_HD bool finite(float a) { return __builtin_fabsf(a) < __builtin_inff(); }
VANTAGE_HD bool finite(double a) { return __builtin_fabs(a) < __builtin_inf(); }
VANTAGE_HD bool finite(int32_t) { return true; }

VANTAGE_HD float sqrt(float a) { return __builtin_sqrtf(a); }
VANTAGE_HD double sqrt(double a) { return __builtin_sqrt(a); }
VANTAGE_HD float rsqrt(float a) { return 1.0f / __builtin_sqrtf(a); }
VANTAGE_HD double rsqrt(double a) { return 1.0 / __builtin_sqrt(a); }
VANTAGE_HD float floor(float a) { return __builtin_floorf(a); }
VANTAGE_HD double floor(double a) { return __builtin_floor(a); }
VANTAGE_HD float ceil(float a) { return __builtin_ceilf(a); }
VANTAGE_HD double ceil(double a) { return __builtin_ceil(a); }
// Halves go to the even neighbour.
VANTAGE_HD float round(float a) { return __builtin_rintf(a); }
VANTAGE_HD double round(double a) { return __builtin_rint(a); }

// ---- Exponentials and logarithms --------------------------------------------------------------------------------------

VANTAGE_HD float power(float a, float b) { return __builtin_powf(a, b); }
VANTAGE_HD double power(double a, double b) { return __builtin_pow(a, b); }

// x = n·ln 2 + r with |r| <= ln 2 / 2, for |x| below about 10^4. Adding 1.5·2^23 rounds to an integer, which is then in the low bits.
VANTAGE_HD int32_t reduce_exponent(float x, float* r) {
  const float shifted = multiply_add(x, 1.44269504088896341f, 12582912.0f);
  const float n = shifted - 12582912.0f;
  *r = multiply_add(n, 2.12194440e-4f, multiply_add(n, -0.693359375f, x));
  return static_cast<int32_t>(bits_of(shifted) - 0x4B400000u);
}
// x between two bounds; a NaN stays.
VANTAGE_HD float limited(float x, float least, float most) {
#ifdef __CUDA_ARCH__
  return maximum(minimum(x, most), least);
#else
  return x > most ? most : x < least ? least : x;
#endif
}
VANTAGE_HD float power_of_two(int32_t n) { return float_of(static_cast<uint32_t>(n + 127) << 23); }

// (e^r - 1 - r) / r² for |r| <= ln 2 / 2.
VANTAGE_HD float exp_tail(float r) {
  float p = 1.9875691500e-4f;
  p = multiply_add(p, r, 1.3981999507e-3f);
  p = multiply_add(p, r, 8.3334519073e-3f);
  p = multiply_add(p, r, 4.1665795894e-2f);
  p = multiply_add(p, r, 1.6666665459e-1f);
  return multiply_add(p, r, 5.0000001201e-1f);
}

VANTAGE_HD float exp(float x) {
  x = limited(x, -105.0f, 89.0f);
  float r;
  const int32_t n = reduce_exponent(x, &r);
  const int32_t half = n >> 1;  // 2^n in two factors: n may be 128, or below -126
  return (multiply_add(exp_tail(r), r * r, r) + 1.0f) * power_of_two(half) * power_of_two(n - half);
}
VANTAGE_HD double exp(double x) { return __builtin_exp(x); }

VANTAGE_HD float expm1(float x) {
  float r;
  const int32_t n = reduce_exponent(limited(x, -20.0f, 89.0f), &r);
  const float half_scale = power_of_two(n - 1);
  const float result = 2.0f * multiply_add(half_scale, multiply_add(exp_tail(r), r * r, r), half_scale - 0.5f);
  return __builtin_copysignf(result, x);  // of -0, too
}
VANTAGE_HD double expm1(double x) { return __builtin_expm1(x); }

VANTAGE_HD float log(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const uint32_t bits = bits_of(tiny ? x * 8388608.0f : x);
  const int32_t e = static_cast<int32_t>(bits - 0x3F3504F3u) >> 23;  // x = m·2^e with m in [√½, √2)
  const float f = float_of(bits - (static_cast<uint32_t>(e) << 23)) - 1.0f;
  const float n = static_cast<float>(e) - (tiny ? 23.0f : 0.0f);
  float p = 7.0376836292e-2f;
  p = multiply_add(p, f, -1.1514610310e-1f);
  p = multiply_add(p, f, 1.1676998740e-1f);
  p = multiply_add(p, f, -1.2420140846e-1f);
  p = multiply_add(p, f, 1.4249322787e-1f);
  p = multiply_add(p, f, -1.6668057665e-1f);
  p = multiply_add(p, f, 2.0000714765e-1f);
  p = multiply_add(p, f, -2.4999993993e-1f);
  p = multiply_add(p, f, 3.3333331174e-1f);
  const float square = f * f;
  const float tail = multiply_add(p * f, square, n * -2.12194440e-4f) - 0.5f * square;
  const float result = multiply_add(n, 0.693359375f, f + tail);
  const float infinity = __builtin_inff();
  // Zero, infinity, and what has no logarithm.
  return x > 0.0f ? (x < infinity ? result : infinity) : (x == 0.0f ? -infinity : __builtin_nanf(""));
}
VANTAGE_HD double log(double x) { return __builtin_log(x); }

VANTAGE_HD float log1p(float x) {
  const float u = 1.0f + x;
  const float lost = (x - (u - 1.0f)) / u;  // what rounding 1 + x lost
  return log(u) + (((u > 0.0f) & (u < __builtin_inff())) ? lost : 0.0f);
}
VANTAGE_HD double log1p(double x) { return __builtin_log1p(x); }

VANTAGE_HD float tanh(float x) {
  const float a = __builtin_fabsf(x);
  const float t = expm1(a > 10.0f ? 20.0f : 2.0f * a);
  return __builtin_copysignf(t / (t + 2.0f), x);
}
VANTAGE_HD double tanh(double x) { return __builtin_tanh(x); }

VANTAGE_HD float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
VANTAGE_HD double sigmoid(double x) { return 1.0 / (1.0 + __builtin_exp(-x)); }

VANTAGE_HD float softplus(float x) { return maximum(x, 0.0f) + log1p(exp(-__builtin_fabsf(x))); }
VANTAGE_HD double softplus(double x) { return maximum(x, 0.0) + __builtin_log1p(__builtin_exp(-__builtin_fabs(x))); }

// ---- Sine and cosine ------------------------------------------------------------------------------------------------------

// sin(x + quarters·π/2). The argument is reduced in double, in two exact steps for |x| <= 2^30; beyond that, where neighbouring floats
// are 128 apart, the result is NaN.
VANTAGE_HD float sine(float x, uint32_t quarters) {
  const double shifted = static_cast<double>(x) * 0.63661977236758134308 + 6755399441055744.0;  // 1.5·2^52
  const double n = shifted - 6755399441055744.0;
  uint64_t bits;
  __builtin_memcpy(&bits, &shifted, 8);
  const uint32_t quadrant = static_cast<uint32_t>(bits) + quarters;
  const float r = static_cast<float>((static_cast<double>(x) - n * 1.57079601287841796875) - n * 3.1391647864875839e-7);
  const float z = r * r;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  const float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const float value = quadrant & 1 ? c : s;
  const float result = quadrant & 2 ? -value : value;
  return __builtin_fabsf(x) <= 1073741824.0f ? result : __builtin_nanf("");
}
VANTAGE_HD float sin(float x) { return sine(x, 0); }
VANTAGE_HD double sin(double x) { return __builtin_sin(x); }
VANTAGE_HD float cos(float x) { return sine(x, 1); }
VANTAGE_HD double cos(double x) { return __builtin_cos(x); }

// ---- Conversions --------------------------------------------------------------------------------------------------------

// Saturating; NaN gives 0.
VANTAGE_HD int32_t to_int32(float x) {
  const float limited = x < -2147483648.0f ? -2147483648.0f : x > 2147483520.0f ? 2147483520.0f : x;
  const int32_t value = static_cast<int32_t>(x != x ? 0.0f : limited);
  return x >= 2147483648.0f ? 2147483647 : value;
}
VANTAGE_HD int32_t to_int32(double x) {
  const double limited = x < -2147483648.0 ? -2147483648.0 : x > 2147483647.0 ? 2147483647.0 : x;
  return static_cast<int32_t>(x != x ? 0.0 : limited);
}
VANTAGE_HD int32_t to_int32(int32_t x) { return x; }

// bfloat16 is the upper half of a float; rounded to nearest, halves to even, NaN kept.
VANTAGE_HD uint16_t to_bfloat16(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40u : rounded);
}
VANTAGE_HD float from_bfloat16(uint16_t x) { return float_of(static_cast<uint32_t>(x) << 16); }

}  // namespace vantage::math
