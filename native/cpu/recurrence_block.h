// The recurrences of recurrences.h inside one row: eight steps are a vector, whose affine maps are composed in three rounds of shuffles, and
// y_i = local_i + (product of a_i …)·carry. Only the carry goes from block to block, and in double, so that long rows lose nothing. Float64 rows are
// stepped through one by one.
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

// ---- Elements: V is a scalar, or a vector of eight float32 -----------------------------------------------------------------------

template <class T>
VANTAGE_INLINE void load_at(T& to, const T* from) { to = *from; }
VANTAGE_INLINE void load_at(f32x8& to, const float* from) { load_vector(to, from); }
template <class T>
VANTAGE_INLINE void store_at(T* to, const T& from) { *to = from; }
VANTAGE_INLINE void store_at(float* to, const f32x8& from) { store_vector(to, from); }
// For what is read through once against its order, or in it: the hardware's own prefetching does not run far enough ahead.
template <bool kForward = false, class T>
VANTAGE_INLINE void fetch(T& to, const T* from) { to = *from; }
template <bool kForward>
VANTAGE_INLINE void prefetch_ahead(const float* from) {
  constexpr intptr_t kAhead = 1024;  // bytes
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(from) + (kForward ? kAhead : -kAhead)));
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

#if defined(__AVX512F__)
// Sixteen steps, where the instruction set has vectors of so many.
#define VANTAGE_WIDE 1
typedef float f32x16 __attribute__((vector_size(64)));
using Widest = f32x16;
constexpr int kLanesOfWidest = 16;
VANTAGE_INLINE void load_at(f32x16& to, const float* from) { load_vector(to, from); }
VANTAGE_INLINE void store_at(float* to, const f32x16& from) { store_vector(to, from); }
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
#else
using Widest = f32x8;
constexpr int kLanesOfWidest = kLanesOfBlock;
#endif

// V' where episodes end: nothing after a terminated step, the bootstrap value after a truncated one.
template <class T>
VANTAGE_INLINE void end_values(T& next, const uint8_t* ends, const T* bootstrap) {
  if (*ends) next = *ends == recurrences::kTruncated ? *bootstrap : T(0);
}
VANTAGE_INLINE void end_values(f32x8& next, const uint8_t* ends, const float* bootstrap) {
  i32x8 end;
  f32x8 given;
  widen_bytes(end, ends);
  load_vector(given, bootstrap);
  next = end == 0 ? next : (end == recurrences::kTruncated ? given : f32x8{});
}

// ---- A constant a -----------------------------------------------------------------------------------------------------------------

// The powers of a that a block needs.
struct Decay {
  double one, block;    // a, a⁸
  float first, second;  // a, a²
  f32x8 across;         // lanes 0-3: a⁴ … a, the way to lane 4
  f32x8 carried;        // a⁸ … a, the way to the next block
  f32x8 distant;        // a¹⁶ … a⁹, the way to the block after it
  f32x8 reached;        // 1 … a⁷, the way to lane 0

  explicit Decay(double a) : one(a), first(static_cast<float>(a)), second(static_cast<float>(a * a)), across{} {
    const double a4 = (a * a) * (a * a), a8 = a4 * a4;
    const f64x4 near = {a4, a * a * a, a * a, a}, descending = near * a4;
    narrow_halves(carried, descending, near);
    narrow_halves(distant, descending * a8, near * a8);
    for (int i = 0; i < kLanesOfBlock - 1; ++i) reached[i + 1] = carried[kLanesOfBlock - 1 - i];
    reached[0] = 1;
    for (int i = 0; i < 4; ++i) across[i] = carried[i + 4];
    block = a8;
  }
  // Whether the powers are float32. With others steps go one by one: an infinite power of nothing would be NaN.
  bool holds() const { return __builtin_fabs(one) <= 200; }
  // After so many steps nothing that a float32 could hold is left of what came in, were it the largest number there is.
  int64_t reach() const {
    constexpr double kBits = 300;  // 128 of the largest, 150 of the smallest, and some for sums of many
    const double magnitude = __builtin_fabs(one);
    if (!(magnitude < 1)) return INT64_MAX;
    return magnitude == 0 ? 1 : static_cast<int64_t>(kBits / -__builtin_log2(magnitude)) + 1;
  }
  double power(int64_t n) const {
    double result = 1, square = one;
    for (; n > 0; n >>= 1, square *= square) {
      if (n & 1) result *= square;
    }
    return result;
  }
};

