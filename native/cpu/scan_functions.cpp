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

template <class T, int chains, bool previous>
VANTAGE_INLINE void scan_rows(T* out, const T* a, const T* b, double* state, int64_t width, int64_t n, bool reverse) {
  using V = typename Four<T>::type;
  f64x4 s[chains];
#pragma GCC unroll 4
  for (int k = 0; k < chains; ++k) load_vector(s[k], state + 4 * k);
  const int64_t step = reverse ? -width : width;
  int64_t i = reverse ? (n - 1) * width : 0;
  for (int64_t t = 0; t < n; ++t, i += step) {
#pragma GCC unroll 4
    for (int k = 0; k < chains; ++k) {
      V x, y;
      load_vector(x, a + i + 4 * k);
      load_vector(y, b + i + 4 * k);
      const f64x4 next = __builtin_convertvector(x, f64x4) * s[k] + __builtin_convertvector(y, f64x4);
      store_vector(out + i + 4 * k, __builtin_convertvector(previous ? s[k] : next, V));
      s[k] = next;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < chains; ++k) store_vector(state + 4 * k, s[k]);
}

template <class T, bool previous>
void scan_of(T* out, const T* a, const T* b, double* state, int64_t width, int64_t n, bool reverse) {
  int64_t r = 0;
  for (; r + 4 * kChains <= width; r += 4 * kChains) scan_rows<T, kChains, previous>(out + r, a + r, b + r, state + r, width, n, reverse);
  for (; r < width; r += 8) scan_rows<T, 2, previous>(out + r, a + r, b + r, state + r, width, n, reverse);
}

template <class T>
void scan(void* out, const void* a, const void* b, double* state, int64_t width, int64_t n, bool reverse, bool previous) {
  T* to = static_cast<T*>(out);
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
  if (previous) scan_of<T, true>(to, x, y, state, width, n, reverse);
  else scan_of<T, false>(to, x, y, state, width, n, reverse);
}

template <class T>
void product(const void* a, double* product, int64_t width, int64_t n) {
  const T* in = static_cast<const T*>(a);
  for (int64_t t = 0; t < n; ++t, in += width) {
    for (int64_t r = 0; r < width; ++r) product[r] = in[r] == 0 ? 0.0 : product[r] * static_cast<double>(in[r]);
  }
}

template <class T>
void initial(double* state, const void* row, int64_t width) {
  const T* in = static_cast<const T*>(row);
  for (int64_t r = 0; r < width; ++r) state[r] = static_cast<double>(in[r]);
}

template <class T>
constexpr ScanFunctions kTable = {scan<T>, product<T>, initial<T>};

}  // namespace

const ScanFunctions& scan_functions(RegisterType type) {
  static constexpr ScanFunctions table[] = {kTable<float>, kTable<double>, kTable<int32_t>};
  return table[static_cast<int>(type)];
}

}  // namespace vantage::cpu::VANTAGE_ISA
