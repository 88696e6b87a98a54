// Vectors of the widest registers of the instruction set that a file is compiled for, and the reading and writing of rows.
#pragma once
#include <cstdint>

#include "../core/dtype.h"
#include "../core/math.h"
#include "../core/tensor_view.h"

namespace vantage::cpu::VANTAGE_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

#define VANTAGE_INLINE inline __attribute__((always_inline))

struct bf16 {
  uint16_t bits;
};

template <class T>
VANTAGE_INLINE T convert(float x) { return static_cast<T>(x); }
template <class T>
VANTAGE_INLINE T convert(double x) { return static_cast<T>(x); }
template <class T>
VANTAGE_INLINE T convert(int32_t x) { return static_cast<T>(x); }
template <class T>
VANTAGE_INLINE T convert(bf16 x) { return static_cast<T>(math::from_bfloat16(x.bits)); }
template <>
VANTAGE_INLINE bf16 convert<bf16>(float x) { return {math::to_bfloat16(x)}; }
template <>
VANTAGE_INLINE bf16 convert<bf16>(double x) { return {math::to_bfloat16(static_cast<float>(x))}; }

template <class T>
VANTAGE_INLINE T smaller(T a, T b) { return b < a ? b : a; }
template <class T>
VANTAGE_INLINE T larger(T a, T b) { return a < b ? b : a; }
VANTAGE_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
VANTAGE_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
VANTAGE_INLINE void store(T* to, Vector<T> v) { __builtin_memcpy(to, &v, sizeof v); }

template <class T>
VANTAGE_INLINE Vector<T> splat(T x) { return x - Vector<T>{}; }  // x - 0 keeps the sign of a zero and a NaN

// 0, 1, 2, … in the lanes.
template <class T>
VANTAGE_INLINE Vector<T> lane_numbers() {
  Vector<T> v;
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(i);
  return v;
}

// Lane i becomes lane i ^ kDistance.
template <class T, int kDistance>
VANTAGE_INLINE Vector<T> exchange(Vector<T> v) {
#if defined(__clang__)
  Vector<T> to = {};
  for (int i = 0; i < kLanes<T>; ++i) to[i] = v[i ^ kDistance];
  return to;
#else
  decltype(v < v) from = {};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) from[i] = i ^ kDistance;
  return __builtin_shuffle(v, from);
#endif
}

// The lanes are folded in halves: a fixed order, and short chains of additions.
template <class T, int kHalf = kLanes<T> / 2>
VANTAGE_INLINE T sum_of(Vector<T> v) {
  v += exchange<T, kHalf>(v);
  if constexpr (kHalf > 1) return sum_of<T, kHalf / 2>(v);
  return v[0];
}

template <class T, int kHalf = kLanes<T> / 2>
VANTAGE_INLINE T max_of(Vector<T> v) {
  const Vector<T> other = exchange<T, kHalf>(v);
  v = other < v ? v : other;
  if constexpr (kHalf > 1) return max_of<T, kHalf / 2>(v);
  return v[0];
}

// Below this exp gives 0. A logarithm of a probability is clamped here before it is multiplied with that probability: 0 · -inf is NaN.
template <class T>
constexpr T kSmallestExponent = sizeof(T) == 4 ? T(-87.3) : T(-708);

// exp(x) for x up to 88 (float) or 709; NaN gives NaN. Cody-Waite reduction, then a polynomial (Cephes) of 1 ulp.
VANTAGE_INLINE Vector<float> exp_of(Vector<float> x) {
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  const float magic = 12582912.0f;  // 1.5·2^23: adding it rounds to an integer, which the low bits then hold
  const Vector<float> shifted = x * 1.44269504f + magic;
  const Vector<float> n = shifted - magic;
  const Vector<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Vector<float> power = (Vector<float>)(((Bits)shifted << 23) + 0x3F800000);  // 2^n
  return x < kSmallestExponent<float> ? Vector<float>{} : p * power;
}

VANTAGE_INLINE Vector<double> exp_of(Vector<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = x[i] < kSmallestExponent<double> ? 0.0 : __builtin_exp(x[i]);
  return x;
}

VANTAGE_INLINE float log_of(float x) { return __builtin_logf(x); }
VANTAGE_INLINE double log_of(double x) { return __builtin_log(x); }

// x below the clamp becomes the clamp; NaN stays NaN.
template <class T>
VANTAGE_INLINE Vector<T> clamp_exponent(Vector<T> x) {
  const Vector<T> low = splat(kSmallestExponent<T> - 1);
  return x < low ? low : x;
}

template <class T>
constexpr int64_t padded(int64_t n) { return ceil_div(n, kLanes<T>) * kLanes<T>; }

template <class From, class To>
VANTAGE_INLINE void copy_strided(const From* from, int64_t from_stride, To* to, int64_t to_stride, int64_t n) {
  if (from_stride == 1 && to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = convert<To>(from[i * from_stride]);
  }
}

// Reads n elements of a float32, float64 or bfloat16 view, from element `offset` on, `stride` apart.
template <class T>
void read_row(const TensorView& view, int64_t offset, int64_t stride, int64_t n, T* to) {
  if (view.dtype == DType::f32) copy_strided(view.as<const float>() + offset, stride, to, 1, n);
  if (view.dtype == DType::f64) copy_strided(view.as<const double>() + offset, stride, to, 1, n);
  if (view.dtype == DType::bf16) copy_strided(view.as<const bf16>() + offset, stride, to, 1, n);
}

template <class T>
void write_row(const T* from, int64_t n, const TensorView& view, int64_t offset, int64_t stride) {
  if (view.dtype == DType::f32) copy_strided(from, 1, view.as<float>() + offset, stride, n);
  if (view.dtype == DType::f64) copy_strided(from, 1, view.as<double>() + offset, stride, n);
  if (view.dtype == DType::bf16) copy_strided(from, 1, view.as<bf16>() + offset, stride, n);
}

template <class T>
constexpr DType dtype_of() { return sizeof(T) == 4 ? DType::f32 : DType::f64; }

// What a floating view is computed in.
VANTAGE_INLINE DType computed_in(DType dtype) { return dtype == DType::bf16 ? DType::f32 : dtype; }

// The pointer itself where the row can be read in place, otherwise a converted copy in `buffer`.
template <class T>
VANTAGE_INLINE const T* row_of(const TensorView& view, int64_t offset, int64_t stride, int64_t n, T* buffer) {
  if (view.dtype == dtype_of<T>() && stride == 1) return view.as<const T>() + offset;
  read_row(view, offset, stride, n, buffer);
  return buffer;
}

}  // namespace vantage::cpu::VANTAGE_ISA