#if VANTAGE_WIDE
// The wide blocks of scan_constant, where no step has an end. Returns how many steps they leave.
template <class Step>
VANTAGE_INLINE int64_t scan_wide(Step& step, int64_t n, const Decay& a, double& state) {
  const f32x16 zero = {};
  const f32x16 quads = __builtin_shufflevector(a.across, a.across, 0, 1, 2, 3, 4, 4, 4, 4, 0, 1, 2, 3, 4, 4, 4, 4);
  const f32x16 halves = __builtin_shufflevector(a.carried, f32x8{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8);
  const f32x16 powers = __builtin_shufflevector(a.distant, a.carried, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  f32x16 first, second;
  fill_with(first, a.first);
  fill_with(second, a.second);
  const double block = a.block * a.block;
  double carry = state;
#pragma GCC unroll 2
  for (n -= kLanesOfWidest; n >= 0; n -= kLanesOfWidest) {
    f32x16 b, kept, carried;
    step.difference(b, kept, n);
    b += first * __builtin_shufflevector(b, zero, 1, 2, 3, 16, 5, 6, 7, 16, 9, 10, 11, 16, 13, 14, 15, 16);
    b += second * __builtin_shufflevector(b, zero, 2, 3, 16, 16, 6, 7, 16, 16, 10, 11, 16, 16, 14, 15, 16, 16);
    b += quads * __builtin_shufflevector(b, zero, 4, 4, 4, 4, 16, 16, 16, 16, 12, 12, 12, 12, 16, 16, 16, 16);
    b += halves * __builtin_shufflevector(b, zero, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16);
    fill_with(carried, static_cast<float>(carry));
    recurrences::affine_step(carry, block, static_cast<double>(b[0]));
    step.put(n, b + powers * carried, kept);
  }
  state = carry;
  return n + kLanesOfWidest;
}
#endif

// Step n-1 to step 0 of y = b + a·y_next. `step.difference(b, kept, i)` gives b of one step or of eight, `step.put(i, y, kept)` takes y.
// Where kEnds, nothing comes in to a step that has an end.
template <class T, bool kEnds, class Step>
VANTAGE_INLINE void scan_constant(Step step, const uint8_t* ends, int64_t n, const Decay& a, double& state) {
  double carry = state;  // in a register, like the step: a vector may be stored over anything, as far as the compiler knows
  int64_t i = n;
#if VANTAGE_WIDE
  if constexpr (sizeof(T) == 4 && !kEnds) if (a.holds()) i = scan_wide(step, i, a, carry);
#endif
  if constexpr (sizeof(T) == 4) if (a.holds()) {
    const f32x8 zero = {};
    const i32x8 all = ~i32x8{};
    const f32x8 across = a.across, powers = a.carried;
    f32x8 first, second;
    fill_with(first, a.first);
    fill_with(second, a.second);
    const double block = a.block;
#pragma GCC unroll 2
    for (i -= kLanesOfBlock; i >= 0; i -= kLanesOfBlock) {
      f32x8 b, kept, carried;
      step.difference(b, kept, i);
      i32x8 open = all;  // first: no end at the lane; later: from the lane to the end of its half
      f32x8 shifted = __builtin_shufflevector(b, zero, 1, 2, 3, 8, 5, 6, 7, 12);
      if constexpr (kEnds) {
        widen_bytes(open, ends + i);
        open = open == 0;
        shifted = (f32x8)((i32x8)shifted & open);
      }
      b += first * shifted;
      shifted = __builtin_shufflevector(b, zero, 2, 3, 8, 9, 6, 7, 12, 13);
      if constexpr (kEnds) {
        open &= __builtin_shufflevector(open, all, 1, 2, 3, 8, 5, 6, 7, 12);
        shifted = (f32x8)((i32x8)shifted & open);
      }
      b += second * shifted;
      shifted = __builtin_shufflevector(b, zero, 4, 4, 4, 4, 8, 8, 8, 8);
      if constexpr (kEnds) {
        open &= __builtin_shufflevector(open, all, 2, 3, 8, 9, 6, 7, 12, 13);
        shifted = (f32x8)((i32x8)shifted & open);
      }
      b += across * shifted;
      fill_with(carried, static_cast<float>(carry));
      double next = static_cast<double>(b[0]);
      if constexpr (kEnds) {
        open &= __builtin_shufflevector(open, all, 4, 4, 4, 4, 8, 8, 8, 8);
        carried = (f32x8)((i32x8)carried & open);
        // Without a branch, which would be foretold wrongly at every other end.
        uint64_t word, bits;
        __builtin_memcpy(&word, ends + i, 8);
        __builtin_memcpy(&bits, &carry, 8);
        bits &= -static_cast<uint64_t>(word == 0);
        __builtin_memcpy(&carry, &bits, 8);
      }
      recurrences::affine_step(carry, block, next);
      step.put(i, b + powers * carried, kept);
    }
    i += kLanesOfBlock;
  }
  for (--i; i >= 0; --i) {
    T b, kept;
    step.difference(b, kept, i);
    if constexpr (kEnds) {
      if (ends[i]) carry = 0;
    }
    recurrences::affine_step(carry, a.one, static_cast<double>(b));
    step.put(i, static_cast<T>(carry), kept);
  }
  state = carry;
}

// y before step 0 alone, where the steps between are not wanted and none has an end. Vectors are summed up by Horner's rule, a few of them in float32.
template <class T, class Step>
VANTAGE_INLINE void sum_constant(Step step, int64_t n, const Decay& a, double& state) {
  if constexpr (sizeof(T) == 4) if (a.holds()) {
    constexpr int kBlocks = 8;
    const double power = a.power(kBlocks * kLanesOfBlock);
    f32x8 block;
    fill_with(block, static_cast<float>(a.block));
    for (; n >= kBlocks * kLanesOfBlock;) {
      f32x8 sum = {};
#pragma GCC unroll 4
      for (int k = 0; k < kBlocks; ++k) {
        f32x8 b, kept;
        n -= kLanesOfBlock;
        step.difference(b, kept, n);
        sum = sum * block + b;
      }
      sum *= a.reached;
      const f32x4 half = __builtin_shufflevector(sum, sum, 0, 1, 2, 3) + __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
      recurrences::affine_step(state, power, static_cast<double>((half[0] + half[1]) + (half[2] + half[3])));
    }
  }
  scan_constant<T, false>(step, nullptr, n, a, state);
}

// ---- A coefficient for each step ----------------------------------------------------------------------------------------------------

// The product of eight float32, in double: in float32 its rounding, the same in every block of equal numbers, would be compounded along a row.
VANTAGE_INLINE double product_of(const f32x8& x) {
  f64x4 low, high;
  widen_halves(low, high, x);
  const f64x4 pairs = low * high;
  const f64x4 fours = pairs * __builtin_shufflevector(pairs, pairs, 2, 3, 0, 1);
  return fours[0] * fours[1];
}

// The maps of the lanes, each composed with all that are to its right (kForward: to its left).
template <bool kForward>
VANTAGE_INLINE void compose_lanes(f32x8& a, f32x8& b) {
  const f32x8 zero = {};
  f32x8 one;
  fill_with(one, 1.0f);
  if constexpr (kForward) {
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 8, 0, 1, 2, 12, 4, 5, 6), __builtin_shufflevector(b, zero, 8, 0, 1, 2, 12, 4, 5, 6));
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 8, 9, 0, 1, 12, 13, 4, 5), __builtin_shufflevector(b, zero, 8, 9, 0, 1, 12, 13, 4, 5));
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 8, 8, 8, 8, 3, 3, 3, 3), __builtin_shufflevector(b, zero, 8, 8, 8, 8, 3, 3, 3, 3));
  } else {
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 1, 2, 3, 8, 5, 6, 7, 12), __builtin_shufflevector(b, zero, 1, 2, 3, 8, 5, 6, 7, 12));
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 2, 3, 8, 9, 6, 7, 12, 13), __builtin_shufflevector(b, zero, 2, 3, 8, 9, 6, 7, 12, 13));
    recurrences::compose(a, b, __builtin_shufflevector(a, one, 4, 4, 4, 4, 8, 8, 8, 8), __builtin_shufflevector(b, zero, 4, 4, 4, 4, 8, 8, 8, 8));
  }
}

