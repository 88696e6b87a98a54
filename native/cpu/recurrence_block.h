// The recurrences of recurrences.h inside one row. The bulk of it goes by blocks of runs (recurrence_runs.h), what is left by eight steps: they are a vector, whose
// affine maps are composed in three rounds of shuffles, and y_i = local_i + (product of a_i …)·carry. Only the carry goes from block to block, and in double,
// so that long rows lose nothing. Steps at which something leaves float32, and rows of float64, are stepped through one by one: what comes of an overflow, an
// infinity or a NaN is what the recurrence itself says, whatever the blocks are.
#pragma once
#include "recurrence_runs.h"

namespace vantage::cpu::VANTAGE_ISA {

// ---- A constant a -----------------------------------------------------------------------------------------------------------------

// The powers of a that a block needs.
struct Decay {
  double one, block;    // a, a⁸
  float first, second;  // a, a²
  f32x8 across;         // lanes 0-3: a⁴ … a, the way to lane 4
  f32x8 carried;        // a⁸ … a, the way to the next block
  f32x8 reached;        // 1 … a⁷, the way to lane 0
  RunPowers<Widest> runs;

  explicit Decay(double a) : one(a), first(static_cast<float>(a)), second(static_cast<float>(a * a)), across{}, runs(a) {
    const double a4 = (a * a) * (a * a), a8 = a4 * a4;
    const f64x4 near = {a4, a * a * a, a * a, a}, descending = near * a4;
    narrow_halves(carried, descending, near);
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

// Step n-1 to step 0 of y = b + a·y_next. `step.difference(b, kept, i)` gives b of one step or of a vector of them, `step.put(i, y, kept)` takes y. What is no
// whole block comes first: the others then begin where vectors do in memory, if step 0 does.
template <class T, class Step>
VANTAGE_INLINE void scan_constant(Step step, int64_t n, const Decay& a, double& state) {
  double carry = state;  // in a register, like the step: a vector may be stored over anything, as far as the compiler knows
  const int64_t eights = sizeof(T) == 4 && a.holds() ? n / kLanesOfBlock * kLanesOfBlock : 0;
  const int64_t runs = eights && a.runs.holds(a.one) ? n / kStepsOfRuns<Widest> * kStepsOfRuns<Widest> : 0;
  const auto one_by_one = [&](int64_t from, int64_t to) __attribute__((always_inline)) {
    for (int64_t i = from - 1; i >= to; --i) {
      T b, kept;
      step.difference(b, kept, i);
      recurrences::affine_step(carry, a.one, static_cast<double>(b));
      step.put(i, static_cast<T>(carry), kept);
    }
  };
  one_by_one(n, eights);
  if constexpr (sizeof(T) == 4) {
    const f32x8 zero = {}, across = a.across, powers = a.carried;
    f32x8 first, second;
    fill_with(first, a.first);
    fill_with(second, a.second);
    const double block = a.block;
    for (int64_t i = eights - kLanesOfBlock; i >= runs; i -= kLanesOfBlock) {
      Step next = step;
      f32x8 b, kept, carried;
      next.difference(b, kept, i);
      b += first * __builtin_shufflevector(b, zero, 1, 2, 3, 8, 5, 6, 7, 12);
      b += second * __builtin_shufflevector(b, zero, 2, 3, 8, 9, 6, 7, 12, 13);
      b += across * __builtin_shufflevector(b, zero, 4, 4, 4, 4, 8, 8, 8, 8);
      fill_with(carried, static_cast<float>(carry));
      const f32x8 y = b + powers * carried;
      if (!finite(y)) {
        one_by_one(i + kLanesOfBlock, i);
        continue;
      }
      recurrences::affine_step(carry, block, static_cast<double>(first_of(b)));
      next.put(i, y, kept);
      step = next;
    }
    for (int64_t left = runs; (left = scan_constant_runs(step, left, a.runs, carry)) > 0; left -= kStepsOfRuns<Widest>) one_by_one(left, left - kStepsOfRuns<Widest>);
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
  scan_constant<T>(step, n, a, state);
}

// ---- A coefficient for each step ----------------------------------------------------------------------------------------------------

VANTAGE_INLINE double product_of(const f32x8& x) {
  f64x4 low, high;
  widen_halves(low, high, x);
  return product_of(low * high);
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

// The vectors of scan_lanes from step `done` to `stop`, or to one in which something leaves float32. Returns how many steps are done then.
template <bool kForward, class Step>
VANTAGE_INLINE int64_t scan_eights(Step& step, int64_t done, int64_t stop, int64_t n, double scale, double& state, double& product) {
  const double scale2 = scale * scale, scale4 = scale2 * scale2, block = scale4 * scale4;
  f32x8 scales;
  fill_with(scales, static_cast<float>(scale));
  for (; done < stop; done += kLanesOfBlock) {
    const int64_t i = kForward ? done : n - kLanesOfBlock - done;
    Step next = step;
    f32x8 a, b, carried;
    next.map(a, b, i);
    const double whole = block * product_of(a);
    a *= scales;
    compose_lanes<kForward>(a, b);
    fill_with(carried, static_cast<float>(state));
    const f32x8 y = b + a * carried;
    if (!finite(y)) break;
    recurrences::affine_step(state, whole, static_cast<double>(kForward ? last_of(b) : first_of(b)));
    product *= whole;
    next.put(i, y);
    step = next;
  }
  return done;
}

// y = b + scale·a·y_next over n steps, the last one first (kForward: the first one first). `step.map(a, b, i)` gives a and b,
// `step.put(i, y)` takes y. `product` is multiplied by all of scale·a. Where Step::kCuts, nothing comes in to a step whose a is 0, not even a NaN.
template <class T, bool kForward, class Step>
VANTAGE_INLINE void scan_lanes(Step step, int64_t n, double scale, double& state, double& product_of_all) {
  int64_t done = 0;
  double carry = state, product = product_of_all;
  const auto one_by_one = [&](int64_t stop) __attribute__((always_inline)) {
    for (; done < stop; ++done) {
      const int64_t i = kForward ? done : n - 1 - done;
      T a, b;
      step.map(a, b, i);
      const double wide = scale * static_cast<double>(a);
      if (Step::kCuts && a == 0) carry = 0;
      recurrences::affine_step(carry, wide, static_cast<double>(b));
      product *= wide;
      step.put(i, static_cast<T>(carry));
    }
  };
  if constexpr (sizeof(T) == 4) {
    const auto runs = [&](int64_t stop) __attribute__((always_inline)) {
      while ((done = scan_runs<Widest, kForward>(step, done, stop, n, scale, carry, product)) < stop) one_by_one(done + kStepsOfRuns<Widest>);
    };
    const auto eights = [&](int64_t stop) __attribute__((always_inline)) {
      while ((done = scan_eights<kForward>(step, done, stop, n, scale, carry, product)) < stop) one_by_one(done + kLanesOfBlock);
    };
    // As in scan_constant.
    const int64_t rest = n % kStepsOfRuns<Widest>, ones = n % kLanesOfBlock;
    if constexpr (kForward) {
      runs(n - rest);
      eights(n - ones);
    } else {
      one_by_one(ones);
      eights(rest);
      runs(n);
    }
  }
  one_by_one(n);
  state = carry;
  product_of_all = product;
}

}  // namespace vantage::cpu::VANTAGE_ISA
