#include "reduce_functions.h"

#include "../core/math.h"
#include "finite.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
struct TotalOf {
  using type = double;
  using Vector = f64x4;
};
template <>
struct TotalOf<int32_t> {
  using type = int64_t;
  using Vector = i64x4;
};

// Four elements as they stand in memory.
template <class T>
struct Four;
template <>
struct Four<float> {
  using type = f32x4;
};
template <>
struct Four<double> {
  using type = f64x4;
};
template <>
struct Four<int32_t> {
  using type = i32x4;
};

VANTAGE_INLINE void widen(f64x4& to, const f32x4& from) { widen_floats(to, from); }
VANTAGE_INLINE void widen(f64x4& to, const f64x4& from) { to = from; }
VANTAGE_INLINE void widen(i64x4& to, const i32x4& from) { to = __builtin_convertvector(from, i64x4); }

template <class Total>
struct Limits;
template <>
struct Limits<double> {
  static constexpr double lowest = -__builtin_inf(), highest = __builtin_inf();
};
template <>
struct Limits<int64_t> {
  static constexpr int64_t lowest = INT32_MIN, highest = INT32_MAX;
};

// fold(V) works on scalars and vectors alike.
template <class Total>
struct Sum {
  static constexpr Total identity = 0;
  template <class V>
  VANTAGE_INLINE void fold(V& total, const V& x) { total += x; }
};
template <class Total>
struct Product {
  static constexpr Total identity = 1;
  template <class V>
  VANTAGE_INLINE void fold(V& total, const V& x) { total *= x; }
};
template <class Total>
struct Maximum {
  static constexpr Total identity = Limits<Total>::lowest;
  template <class V>
  VANTAGE_INLINE void fold(V& total, const V& x) { total = ((x > total) | (x != x)) ? x : total; }
  // The same but for NaN.
  template <class V>
  VANTAGE_INLINE void choose(V& total, const V& x) { total = x > total ? x : total; }
};
template <class Total>
struct Minimum {
  static constexpr Total identity = Limits<Total>::highest;
  template <class V>
  VANTAGE_INLINE void fold(V& total, const V& x) { total = ((x < total) | (x != x)) ? x : total; }
  template <class V>
  VANTAGE_INLINE void choose(V& total, const V& x) { total = x < total ? x : total; }
};

// What is folded of each element.
struct Itself {
  template <class V>
  VANTAGE_INLINE void of(V&) {}
};
struct Squared {
  template <class V>
  VANTAGE_INLINE void of(V& x) { x *= x; }
};

template <class T, template <class> class Kind, class Map = Itself>
struct Functions {
  using Total = typename TotalOf<T>::type;
  using Vector = typename TotalOf<T>::Vector;
  using Op = Kind<Total>;
  static constexpr int kVectors = kLanes / 4;

  static void reset(void* totals, int64_t n) {
    Total* out = static_cast<Total*>(totals);
    for (int64_t i = 0; i < n; ++i) out[i] = Op::identity;
  }

  VANTAGE_INLINE void fold_four(Vector& acc, const T* in) {
    typename Four<T>::type x;
    Vector wide;
    load_vector(x, in);
    Map::of(x);
    widen(wide, x);
    Op::fold(acc, wide);
  }

  VANTAGE_INLINE void fold_one(Total& total, T x) {
    Map::of(x);
    Op::fold(total, static_cast<Total>(x));
  }