// y = b + scale·a·y_next over n steps, the last one first (kForward: the first one first). `step.map(a, b, i)` gives a and b,
// `step.put(i, y)` takes y. `product` is multiplied by all of scale·a.
template <class T, bool kForward, class Step>
VANTAGE_INLINE void scan_lanes(Step step, int64_t n, double scale, double& state, double& product_of_all) {
  double carry = state, product = product_of_all;
  int64_t done = 0;
  if constexpr (sizeof(T) == 4) {
    constexpr int kOut = kForward ? kLanesOfBlock - 1 : 0;
    const double block = Decay(scale).block;
    f32x8 scales;
    fill_with(scales, static_cast<float>(scale));
#pragma GCC unroll 2
    for (; done + kLanesOfBlock <= n; done += kLanesOfBlock) {
      const int64_t i = kForward ? done : n - kLanesOfBlock - done;
      f32x8 a, b, carried;
      step.map(a, b, i);
      const double whole = block * product_of(a);
      a *= scales;
      compose_lanes<kForward>(a, b);
      fill_with(carried, static_cast<float>(carry));
      recurrences::affine_step(carry, whole, static_cast<double>(b[kOut]));
      product *= whole;
      step.put(i, b + a * carried);
    }
  }
  for (; done < n; ++done) {
    const int64_t i = kForward ? done : n - 1 - done;
    T a, b;
    step.map(a, b, i);
    const double wide = scale * static_cast<double>(a);
    recurrences::affine_step(carry, wide, static_cast<double>(b));
    product *= wide;
    step.put(i, static_cast<T>(carry));
  }
  state = carry;
  product_of_all = product;
}

}  // namespace vantage::cpu::VANTAGE_ISA
