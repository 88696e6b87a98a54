#include "scan_functions.h"

#include "../core/math.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Rows that one pass over the time takes along: enough independent chains to hide the latency of a multiply-add.
constexpr int kChains = 4;  // vectors of four doubles

template <class T>
struct Four {
  typedef T type __attribute__((vector_size(4 * sizeof(T))));
};

VANTAGE_INLINE void widen(f64x4& to, const f32x4& from) { widen_floats(to, from); }
VANTAGE_INLINE void widen(f64x4& to, const f64x4& from) { to = from; }
VANTAGE_INLINE void widen(f64x4& to, const i32x4& from) { to = __builtin_convertvector(from, f64x4); }
VANTAGE_INLINE void narrow(f32x4& to, const f64x4& from) { narrow_doubles(to, from); }
VANTAGE_INLINE void narrow(f64x4& to, const f64x4& from) { to = from; }
VANTAGE_INLINE void narrow(i32x4& to, const f64x4& from) {
  for (int i = 0; i < 4; ++i) to[i] = math::to_int32(from[i]);
}

// The times [begin, begin + times) in the scan's direction of some rows, every step in double.
template <class T, int chains, class Form>
VANTAGE_INLINE void scan_rows(const ScanCall& call, int64_t first, int64_t begin, int64_t times) {
  using V = typename Four<T>::type;
  T* out = static_cast<T*>(call.out) + first;
  const T *a = static_cast<const T*>(call.a), *b = static_cast<const T*>(call.b) + first;
  const V one = V{} + T(1), factor = V{} + (Form::uniform ? a[0] : T(1));
  f64x4 s[chains];
#pragma GCC unroll 4
  for (int k = 0; k < chains; ++k) load_vector(s[k], call.state + first + 4 * k);
  for (int64_t t = begin; t < begin + times; ++t) {
    const int64_t i = (call.reverse ? call.n - 1 - t : t) * call.width;
#pragma GCC unroll 4
    for (int k = 0; k < chains; ++k) {
      V x = factor, y;
      if constexpr (!Form::uniform) load_vector(x, a + first + i + 4 * k);
      load_vector(y, b + i + 4 * k);
      if constexpr (Form::masked) {
        i32x4 valid;
        load_vector(valid, call.mask + first + i + 4 * k);
        x = valid != 0 ? x : one;
        y = valid != 0 ? y : V{};
      }
      f64x4 wide_x, next;
      widen(wide_x, x);
      widen(next, y);
      const f64x4 kept = wide_x * s[k];
      next += wide_x != 0 ? kept : f64x4{};
      V result;
      narrow(result, Form::previous ? s[k] : next);
      store_vector(out + i + 4 * k, result);
      s[k] = next;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < chains; ++k) store_vector(call.state + first + 4 * k, s[k]);
}

template <class T, class Form>
void scan_in_double(const ScanCall& call) {
  int64_t r = 0;
  for (; r + 4 * kChains <= call.width; r += 4 * kChains) scan_rows<T, kChains, Form>(call, r, 0, call.n);
  for (; r < call.width; r += 8) scan_rows<T, 2, Form>(call, r, 0, call.n);
}

// ---- float32 -------------------------------------------------------------------------------------------------------------------
//
// The state is carried in double from run to run of kRun steps. Within a run it stands as s_0, rounded to float32, times the product of
// the factors, and a part y that starts as what the rounding left: s_t = y_t + p_t·s_0. What the products lose by rounding is kept in
// a second float (where factors are close to 1 their error would grow from run to run). That takes a multiply-add with one rounding.
#if defined(__FMA__)

constexpr int64_t kRun = 16;
// Runs that begin with a larger state, or leave the range of float32, are taken in double.
constexpr double kLargeState = 1e15;

VANTAGE_INLINE void lower(f32x4& to, const f32x8& from) { to = __builtin_shufflevector(from, from, 0, 1, 2, 3); }
VANTAGE_INLINE void upper(f32x4& to, const f32x8& from) { to = __builtin_shufflevector(from, from, 4, 5, 6, 7); }

// The state of eight rows as floats, and what they leave.
VANTAGE_INLINE void begin_run(f32x8& rounded, f32x8& rest, const double* state) {
  f32x4 part[2], left[2];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    f64x4 s, wide;
    load_vector(s, state + 4 * half);
    narrow_doubles(part[half], s);
    widen_floats(wide, part[half]);
    narrow_doubles(left[half], s - wide);
  }
  rounded = __builtin_shufflevector(part[0], part[1], 0, 1, 2, 3, 4, 5, 6, 7);
  rest = __builtin_shufflevector(left[0], left[1], 0, 1, 2, 3, 4, 5, 6, 7);
}