  VANTAGE_INLINE void fold_lanes(Vector (&acc)[kVectors], Total* tail, const T* in, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      __builtin_prefetch(in + i + 1024);
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        fold_four(acc[k], in + i + 4 * k);
      }
    }
    __builtin_memcpy(tail, acc, sizeof acc);
    for (int lane = 0; i < n; ++i, ++lane) fold_one(tail[lane], in[i]);
  }

  static void lanes(void* lanes, const void* elements, int64_t n) {
    Vector acc[kVectors];
    __builtin_memcpy(acc, lanes, sizeof acc);
    fold_lanes(acc, static_cast<Total*>(lanes), static_cast<const T*>(elements), n);
  }

  // Halves onto halves: the same tree whatever the vector width.
  VANTAGE_INLINE Total tree(Total* x) {
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) Op::fold(x[i], x[i + width]);
    }
    return x[0];
  }

  static void combine(void* total, const void* lanes) {
    Total x[kLanes];
    __builtin_memcpy(x, lanes, sizeof x);
    *static_cast<Total*>(total) = tree(x);
  }

  static void rows(void* totals, const void* elements, int64_t rows, int64_t n) {
    Total* out = static_cast<Total*>(totals);
    const T* in = static_cast<const T*>(elements);
    for (int64_t r = 0; r < rows; ++r, in += n) {
      if (n < kLanes) {
        Total total = Op::identity;
        for (int64_t i = 0; i < n; ++i) fold_one(total, in[i]);
        out[r] = total;
        continue;
      }
      Vector acc[kVectors];
      for (int k = 0; k < kVectors; ++k) acc[k] = Vector{} + Op::identity;
      Total x[kLanes];
      fold_lanes(acc, x, in, n);
      out[r] = tree(x);
    }
  }

  // 4·vectors columns of `rows` dense rows, in registers.
  template <int vectors>
  VANTAGE_INLINE void fold_columns(Total* out, const T* in, int64_t rows, int64_t width) {
    Vector acc[vectors];
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) load_vector(acc[k], out + 4 * k);
    for (int64_t r = 0; r < rows; ++r, in += width) {
#pragma GCC unroll 4
      for (int k = 0; k < vectors; ++k) fold_four(acc[k], in + 4 * k);
    }
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) store_vector(out + 4 * k, acc[k]);
  }

  static void columns(void* totals, const void* elements, int64_t n, int64_t width) {
    Total* __restrict out = static_cast<Total*>(totals);
    const T* __restrict in = static_cast<const T*>(elements);
    const int64_t rows = n / width;
    int64_t c = 0;
    for (; c + 16 <= width; c += 16) fold_columns<4>(out + c, in + c, rows, width);
    for (; c + 4 <= width; c += 4) fold_columns<1>(out + c, in + c, rows, width);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = c; i < width; ++i) fold_one(out[i], in[r * width + i]);
    }
    in += rows * width;
    for (int64_t i = 0; i < n - rows * width; ++i) fold_one(out[i], in[i]);
  }

  static void merge(void* totals, const void* others, int64_t n) {
    Total* __restrict out = static_cast<Total*>(totals);
    const Total* __restrict in = static_cast<const Total*>(others);
    for (int64_t i = 0; i < n; ++i) Op::fold(out[i], in[i]);
  }

  static constexpr Fold table = {reset, lanes, combine, rows, columns, merge};
};

// The largest or smallest of float32, in float32: no digits can be lost, and NaN are looked for beside, so that a step waits for one comparison.
template <template <class> class Kind>
struct Extremes : Functions<float, Kind> {
  using Base = Functions<float, Kind>;
  static constexpr int kWidth = sizeof(WideFloats) / sizeof(float), kChains = 4, kStep = kWidth * kChains;

  static void lanes(void* lanes, const void* elements, int64_t n) {
    const float* const in = static_cast<const float*>(elements);
    double* const totals = static_cast<double*>(lanes);
    const WideFloats start = WideFloats{} + static_cast<float>(Kind<double>::identity);
    WideFloats best[kChains] = {start, start, start, start};
    WideBits strange = {};
    int64_t i = 0;
    for (; i + kStep <= n; i += kStep) {
#pragma GCC unroll 4
      for (int k = 0; k < kChains; ++k) {
        WideFloats x;
        load_vector(x, in + i + k * kWidth);
        Kind<double>::choose(best[k], x);
        strange |= x != x;
      }
    }
#pragma GCC unroll 4
    for (int k = 1; k < kChains; ++k) Kind<double>::choose(best[0], best[k]);
    double total = totals[0];
    for (int lane = 0; lane < kWidth; ++lane) {
      Kind<double>::fold(total, static_cast<double>(best[0][lane]));
      if (strange[lane]) total = __builtin_nan("");
    }
    for (; i < n; ++i) Base::fold_one(total, in[i]);
    totals[0] = total;
  }

