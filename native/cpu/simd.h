// Vectors of eight 32-bit or four 64-bit elements, lowered by the compiler to what the instruction set has.
#pragma once
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define VANTAGE_INLINE static inline __attribute__((always_inline))

namespace vantage::cpu::VANTAGE_ISA {

typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef double f64x4 __attribute__((vector_size(32)));
typedef int64_t i64x4 __attribute__((vector_size(32)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef uint64_t u64x4 __attribute__((vector_size(32)));

// A vector at any address. A memcpy would do, but GCC copies 32 bytes in two halves by way of the stack.
template <class V>
struct __attribute__((packed, may_alias)) Unaligned {
  V value;
};

// References, not return values: a 32-byte vector is returned differently with and without AVX, which GCC warns about.
template <class V, class T>
VANTAGE_INLINE void load_vector(V& to, const T* from) {
  to = reinterpret_cast<const Unaligned<V>*>(from)->value;
}
template <class V, class T>
VANTAGE_INLINE void store_vector(T* to, const V& from) {
  reinterpret_cast<Unaligned<V>*>(to)->value = from;
}

// Past the caches, for a block of memory that is not read soon: nothing is fetched to be overwritten. `to` is aligned to the vector. What was
// written is in memory for the other threads after stream_fence().
template <class T>
VANTAGE_INLINE void stream_vector(T* to, const f32x8& from) {
#if defined(__AVX__) && defined(__clang__)
  __builtin_nontemporal_store(from, reinterpret_cast<f32x8*>(to));
#elif defined(__AVX__)
  __builtin_ia32_movntps256(reinterpret_cast<float*>(to), from);
#else
  store_vector(to, from);
#endif
}
// A line of the cache, from any address.
VANTAGE_INLINE void stream_line(char* to, const char* from) {
#if defined(__AVX512F__)
  typedef float f32x16 __attribute__((vector_size(64)));
  f32x16 x;
  load_vector(x, from);
#if defined(__clang__)
  __builtin_nontemporal_store(x, reinterpret_cast<f32x16*>(to));
#else
  __builtin_ia32_movntps512(reinterpret_cast<float*>(to), x);
#endif
#else
#pragma GCC unroll 2
  for (int part = 0; part < 64; part += 32) {
    f32x8 x;
    load_vector(x, from + part);
    stream_vector(to + part, x);
  }
#endif
}
VANTAGE_INLINE void stream_fence() {
#if defined(__AVX__)
  __builtin_ia32_sfence();
#endif
}

// Four floats as doubles, and back. GCC 12 converts a vector of them in two halves.
VANTAGE_INLINE void widen_floats(f64x4& to, const f32x4& from) {
#if defined(__AVX__) && !defined(__clang__)
  to = (f64x4)__builtin_ia32_cvtps2pd256(from);
#else
  to = __builtin_convertvector(from, f64x4);
#endif
}
VANTAGE_INLINE void narrow_doubles(f32x4& to, const f64x4& from) {
#if defined(__AVX__)
  to = (f32x4)__builtin_ia32_cvtpd2ps256(from);
#else
  to = __builtin_convertvector(from, f32x4);
#endif
}

// The widest vector of doubles, and the floats that become one.
#if defined(__AVX512F__)
typedef double WideDoubles __attribute__((vector_size(64)));
using FloatsToWiden = f32x8;
VANTAGE_INLINE void widen(WideDoubles& to, const FloatsToWiden& from) { to = (WideDoubles)_mm512_maskz_cvtps_pd(0xff, (__m256)from); }
#else
using WideDoubles = f64x4;
using FloatsToWiden = f32x4;
VANTAGE_INLINE void widen(WideDoubles& to, const FloatsToWiden& from) { widen_floats(to, from); }
#endif
VANTAGE_INLINE double sum_of_lanes(const f64x4& x) { return (x[0] + x[1]) + (x[2] + x[3]); }
#if defined(__AVX512F__)
VANTAGE_INLINE double sum_of_lanes(const WideDoubles& x) {
  return sum_of_lanes(__builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7));
}
#endif
typedef uint64_t WideWords __attribute__((vector_size(sizeof(WideDoubles))));
typedef float WideFloats __attribute__((vector_size(sizeof(WideDoubles))));
typedef int32_t WideBits __attribute__((vector_size(sizeof(WideDoubles))));  // of comparisons of those

VANTAGE_INLINE void widen_halves(f64x4& low, f64x4& high, const f32x8& from) {
  widen_floats(low, __builtin_shufflevector(from, from, 0, 1, 2, 3));
  widen_floats(high, __builtin_shufflevector(from, from, 4, 5, 6, 7));
}
VANTAGE_INLINE void narrow_halves(f32x8& to, const f64x4& low, const f64x4& high) {
  f32x4 first, second;
  narrow_doubles(first, low);
  narrow_doubles(second, high);
  to = __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7);
}

#if defined(__FMA__)
// a·b + c, rounded once. As an expression the compiler may round twice, or see that a·b is there already, rounded.
VANTAGE_INLINE void multiply_add(f32x8& to, const f32x8& a, const f32x8& b, const f32x8& c) {
  to = (f32x8)__builtin_ia32_vfmaddps256(a, b, c);
}
#endif

// Eight bytes, widened. Through 16 bits: GCC takes a vector of eight bytes apart.
VANTAGE_INLINE void load_bytes(i32x8& to, const void* from) {
  uint64_t bytes;
  __builtin_memcpy(&bytes, from, 8);
  const u8x16 low = (u8x16)u64x2{bytes, 0}, zero = {};
  to = __builtin_convertvector((u16x8)__builtin_shufflevector(low, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), i32x8);
}

#if defined(__AVX2__)
// Lane i becomes lane lanes[i].
VANTAGE_INLINE void choose_lanes(f32x8& to, const f32x8& from, const i32x8& lanes) {
#if defined(__clang__)
  to = (f32x8)__builtin_ia32_permvarsf256(from, lanes);
#else
  to = __builtin_shuffle(from, lanes);
#endif
}
#endif

// Whether a bit of it is set.
VANTAGE_INLINE bool any_of(uint64_t x) { return x != 0; }
VANTAGE_INLINE bool any_of(const u64x4& x) {
#if defined(__AVX__)
  // The compiler would take the vector apart.
  typedef long long i64x4_of_builtin __attribute__((vector_size(32)));
  return !__builtin_ia32_ptestz256((i64x4_of_builtin)x, (i64x4_of_builtin)x);
#else
  return ((x[0] | x[1]) | (x[2] | x[3])) != 0;
#endif
}
#if defined(__AVX512F__)
VANTAGE_INLINE bool any_of(const WideWords& x) { return _mm512_test_epi64_mask((__m512i)x, (__m512i)x) != 0; }
#endif
VANTAGE_INLINE bool all(const i32x8& truth) { return !any_of(~(u64x4)truth); }

// Rows become columns, in 24 shuffles.
template <class V>
VANTAGE_INLINE void transpose8(V (&x)[8]) {
  V a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[i + 1] = __builtin_shufflevector(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    x[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    x[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
