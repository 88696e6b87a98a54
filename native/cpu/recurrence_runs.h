// Recurrences inside a row, the bulk of it: a block of 64 steps (32 where vectors hold eight) as sixteen runs of four steps, one a lane. Four vectors of steps
// are turned in registers; the steps of the runs follow one another in three multiply-adds, the runs are composed in four rounds of shuffles, and what comes
// in to each is added to its steps: a third of the shuffles that composing each vector by itself would take.
#pragma once
#include <utility>

#include "recurrence_vectors.h"

namespace vantage::cpu::VANTAGE_ISA {

// ---- Lanes --------------------------------------------------------------------------------------------------------------------------

constexpr int kStepsOfRun = 4;
template <class V>
constexpr int kRuns = sizeof(V) / sizeof(float);  // one a lane
template <class V>
constexpr int kStepsOfRuns = kRuns<V> * kStepsOfRun;

// Each quarter of 128 bits is turned by itself, so that lane l holds the steps of run run_of(l), in time.
template <class V>
constexpr int run_of(int lane) { return lane % 4 * (kRuns<V> / 4) + lane / 4; }
template <class V>
constexpr int lane_of(int run) { return run % (kRuns<V> / 4) * 4 + run / (kRuns<V> / 4); }

// For shuffles of two vectors: from where lane `lane` comes.
template <class V>
constexpr int low_of_pairs(int lane) { return lane / 4 * 4 + lane % 4 / 2 + lane % 2 * kRuns<V>; }
template <class V>
constexpr int high_of_pairs(int lane) { return low_of_pairs<V>(lane) + 2; }
template <class V>
constexpr int low_of_halves(int lane) { return lane / 4 * 4 + lane % 2 + (lane % 4 / 2) * kRuns<V>; }
template <class V>
constexpr int high_of_halves(int lane) { return low_of_halves<V>(lane) + 2; }
// The run so many before (kForward) or behind it, and the second vector where there is none.
template <class V, bool kForward, int kDistance>
constexpr int run_beside(int lane) {
  const int run = run_of<V>(lane) + (kForward ? -kDistance : kDistance);
  return run >= 0 && run < kRuns<V> ? lane_of<V>(run) : kRuns<V> + lane;
}

template <class V, int (*source)(int), int... kLane>
VANTAGE_INLINE void shuffle_lanes(V& to, const V& x, const V& y, std::integer_sequence<int, kLane...>) {
  to = __builtin_shufflevector(x, y, source(kLane)...);
}
template <int (*source)(int), class V>
VANTAGE_INLINE void shuffle(V& to, const V& x, const V& y) {
  shuffle_lanes<V, source>(to, x, y, std::make_integer_sequence<int, kRuns<V>>());
}

// Its own inverse.
template <class V>
VANTAGE_INLINE void turn(V (&x)[4]) {
  V pairs[4];
  shuffle<low_of_pairs<V>>(pairs[0], x[0], x[1]);
  shuffle<high_of_pairs<V>>(pairs[1], x[0], x[1]);
  shuffle<low_of_pairs<V>>(pairs[2], x[2], x[3]);
  shuffle<high_of_pairs<V>>(pairs[3], x[2], x[3]);
  shuffle<low_of_halves<V>>(x[0], pairs[0], pairs[2]);
  shuffle<high_of_halves<V>>(x[1], pairs[0], pairs[2]);
  shuffle<low_of_halves<V>>(x[2], pairs[1], pairs[3]);
  shuffle<high_of_halves<V>>(x[3], pairs[1], pairs[3]);
}

template <bool kForward, int kDistance, class V>
VANTAGE_INLINE void beside(V& to, const V& runs, const V& outside) {
  shuffle<run_beside<V, kForward, kDistance>>(to, runs, outside);
}

// The lane of the run that the carry leaves by.
template <class V, bool kForward>
constexpr int kLastLane = kForward ? kRuns<V> - 1 : 0;

// ---- A constant a -------------------------------------------------------------------------------------------------------------------

// The powers of a that runs need.
template <class V>
struct RunPowers {
  float steps[3];        // over one step, two and three
  float rounds[4] = {};  // over one run, two, four and eight
  double block;          // over all steps of a block
  V carried;             // from the beginning of each run to the next block