  // They are all in the first one.
  static void combine(void* total, const void* lanes) { *static_cast<double*>(total) = *static_cast<const double*>(lanes); }

  static constexpr Fold table = {Base::reset, lanes, combine, Base::rows, Base::columns, Base::merge};
};

template <class T, template <class> class Kind>
struct ExtremesOf : Functions<T, Kind> {};
template <template <class> class Kind>
struct ExtremesOf<float, Kind> : Extremes<Kind> {};

struct SumOfZeros : Functions<float, Sum> {
  VANTAGE_INLINE double zeros_of(const float* in, int64_t n) {
    Finite finite;
    int64_t i = 0;
    for (; i + kLanesOfWidest <= n; i += kLanesOfWidest) {
      Widest x;
      load_vector(x, in + i);
      finite.look(x);
    }
    for (; i < n; ++i) finite.look(in[i]);
    return finite.all_were() ? 0.0 : __builtin_nan("");
  }

  static void lanes(void* lanes, const void* elements, int64_t n) {
    *static_cast<double*>(lanes) += zeros_of(static_cast<const float*>(elements), n);
  }

  // They are all in the first one.
  static void combine(void* total, const void* lanes) { *static_cast<double*>(total) = *static_cast<const double*>(lanes); }

  static void rows(void* totals, const void* elements, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; ++r) static_cast<double*>(totals)[r] = zeros_of(static_cast<const float*>(elements) + r * n, n);
  }

  static void columns(void* totals, const void* elements, int64_t n, int64_t width) {
    double* __restrict out = static_cast<double*>(totals);
    const float* __restrict in = static_cast<const float*>(elements);
    for (int64_t from = 0; from < n; from += width) {
      const int64_t count = n - from < width ? n - from : width;
      for (int64_t i = 0; i < count; ++i) out[i] += static_cast<double>(in[from + i] * 0.0f);
    }
  }

  static constexpr Fold table = {reset, lanes, combine, rows, columns, merge};
};

// Of numbers that are 0 or 1: of so many as there are in a tile, int32 holds the sum.
struct SumOfTruths : Functions<int32_t, Sum> {
  VANTAGE_INLINE int64_t truths_of(const int32_t* in, int64_t n) {
    int32_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += in[i];
    return sum;
  }

  static void lanes(void* lanes, const void* elements, int64_t n) {
    *static_cast<int64_t*>(lanes) += truths_of(static_cast<const int32_t*>(elements), n);
  }

  static void combine(void* total, const void* lanes) { *static_cast<int64_t*>(total) = *static_cast<const int64_t*>(lanes); }

  static void rows(void* totals, const void* elements, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; ++r) static_cast<int64_t*>(totals)[r] = truths_of(static_cast<const int32_t*>(elements) + r * n, n);
  }

  static constexpr Fold table = {reset, lanes, combine, rows, columns, merge};
};

template <class T>
const Fold& functions_of(Reduction reduction) {
  switch (reduction) {
    case Reduction::product: return Functions<T, Product>::table;
    case Reduction::maximum: return ExtremesOf<T, Maximum>::table;
    case Reduction::minimum: return ExtremesOf<T, Minimum>::table;
    default: return Functions<T, Sum>::table;
  }
}

}  // namespace

const Fold& fold_of_zeros() { return SumOfZeros::table; }

const Fold& fold_of_truths() { return SumOfTruths::table; }

const Fold& fold_of_squares(RegisterType type) {
  return type == RegisterType::f64 ? Functions<double, Sum, Squared>::table : Functions<float, Sum, Squared>::table;
}

const Fold& fold_functions(Reduction reduction, RegisterType type) {
  switch (type) {
    case RegisterType::f64: return functions_of<double>(reduction);
    case RegisterType::i32: return functions_of<int32_t>(reduction);
    default: return reduction == Reduction::spread ? fold_of_spreads() : functions_of<float>(reduction);
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
