// Scans inside one row: blocks of steps as affine maps (recurrence_block.h).
#include "finite.h"
#include "recurrence_block.h"
#include "scan_functions.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// The steps [begin, begin + n) in the scan's direction, one after the other in double.
template <class T>
void scan_steps(const ScanCall& call, int64_t begin, int64_t n, double* product) {
  const T *a = static_cast<const T*>(call.a), *b = static_cast<const T*>(call.b);
  double state = call.state[0], total = 1;
  for (int64_t t = begin; t < begin + n; ++t) {
    const int64_t i = call.reverse ? call.n - 1 - t : t;
    const bool valid = !call.mask || call.mask[i] != 0;
    const double before = state;
    if (valid) {
      const double factor = static_cast<double>(a[call.a_uniform ? 0 : i]);
      state = static_cast<double>(b[i]) + (factor == 0 ? 0 : factor * state);
      total = factor == 0 ? 0 : total * factor;
    }
    const double out = call.previous ? before : state;
    if constexpr (__is_same(T, int32_t)) static_cast<T*>(call.out)[i] = math::to_int32(out);
    else static_cast<T*>(call.out)[i] = static_cast<T>(out);
  }
  call.state[0] = state;
  if (product) *product = total == 0 ? 0 : *product * total;
}

// For scan_lanes and scan_constant. States are looked at: they overflow in float32 where the double that is carried does not.
template <bool kForward, class Form>
struct RowSteps {
  static constexpr bool kCuts = true;
  const float *a, *b;
  const int32_t* mask;
  float* out;
  float factor;  // of all steps, where it is uniform. By value: what depends on it alone is computed once.
  float before;  // the state in front of the next step
  Finite* finite;

  template <class V>
  VANTAGE_METHOD void map(V& multiplier, V& term, int64_t i) {
    if constexpr (Form::uniform) fill_with(multiplier, factor);
    else load_at(multiplier, a + i);
    fetch<kForward>(term, b + i);
    if constexpr (Form::masked) keep(multiplier, term, i);
  }
  template <class V>
  VANTAGE_METHOD void difference(V& term, V&, int64_t i) { fetch<kForward>(term, b + i); }
  template <class V>
  VANTAGE_METHOD void put(int64_t i, const V& y, const V&) { put(i, y); }

  VANTAGE_METHOD void keep(f32x8& multiplier, f32x8& term, int64_t i) {
    i32x8 valid;
    load_vector(valid, mask + i);
    multiplier = valid != 0 ? multiplier : f32x8{} + 1.0f;
    term = valid != 0 ? term : f32x8{};
  }
#if VANTAGE_WIDE
  VANTAGE_METHOD void keep(f32x16& multiplier, f32x16& term, int64_t i) {
    i32x16 valid;
    load_vector(valid, mask + i);
    multiplier = valid != 0 ? multiplier : f32x16{} + 1.0f;
    term = valid != 0 ? term : f32x16{};
  }
#endif
  VANTAGE_METHOD void keep(float& multiplier, float& term, int64_t i) {
    multiplier = mask[i] != 0 ? multiplier : 1.0f;
    term = mask[i] != 0 ? term : 0.0f;
  }
  template <class V>
  VANTAGE_METHOD void put(int64_t i, const V& y) {
    finite->look(y);
    if constexpr (Form::previous) {
      V shifted;
      if constexpr (kForward) shift_back(shifted, y, before);
      else shift_in(shifted, y, before);
      store_at(out + i, shifted);
      before = kForward ? last_of(y) : first_of(y);
    } else {
      store_at(out + i, y);
    }
  }
  VANTAGE_METHOD void put(int64_t i, const float& y) {
    finite->look(y);
    out[i] = Form::previous ? before : y;
    before = y;
  }
};

// Whether all of 32 elements are 0, or all are not.
VANTAGE_INLINE bool alike(const int32_t* mask, bool held) {
  const i32x8 expected = held ? ~i32x8{} : i32x8{};
  i32x8 same = ~i32x8{};
  for (int k = 0; k < 32; k += 8) {
    i32x8 v;
    load_vector(v, mask + k);
    same &= (v != 0) == expected;
  }
  return all(same);
}
VANTAGE_INLINE bool alike(const uint8_t* mask, bool held) {
  typedef int8_t i8x16 __attribute__((vector_size(16)));
  i8x16 a, b;
  load_vector(a, mask), load_vector(b, mask + 16);
  // The bits of those that are 0.
  const u64x2 none = held ? (u64x2)((a == 0) | (b == 0)) : (u64x2)(a | b);
  return (none[0] | none[1]) == 0;
}

template <bool kForward, class M>
Stretch stretch_of(const M* mask, int64_t n) {
  const auto at = [&](int64_t i) { return mask[kForward ? i : n - 1 - i] != 0; };
  const bool first = at(0);
  int64_t i = 0;
  while (i + 32 <= n && alike(mask + (kForward ? i : n - 32 - i), first)) i += 32;
  while (i < n && at(i) == first) ++i;
  if (i < kShortStretch && i < n) return {Valid::some, n < kMixed ? n : kMixed};
  return {first ? Valid::all : Valid::none, i};
}