// state = y + (p + lost)·rounded, four rows
VANTAGE_INLINE void end_run(double* state, const f32x4& y, const f32x4& p, const f32x4& lost, const f32x4& rounded) {
  f64x4 wide_y, wide_p, wide_lost, wide_state;
  widen_floats(wide_y, y);
  widen_floats(wide_p, p);
  widen_floats(wide_lost, lost);
  widen_floats(wide_state, rounded);
  store_vector(state, wide_y + (wide_p + wide_lost) * wide_state);
}

// A run once more, of those rows alone that are not usual: the bits of the others do not depend on what stands beside them. `entered`: the states in front of it.
template <int chains, class Form>
__attribute__((noinline)) void take_in_double(const ScanCall& call, int64_t first, int64_t begin, const i32x8* usual, const double* entered) {
  constexpr int kRows = 8 * chains;
  float kept[kRun][kRows];
  double left[kRows];
  double* const state = call.state + first;
  const auto out_at = [&](int64_t t) { return static_cast<float*>(call.out) + first + (call.reverse ? call.n - 1 - begin - t : begin + t) * call.width; };
  for (int64_t t = 0; t < kRun; ++t) __builtin_memcpy(kept[t], out_at(t), sizeof kept[t]);
  __builtin_memcpy(left, state, sizeof left);
  __builtin_memcpy(state, entered, sizeof left);
  scan_rows<float, 2 * chains, Form>(call, first, begin, kRun);
  for (int row = 0; row < kRows; ++row) {
    if (usual[row / 8][row % 8] == 0) continue;
    state[row] = left[row];
    for (int64_t t = 0; t < kRun; ++t) out_at(t)[row] = kept[t][row];
  }
}

