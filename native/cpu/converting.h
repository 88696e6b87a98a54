// What the conversions of convert.h are made of: elements of memory as numbers and back, and eight rows of memory that are turned in registers.
#pragma once
#include "../core/math.h"
#include "convert.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {

// Element types of memory that C++ has no type for.
struct Bfloat16 {
  uint16_t bits;
};
struct Bool {
  uint8_t value;
};

template <class T, class S>
VANTAGE_INLINE T read(S x) {
  if constexpr (sizeof(T) == 4 && __is_same(T, int32_t)) return math::to_int32(x);
  else return static_cast<T>(x);
}
template <class T>
VANTAGE_INLINE T read(Bfloat16 x) {
  return read<T>(math::from_bfloat16(x.bits));
}
template <class T>
VANTAGE_INLINE T read(Bool x) {
  return static_cast<T>(x.value != 0);
}

// What leaves a register (or an int64 total) for memory. Integers saturate.
template <class S>
struct Write {
  template <class T>
  VANTAGE_INLINE S from(T x) {
    return static_cast<S>(x);
  }
};
template <>
struct Write<int32_t> {
  VANTAGE_INLINE int32_t from(float x) { return math::to_int32(x); }
  VANTAGE_INLINE int32_t from(double x) { return math::to_int32(x); }
  VANTAGE_INLINE int32_t from(int32_t x) { return x; }
  VANTAGE_INLINE int32_t from(int64_t x) { return static_cast<int32_t>(x < -2147483648ll ? -2147483648ll : x > 2147483647ll ? 2147483647ll : x); }
};
template <>
struct Write<uint8_t> {
  template <class T>
  VANTAGE_INLINE uint8_t from(T x) {
    const T limited = x > T(255) ? T(255) : x;
    return static_cast<uint8_t>(static_cast<int32_t>(limited > T(0) ? limited : T(0)));  // NaN fails the comparison
  }
};
template <>
struct Write<Bool> {
  template <class T>
  VANTAGE_INLINE Bool from(T x) {
    return {static_cast<uint8_t>(x != T(0))};
  }
};
template <>
struct Write<Bfloat16> {
  template <class T>
  VANTAGE_INLINE Bfloat16 from(T x) {
    return {math::to_bfloat16(static_cast<float>(x))};
  }
};

// ---- Eight rows and their columns ---------------------------------------------------------------------------------------------------

template <class T>
struct Vector8;
template <>
struct Vector8<float> {
  using type = f32x8;
};
template <>
struct Vector8<int32_t> {
  using type = i32x8;
};

// An address: it may lie outside of the array.
template <class S>
VANTAGE_INLINE void prefetch(const S* base, int64_t index) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(base) + index * sizeof(S)), 0, 3);
}

// Eight elements of memory as a vector of the register type.
template <class S, class V>
VANTAGE_INLINE void load8(V& to, const S* from) {
  if constexpr (__is_same(S, Bfloat16)) {
    u16x8 bits;
    load_vector(bits, from);
    const i32x8 wide = __builtin_convertvector(bits, i32x8) << 16;
    to = __builtin_convertvector((f32x8)wide, V);
  } else if constexpr (__is_same(S, Bool)) {
    i32x8 wide;
    load_bytes(wide, from);
    to = __builtin_convertvector((wide != 0) & 1, V);
  } else if constexpr (__is_same(S, uint8_t)) {
    i32x8 wide;
    load_bytes(wide, from);
    to = __builtin_convertvector(wide, V);
  } else {
    load_vector(to, from);
  }
}

// Whether load8 takes this pair: 32-bit registers, and no float that would need saturating.
template <class S, class T>
constexpr bool kVectorLoad = sizeof(T) == 4 && (__is_same(S, T) || __is_same(S, uint8_t) || __is_same(S, Bool) ||
                                                (__is_same(S, Bfloat16) && __is_same(T, float)));

// Eight rows and 8·blocks times. Two blocks at once are a whole cache line of each row: rows that are a multiple of 4 KiB apart share a
// set of the first-level cache, and a line that is left half read is gone when its other half is wanted.
template <int blocks, class S, class T>
VANTAGE_INLINE void load_blocks(T* out, const S* const (&rows)[8], int64_t t, int64_t width, int64_t ahead) {
  typename Vector8<T>::type x[blocks][8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    prefetch(rows[i], t + ahead);
    for (int k = 0; k < blocks; ++k) load8<S>(x[k][i], rows[i] + t + 8 * k);
  }
#pragma GCC unroll 2
  for (int k = 0; k < blocks; ++k) {
    transpose8(x[k]);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) store_vector(out + (8 * k + i) * width, x[k][i]);
  }
}

// ---- Bytes ---------------------------------------------------------------------------------------------------------------------

// Collects which bytes are 0.
struct Zeros {
  typedef int8_t Bytes __attribute__((vector_size(16)));
  Bytes found = {};
  bool in_rest = false;

  VANTAGE_INLINE void look(Zeros& zeros, const uint8_t* from, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      Bytes x;
      load_vector(x, from + i);
      zeros.found |= x == 0;
    }
    for (; i < n; ++i) zeros.in_rest |= from[i] == 0;
  }
  bool any() const {
    const u64x2 bits = (u64x2)found;
    return in_rest || (bits[0] | bits[1]) != 0;
  }
};

// ---- Tables ----------------------------------------------------------------------------------------------------------------------

// One row for each dtype in the order of their numbers.
#define VANTAGE_BY_DTYPE(function, type)                                                                                       \
  {                                                                                                                            \
    function<float, type>, function<double, type>, function<Bfloat16, type>, function<int32_t, type>, function<uint8_t, type>, \
        function<Bool, type>                                                                                                   \
  }
#define VANTAGE_BY_TYPE(function) \
  { VANTAGE_BY_DTYPE(function, float), VANTAGE_BY_DTYPE(function, double), VANTAGE_BY_DTYPE(function, int32_t) }

}  // namespace vantage::cpu::VANTAGE_ISA
