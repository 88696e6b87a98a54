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
VANTAGE_INLINE void narrow(i32x4& to, const f64x4& from) { to = __builtin_convertvector(from, i32x4); }

// What the compiler should know of a call.
template <bool masked_, bool uniform_, bool previous_>
struct Form {
  static constexpr bool masked = masked_, uniform = uniform_, previous = previous_;
};

template <class T, int chains, class Form>
VANTAGE_INLINE void scan_rows(const ScanCall& call, int64_t first) {
  using V = typename Four<T>::type;
  T* out = static_cast<T*>(call.out) + first;
  const T *a = static_cast<const T*>(call.a), *b = static_cast<const T*>(call.b) + first;
  const V one = V{} + T(1), factor = V{} + (Form::uniform ? a[0] : T(1));
  f64x4 s[chains], wide_factor;
#pragma GCC unroll 4
  for (int k = 0; k < chains; ++k) load_vector(s[k], call.state + first + 4 * k);
  widen(wide_factor, factor);
  const int64_t width = call.width, step = call.reverse ? -width : width;
  int64_t i = call.reverse ? (call.n - 1) * width : 0;
  for (int64_t t = 0; t < call.n; ++t, i += step) {
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
      f64x4 wide_x = wide_factor, next;
      if constexpr (!Form::uniform || Form::masked) widen(wide_x, x);
      widen(next, y);
      next += wide_x * s[k];
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
void scan_of(const ScanCall& call) {
  int64_t r = 0;
  for (; r + 4 * kChains <= call.width; r += 4 * kChains) scan_rows<T, kChains, Form>(call, r);
  for (; r < call.width; r += 8) scan_rows<T, 2, Form>(call, r);
}

template <class T>
void scan(const ScanCall& call) {
  // Masks and uniform factors are for float32 alone (see code.cpp).
  if constexpr (__is_same(T, float)) {
    static constexpr void (*table[])(const ScanCall&) = {
        scan_of<T, Form<false, false, false>>, scan_of<T, Form<false, false, true>>, scan_of<T, Form<false, true, false>>,
        scan_of<T, Form<false, true, true>>,   scan_of<T, Form<true, false, false>>, scan_of<T, Form<true, false, true>>,
        scan_of<T, Form<true, true, false>>,   scan_of<T, Form<true, true, true>>};
    table[(call.mask ? 4 : 0) + (call.a_uniform ? 2 : 0) + (call.previous ? 1 : 0)](call);
  } else if (call.previous) {
    scan_of<T, Form<false, false, true>>(call);
  } else {
    scan_of<T, Form<false, false, false>>(call);
  }
}

template <class T>
void product(const ScanCall& call, double* product) {
  const T* a = static_cast<const T*>(call.a);
  for (int64_t i = 0; i < call.n * call.width; i += call.width) {
    for (int64_t r = 0; r < call.width; ++r) {
      if (call.mask && call.mask[i + r] == 0) continue;
      const T factor = a[call.a_uniform ? 0 : i + r];
      product[r] = factor == 0 ? 0.0 : product[r] * static_cast<double>(factor);
    }
  }
}

template <class T>
void initial(double* state, const void* elements, int64_t width, int64_t stride) {
  const T* in = static_cast<const T*>(elements);
  for (int64_t r = 0; r < width; ++r) state[r] = static_cast<double>(in[r * stride]);
}

template <class T>
constexpr ScanFunctions kTable = {scan<T>, product<T>, initial<T>};

}  // namespace

const ScanFunctions& scan_functions(RegisterType type) {
  static constexpr ScanFunctions table[] = {kTable<float>, kTable<double>, kTable<int32_t>};
  return table[static_cast<int>(type)];
}

}  // namespace vantage::cpu::VANTAGE_ISA