template <int chains, class Form>
VANTAGE_INLINE void scan_floats(const ScanCall& call, int64_t first) {
  const f32x8 one = f32x8{} + 1.0f, factor = f32x8{} + (Form::uniform ? *static_cast<const float*>(call.a) : 1.0f);
  const float* a = static_cast<const float*>(call.a) + (Form::uniform ? 0 : first);
  const float* b = static_cast<const float*>(call.b) + first;
  float* out = static_cast<float*>(call.out) + first;
  const int64_t step = call.reverse ? -call.width : call.width;
  int64_t begin = 0;
  for (; begin + kRun <= call.n; begin += kRun) {
    f32x8 y[chains], p[chains], lost[chains], before[chains];
    i32x8 usual[chains];
#pragma GCC unroll 2
    for (int k = 0; k < chains; ++k) {
      begin_run(before[k], y[k], call.state + first + 8 * k);
      usual[k] = (before[k] < static_cast<float>(kLargeState)) & (before[k] > static_cast<float>(-kLargeState));
      lost[k] = f32x8{};
      p[k] = one;
    }
    int64_t i = (call.reverse ? call.n - 1 - begin : begin) * call.width;
    for (int64_t t = 0; t < kRun; ++t, i += step) {
#pragma GCC unroll 2
      for (int k = 0; k < chains; ++k) {
        f32x8 x = factor, term;
        if constexpr (!Form::uniform) load_vector(x, a + i + 8 * k);
        load_vector(term, b + i + 8 * k);
        if constexpr (Form::masked) {
          i32x8 valid;
          load_vector(valid, call.mask + first + i + 8 * k);
          x = valid != 0 ? x : one;
          term = valid != 0 ? term : f32x8{};
        }
        f32x8 state, error;
        if constexpr (Form::previous) multiply_add(state, p[k], before[k], y[k]);
        multiply_add(y[k], x, y[k], term);
        const f32x8 product = p[k] * x;
        multiply_add(error, p[k], x, -product);
        multiply_add(lost[k], lost[k], x, error);
        p[k] = product;
        if constexpr (!Form::previous) multiply_add(state, p[k], before[k], y[k]);
        store_vector(out + i + 8 * k, state);
      }
    }
#pragma GCC unroll 2
    for (int k = 0; k < chains; ++k) usual[k] &= (y[k] - y[k] == 0.0f) & (p[k] - p[k] == 0.0f);
    bool all_usual = true;
#pragma GCC unroll 2
    for (int k = 0; k < chains; ++k) all_usual = all_usual && all(usual[k]);
    double entered[8 * chains];
    if (!all_usual) __builtin_memcpy(entered, call.state + first, sizeof entered);
#pragma GCC unroll 2
    for (int k = 0; k < chains; ++k) {
      double* state = call.state + first + 8 * k;
      f32x4 y_half, p_half, lost_half, state_half;
      lower(y_half, y[k]);
      lower(p_half, p[k]);
      lower(lost_half, lost[k]);
      lower(state_half, before[k]);
      end_run(state, y_half, p_half, lost_half, state_half);
      upper(y_half, y[k]);
      upper(p_half, p[k]);
      upper(lost_half, lost[k]);
      upper(state_half, before[k]);
      end_run(state + 4, y_half, p_half, lost_half, state_half);
    }
    if (!all_usual) take_in_double<chains, Form>(call, first, begin, usual, entered);
  }
  scan_rows<float, 2 * chains, Form>(call, first, begin, call.n - begin);
}

template <class Form>
void scan_of(const ScanCall& call) {
  int64_t r = 0;
  for (; r + 16 <= call.width; r += 16) scan_floats<2, Form>(call, r);
  for (; r < call.width; r += 8) scan_floats<1, Form>(call, r);
}

#else

template <class Form>
void scan_of(const ScanCall& call) {
  scan_in_double<float, Form>(call);
}

#endif

template <class T>
void scan(const ScanCall& call) {
  // Masks and uniform factors are for float32 alone (see code.cpp).
  if constexpr (__is_same(T, float)) {
    static constexpr void (*table[])(const ScanCall&) = {
        scan_of<Form<false, false, false>>, scan_of<Form<false, false, true>>, scan_of<Form<false, true, false>>, scan_of<Form<false, true, true>>,
        scan_of<Form<true, false, false>>,  scan_of<Form<true, false, true>>,  scan_of<Form<true, true, false>>,  scan_of<Form<true, true, true>>};
    table[(call.mask ? 4 : 0) + (call.a_uniform ? 2 : 0) + (call.previous ? 1 : 0)](call);
  } else if (call.previous) {
    scan_in_double<T, Form<false, false, true>>(call);
  } else {
    scan_in_double<T, Form<false, false, false>>(call);
  }
}

template <class T>
void initial(double* state, const void* elements, int64_t width, int64_t stride) {
  const T* in = static_cast<const T*>(elements);
  for (int64_t r = 0; r < width; ++r) state[r] = static_cast<double>(in[r * stride]);
}

template <class T>
constexpr ScanFunctions kTable = {scan<T>, scan_row<T>, initial<T>};

}  // namespace

const ScanFunctions& scan_functions(RegisterType type) {
  static constexpr ScanFunctions table[] = {kTable<float>, kTable<double>, kTable<int32_t>};
  return table[static_cast<int>(type)];
}

}  // namespace vantage::cpu::VANTAGE_ISA