// Factors of 0: each state is its term.
template <bool kForward, bool previous>
void take_terms(float* out, const float* b, int64_t n, double& state, Finite& finite) {
  const float before = static_cast<float>(state);
  state = static_cast<double>(b[kForward ? n - 1 : 0]);
  const int64_t from = previous && !kForward, to = previous && kForward, count = n - previous;
  const auto take = [&](auto&& term, int64_t i) {
    fetch<kForward>(term, b + from + i);
    finite.look(term);
    store_at(out + to + i, term);
  };
  // The way the scan goes, as its inputs are asked for ahead. An end that is no whole vector is taken with elements beside it, and the others begin where vectors do.
  const int64_t whole = count / kLanesOfWidest * kLanesOfWidest;
  const auto take_end = [&] {
    if (whole < count && whole > 0) take(Widest{}, count - kLanesOfWidest);
    else
      for (int64_t i = whole; i < count; ++i) take(float{}, i);
  };
  if constexpr (!kForward) take_end();
  for (int64_t done = 0; done < whole; done += kLanesOfWidest) take(Widest{}, kForward ? done : whole - kLanesOfWidest - done);
  if constexpr (kForward) take_end();
  if (previous) out[kForward ? 0 : n - 1] = before;
}

// In stretches where there is a mask. One in which float32 overflows is taken in double, where 0 times a product that is infinite would be NaN.
template <bool kForward, bool uniform, bool previous>
void scan_row_of(const ScanCall& call, double* product) {
  const float factor = uniform ? *static_cast<const float*>(call.a) : 0.0f;
  if (uniform && !kForward && factor != 0 && call.decay->one != static_cast<double>(factor)) *call.decay = Decay(static_cast<double>(factor));
  const Stretch whole_row = {Valid::all, call.n};
  int64_t n;
  for (int64_t done = 0, s = 0; done < call.n; done += n, ++s) {
    const int64_t left = call.n - done;
    const Stretch stretch = call.mask ? call.stretches[s] : whole_row;
    n = stretch.length;
    const int64_t from = kForward ? done : left - n;
    const float *a = static_cast<const float*>(call.a) + (uniform ? 0 : from), *b = static_cast<const float*>(call.b) + from;
    float* const out = static_cast<float*>(call.out) + from;
    const int32_t* const mask = call.mask ? call.mask + from : nullptr;
    double state = call.state[0], whole = 1;
    const float before = static_cast<float>(state);
    if (stretch.valid == Valid::none) {
      for (int64_t i = 0; i < n; ++i) out[i] = before;
      continue;
    }
    Finite finite;
    const RowSteps<kForward, Form<false, uniform, previous>> steps{a, b, nullptr, out, factor, before, &finite};
    if (stretch.valid == Valid::some) {
      scan_lanes<float, kForward>(RowSteps<kForward, Form<true, uniform, previous>>{a, b, mask, out, factor, before, &finite}, n, 1, state, whole);
    } else if (uniform && factor == 0) {
      take_terms<kForward, previous>(out, b, n, state, finite);
      whole = 0;
    } else if constexpr (uniform && !kForward) {
      scan_constant<float>(steps, n, *call.decay, state);
      if (product) whole = call.decay->power(n);
    } else {
      scan_lanes<float, kForward>(steps, n, 1, state, whole);
    }
    const float after = static_cast<float>(state);
    if (after - after == 0 && finite.all_were()) {
      call.state[0] = state;
      if (product) *product = whole == 0 ? 0 : *product * whole;
    } else {
      scan_steps<float>(call, done, n, product);
    }
  }
}

}  // namespace

template <class M>
void find_stretches(Stretch* to, const M* mask, int64_t n, bool reverse) {
  for (int64_t done = 0; done < n; done += to++->length) {
    *to = reverse ? stretch_of<false>(mask, n - done) : stretch_of<true>(mask + done, n - done);
  }
}

template void find_stretches(Stretch*, const int32_t*, int64_t, bool);
template void find_stretches(Stretch*, const uint8_t*, int64_t, bool);

template <class T>
void scan_row(const ScanCall& call, double* product) {
  if constexpr (__is_same(T, float)) {
    static constexpr void (*table[])(const ScanCall&, double*) = {scan_row_of<true, false, false>,  scan_row_of<true, false, true>,
                                                                  scan_row_of<true, true, false>,   scan_row_of<true, true, true>,
                                                                  scan_row_of<false, false, false>, scan_row_of<false, false, true>,
                                                                  scan_row_of<false, true, false>,  scan_row_of<false, true, true>};
    table[(call.reverse ? 4 : 0) + (call.a_uniform ? 2 : 0) + (call.previous ? 1 : 0)](call, product);
  } else {
    scan_steps<T>(call, 0, call.n, product);
  }
}

template void scan_row<float>(const ScanCall&, double*);
template void scan_row<double>(const ScanCall&, double*);
template void scan_row<int32_t>(const ScanCall&, double*);

}  // namespace vantage::cpu::VANTAGE_ISA