  explicit RunPowers(double a) : steps{static_cast<float>(a), static_cast<float>(a * a), static_cast<float>(a * a * a)}, block((a * a) * (a * a)) {
    const double run = block;
    for (int i = 0; 1 << i < kRuns<V>; ++i, block *= block) rounds[i] = static_cast<float>(block);
    double power = run;
    for (int i = kRuns<V> - 1; i >= 0; --i, power *= run) carried[lane_of<V>(i)] = static_cast<float>(power);
  }
  // Whether the powers are float32.
  static bool holds(double a) { return __builtin_fabs(a) <= 3.9; }
};

// Whether none is infinite or NaN.
VANTAGE_INLINE bool finite(const f32x8& x) { return all(x - x == 0); }
#if VANTAGE_WIDE
VANTAGE_INLINE bool finite(const f32x16& x) { return _mm512_cmp_ps_mask((__m512)(x - x), _mm512_setzero_ps(), _CMP_EQ_OQ) == 0xffff; }
#endif

// The blocks of scan_constant below step n, down to one in which something leaves float32, of which a state at the end of its runs tells. Returns how many steps
// are left.
template <class V, class Step>
VANTAGE_INLINE int64_t scan_constant_runs(Step& step, int64_t n, const RunPowers<V>& a, double& state) {
  constexpr int kLanes = kRuns<V>;
  const V zero = {}, to_next_block = a.carried;
  V steps[3], rounds[4];
#pragma GCC unroll 4
  for (int i = 0; i < 3; ++i) fill_with(steps[i], a.steps[i]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) fill_with(rounds[i], a.rounds[i]);
  const double block = a.block;
  double carry = state;
  for (n -= kStepsOfRuns<V>; n >= 0; n -= kStepsOfRuns<V>) {
    Step next = step;
    V b[4], kept[4], carried, other;
#pragma GCC unroll 4
    for (int i = 3; i >= 0; --i) next.difference(b[i], kept[i], n + i * kLanes);
    turn(b);
    b[2] += steps[0] * b[3];
    b[1] += steps[0] * b[2];
    b[0] += steps[0] * b[1];
    V runs = b[0];
    beside<false, 1>(other, runs, zero);
    runs += rounds[0] * other;
    beside<false, 2>(other, runs, zero);
    runs += rounds[1] * other;
    beside<false, 4>(other, runs, zero);
    runs += rounds[2] * other;
    if constexpr (kLanes == 16) {
      beside<false, 8>(other, runs, zero);
      runs += rounds[3] * other;
    }
    fill_with(carried, static_cast<float>(carry));
    const double last = static_cast<double>(runs[kLastLane<V, false>]);
    runs += to_next_block * carried;
    if (!finite(runs)) break;
    recurrences::affine_step(carry, block, last);
    beside<false, 1>(other, runs, carried);
    b[0] = runs;
    b[1] += steps[2] * other;
    b[2] += steps[1] * other;
    b[3] += steps[0] * other;
    turn(b);
#pragma GCC unroll 4
    for (int i = 3; i >= 0; --i) next.put(n + i * kLanes, b[i], kept[i]);
    step = next;
  }
  state = carry;
  return n + kStepsOfRuns<V>;
}

// ---- A coefficient for each step ----------------------------------------------------------------------------------------------------

// The product of all lanes, in double: in float32 its rounding, the same in every block of equal numbers, would be compounded along a row.
VANTAGE_INLINE double product_of(const f64x4& x) {
  const f64x4 pairs = x * __builtin_shufflevector(x, x, 2, 3, 0, 1);
  return pairs[0] * pairs[1];
}
VANTAGE_INLINE double product_of(const f32x8 (&x)[4]) {
  f64x4 product[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    f64x4 low, high;
    widen_halves(low, high, x[i]);
    product[i] = low * high;
  }
  return product_of((product[0] * product[1]) * (product[2] * product[3]));
}
#if VANTAGE_WIDE
VANTAGE_INLINE double product_of(const f32x16 (&x)[4]) {
  WideDoubles product[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    WideDoubles low, high;
    widen(low, __builtin_shufflevector(x[i], x[i], 0, 1, 2, 3, 4, 5, 6, 7));
    widen(high, __builtin_shufflevector(x[i], x[i], 8, 9, 10, 11, 12, 13, 14, 15));
    product[i] = low * high;
  }
  const WideDoubles all = (product[0] * product[1]) * (product[2] * product[3]);
  return product_of(__builtin_shufflevector(all, all, 0, 1, 2, 3) * __builtin_shufflevector(all, all, 4, 5, 6, 7));
}
#endif

template <bool kForward, int kDistance, class V>
VANTAGE_INLINE void compose_runs(V& a, V& b, const V& one, const V& zero) {
  V later_a, later_b;
  beside<kForward, kDistance>(later_a, a, one);
  beside<kForward, kDistance>(later_b, b, zero);
  recurrences::compose(a, b, later_a, later_b);
}

// The blocks of scan_lanes from step `done` to `stop`, or to one in which something leaves float32. Returns how many steps are done then.
template <class V, bool kForward, class Step>
VANTAGE_INLINE int64_t scan_runs(Step& step, int64_t done, int64_t stop, int64_t n, double scale, double& state, double& product_of_all) {
  constexpr int kLanes = kRuns<V>, kFirst = kForward ? 0 : 3, kOne = kForward ? 1 : -1, kLast = 3 - kFirst;
  const V zero = {};
  V one, scales;
  fill_with(one, 1.0f);
  fill_with(scales, static_cast<float>(scale));
  double block = scale;
  for (int power = 1; power < kStepsOfRuns<V>; power *= 2) block *= block;
  double carry = state, product = product_of_all;
  for (; done < stop; done += kStepsOfRuns<V>) {
    const int64_t from = kForward ? done : n - kStepsOfRuns<V> - done;
    Step next = step;
    V a[4], b[4], carried, other;
#pragma GCC unroll 4
    for (int i = kFirst; i != kLast + kOne; i += kOne) next.map(a[i], b[i], from + i * kLanes);
    const double whole = block * product_of(a);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) a[i] *= scales;
    turn(a);
    turn(b);
#pragma GCC unroll 4
    for (int i = kFirst; i != kLast; i += kOne) recurrences::compose(a[i + kOne], b[i + kOne], a[i], b[i]);
    V runs_a = a[kLast], runs = b[kLast];
    compose_runs<kForward, 1>(runs_a, runs, one, zero);
    compose_runs<kForward, 2>(runs_a, runs, one, zero);
    compose_runs<kForward, 4>(runs_a, runs, one, zero);
    if constexpr (kLanes == 16) compose_runs<kForward, 8>(runs_a, runs, one, zero);
    fill_with(carried, static_cast<float>(carry));
    b[kLast] = runs + runs_a * carried;
    if (!finite(b[kLast])) break;
    beside<kForward, 1>(other, b[kLast], carried);
#pragma GCC unroll 4
    for (int i = kFirst; i != kLast; i += kOne) b[i] += a[i] * other;
    recurrences::affine_step(carry, whole, static_cast<double>(runs[kLastLane<V, kForward>]));
    product *= whole;
    turn(b);
#pragma GCC unroll 4
    for (int i = kFirst; i != kLast + kOne; i += kOne) next.put(from + i * kLanes, b[i]);
    step = next;
  }
  state = carry;
  product_of_all = product;
  return done;
}

}  // namespace vantage::cpu::VANTAGE_ISA
