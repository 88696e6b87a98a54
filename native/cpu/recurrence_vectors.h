// What the steps of a recurrence are computed in: a scalar, or a vector of eight or sixteen float32 that follow one another in time.
#pragma once
#include "../core/recurrences.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vantage::cpu::VANTAGE_ISA {

constexpr int kLanesOfBlock = 8;

// For members: VANTAGE_INLINE makes a function static.
#define VANTAGE_METHOD inline __attribute__((always_inline))
// A loop over the steps of a tile by itself: inside its caller it does not get all registers.
#define VANTAGE_APART __attribute__((noinline))

template <class T>
VANTAGE_INLINE void load_at(T& to, const T* from) { to = *from; }
VANTAGE_INLINE void load_at(f32x8& to, const float* from) { load_vector(to, from); }
template <class T>
VANTAGE_INLINE void store_at(T* to, const T& from) { *to = from; }
VANTAGE_INLINE void store_at(float* to, const f32x8& from) { store_vector(to, from); }
// `past_caches`: `to` is aligned to the vector then.
template <class T>
VANTAGE_INLINE void put_at(T* to, const T& from, bool) { *to = from; }
VANTAGE_INLINE void put_at(float* to, const f32x8& from, bool past_caches) {
  if (past_caches) stream_vector(to, from);
  else store_vector(to, from);
}
// For what is read through once against its order, or in it: the hardware's own prefetching does not run far enough ahead.
template <bool kForward = false, class T>
VANTAGE_INLINE void fetch(T& to, const T* from) { to = *from; }
template <bool kForward>
VANTAGE_INLINE void prefetch_ahead(const void* from, intptr_t bytes = 1024) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(from) + (kForward ? bytes : -bytes)));
}
template <bool kForward = false>
VANTAGE_INLINE void fetch(f32x8& to, const float* from) {
  prefetch_ahead<kForward>(from);
  load_vector(to, from);
}
// Eight bytes, widened.
VANTAGE_INLINE void widen_bytes(i32x8& to, const uint8_t* from) {
#if defined(__AVX2__)
  to = (i32x8)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  load_bytes(to, from);
#endif
}
template <class T>
VANTAGE_INLINE T first_of(const T& x) { return x; }
VANTAGE_INLINE float first_of(const f32x8& x) { return x[0]; }
template <class T>
VANTAGE_INLINE void fill_with(T& to, T x) { to = x; }
VANTAGE_INLINE void fill_with(f32x8& to, float x) { to = f32x8{x, x, x, x, x, x, x, x}; }

// What follows each step in time: the next lane, and `later` after the last one.
template <class T>
VANTAGE_INLINE void shift_in(T& to, const T&, T later) { to = later; }
VANTAGE_INLINE void shift_in(f32x8& to, const f32x8& x, float later) {
  f32x8 last;
  fill_with(last, later);
  to = __builtin_shufflevector(x, last, 1, 2, 3, 4, 5, 6, 7, 8);
}
// What precedes each step: the lane before, and `earlier` in front of the first one.
VANTAGE_INLINE void shift_back(f32x8& to, const f32x8& x, float earlier) {
  f32x8 first;
  fill_with(first, earlier);
  to = __builtin_shufflevector(first, x, 0, 8, 9, 10, 11, 12, 13, 14);
}
VANTAGE_INLINE float last_of(const f32x8& x) { return x[kLanesOfBlock - 1]; }

#if defined(__AVX512F__)
// Sixteen steps, where the instruction set has vectors of so many.
#define VANTAGE_WIDE 1
typedef float f32x16 __attribute__((vector_size(64)));
using Widest = f32x16;
constexpr int kLanesOfWidest = 16;
VANTAGE_INLINE void load_at(f32x16& to, const float* from) { load_vector(to, from); }
VANTAGE_INLINE void store_at(float* to, const f32x16& from) { store_vector(to, from); }
VANTAGE_INLINE void put_at(float* to, const f32x16& from, bool past_caches) {
  if (past_caches) _mm512_stream_ps(to, (__m512)from);
  else store_vector(to, from);
}
template <bool kForward = false>
VANTAGE_INLINE void fetch(f32x16& to, const float* from) {
  prefetch_ahead<kForward>(from);
  load_vector(to, from);
}
VANTAGE_INLINE float first_of(const f32x16& x) { return x[0]; }
VANTAGE_INLINE void fill_with(f32x16& to, float x) { to = x - f32x16{}; }  // x - 0 keeps the sign of a zero
VANTAGE_INLINE void shift_in(f32x16& to, const f32x16& x, float later) {
  f32x16 last;
  fill_with(last, later);
  to = __builtin_shufflevector(x, last, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
}
VANTAGE_INLINE void shift_back(f32x16& to, const f32x16& x, float earlier) {
  f32x16 first;
  fill_with(first, earlier);
  to = __builtin_shufflevector(first, x, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
}
VANTAGE_INLINE float last_of(const f32x16& x) { return x[kLanesOfWidest - 1]; }
typedef int32_t i32x16 __attribute__((vector_size(64)));
// Sixteen bytes, widened.
VANTAGE_INLINE void widen_bytes(i32x16& to, const uint8_t* from) {
  to = (i32x16)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
using Widest = f32x8;
constexpr int kLanesOfWidest = kLanesOfBlock;
#endif

// At step i. kCopy: it goes past the caches, and into `copy` too.
template <bool kCopy, class T, class V>
VANTAGE_INLINE void put_at(T* to, int64_t i, const V& from, bool past_caches, T* copy) {
  put_at(to + i, from, kCopy || past_caches);
  if constexpr (kCopy) store_at(copy + i, from);
}

// V' where episodes end: nothing after a terminated step, the bootstrap value after a truncated one.
template <class T>
VANTAGE_INLINE void end_values(T& next, const uint8_t* ends, const T* bootstrap) {
  if (*ends) next = *ends == recurrences::kTruncated ? *bootstrap : T(0);
}
template <class V, class I>
VANTAGE_INLINE void end_values_of(V& next, const uint8_t* ends, const float* bootstrap) {
  I end;
  V given;
  widen_bytes(end, ends);
  load_vector(given, bootstrap);
  next = end == 0 ? next : (end == recurrences::kTruncated ? given : V{});
}
VANTAGE_INLINE void end_values(f32x8& next, const uint8_t* ends, const float* bootstrap) { end_values_of<f32x8, i32x8>(next, ends, bootstrap); }
#if VANTAGE_WIDE
VANTAGE_INLINE void end_values(f32x16& next, const uint8_t* ends, const float* bootstrap) { end_values_of<f32x16, i32x16>(next, ends, bootstrap); }
#endif
// 0 where an episode ends, 1 elsewhere.
template <class T>
VANTAGE_INLINE void open_steps(T& open, const uint8_t* ends) { open = *ends ? T(0) : T(1); }
template <class V, class I>
VANTAGE_INLINE void open_steps_of(V& open, const uint8_t* ends) {
  I end;
  widen_bytes(end, ends);
  open = end == 0 ? V{} + 1.0f : V{};
}
VANTAGE_INLINE void open_steps(f32x8& open, const uint8_t* ends) { open_steps_of<f32x8, i32x8>(open, ends); }
#if VANTAGE_WIDE
VANTAGE_INLINE void open_steps(f32x16& open, const uint8_t* ends) { open_steps_of<f32x16, i32x16>(open, ends); }
#endif

}  // namespace vantage::cpu::VANTAGE_ISA
