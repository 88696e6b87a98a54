// Elements of a program on the device: how they are stored, computed with and folded. Compiled into the interpreter and, at run time, with generated
// code: no standard library.
#pragma once
#include "../core/math.h"
#include "geometry.h"

namespace vantage::cuda {

#define VANTAGE_DEVICE __device__ __forceinline__
#if defined(__CUDACC__)
#define VANTAGE_NOINLINE static __device__ __noinline__
#else
#define VANTAGE_NOINLINE static __attribute__((noinline))
#endif

template <class T>
struct Is {
  static constexpr bool whole = false;
};
template <>
struct Is<int32_t> {
  static constexpr bool whole = true;
};

// One value for all the elements of a thread.
template <class T>
struct One {
  T value;
  VANTAGE_DEVICE const T& operator[](int) const { return value; }
  VANTAGE_DEVICE T& operator[](int) { return value; }
};

// ---- As they are stored ------------------------------------------------------------------------------------------------------

struct Bfloat16 {
  uint16_t bits;
};
struct Boolean {
  uint8_t byte;
};

template <class To>
VANTAGE_DEVICE To number(float x) {
  if constexpr (Is<To>::whole) return math::to_int32(x);
  else return static_cast<To>(x);
}
template <class To>
VANTAGE_DEVICE To number(double x) {
  if constexpr (Is<To>::whole) return math::to_int32(x);
  else return static_cast<To>(x);
}
template <class To>
VANTAGE_DEVICE To number(int32_t x) {
  return static_cast<To>(x);
}

template <class To>
VANTAGE_DEVICE To loaded(float x) {
  return number<To>(x);
}
template <class To>
VANTAGE_DEVICE To loaded(double x) {
  return number<To>(x);
}
template <class To>
VANTAGE_DEVICE To loaded(int32_t x) {
  return number<To>(x);
}
template <class To>
VANTAGE_DEVICE To loaded(Bfloat16 x) {
  return number<To>(math::from_bfloat16(x.bits));
}
template <class To>
VANTAGE_DEVICE To loaded(uint8_t x) {
  return static_cast<To>(x);
}
template <class To>
VANTAGE_DEVICE To loaded(Boolean x) {
  return static_cast<To>(x.byte != 0);
}

template <class T>
VANTAGE_DEVICE void put(float& to, T x) {
  to = static_cast<float>(x);
}
template <class T>
VANTAGE_DEVICE void put(double& to, T x) {
  to = static_cast<double>(x);
}
template <class T>
VANTAGE_DEVICE void put(int32_t& to, T x) {
  to = number<int32_t>(x);
}
template <class T>
VANTAGE_DEVICE void put(Bfloat16& to, T x) {
  to.bits = math::to_bfloat16(static_cast<float>(x));
}
// Saturating; NaN gives 0.
template <class T>
VANTAGE_DEVICE void put(uint8_t& to, T x) {
  const int32_t value = number<int32_t>(x);
  to = static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}
template <class T>
VANTAGE_DEVICE void put(Boolean& to, T x) {
  to.byte = x != 0 ? 1 : 0;
}

// ---- Arithmetic --------------------------------------------------------------------------------------------------------------

template <Op op>
struct Function;
#define X(name, operands, kind, expression)                                                          \
  template <>                                                                                         \
  struct Function<Op::name> {                                                                         \
    static constexpr Kind kKind = Kind::kind;                                                         \
    static constexpr int kOperands = operands;                                                        \
    template <class A, class T>                                                                       \
    static VANTAGE_DEVICE auto run([[maybe_unused]] A a, [[maybe_unused]] T b, [[maybe_unused]] T c) { \
      return expression;                                                                              \
    }                                                                                                 \
  };
VANTAGE_INSTRUCTIONS(X)
#undef X

template <Op op, class T>
constexpr bool is_defined = Function<op>::kKind == Kind::floating ? !Is<T>::whole : Function<op>::kKind == Kind::logical ? Is<T>::whole : true;

template <Op op, class T>
struct ResultOf {
  using type = T;
};
template <Op op, class T>
  requires(Function<op>::kKind == Kind::compare)
struct ResultOf<op, T> {
  using type = int32_t;
};

// The result of an instruction of the table; int32 wraps.
template <Op op, class T, class A>
VANTAGE_DEVICE auto apply(A a, T b, T c) {
  constexpr bool wraps = op == Op::add || op == Op::sub || op == Op::mul || op == Op::neg || op == Op::square;
  if constexpr (wraps && Is<T>::whole) {
    return static_cast<T>(Function<op>::run(static_cast<uint32_t>(a), static_cast<uint32_t>(b), static_cast<uint32_t>(c)));
  } else {
    return static_cast<typename ResultOf<op, T>::type>(Function<op>::run(a, b, c));
  }
}

// ---- Reductions --------------------------------------------------------------------------------------------------------------

template <class T>
VANTAGE_DEVICE T folded(T total, T x, Reduction reduction) {
  switch (reduction) {
    case Reduction::product: return total * x;
    case Reduction::maximum: return ((x > total) | (x != x)) ? x : total;
    case Reduction::minimum: return ((x < total) | (x != x)) ? x : total;
    default: return total + x;
  }
}

// What the largest or the smallest of elements begins with.
template <class T>
VANTAGE_DEVICE T lowest(Reduction reduction) {
  if constexpr (Is<T>::whole) return reduction == Reduction::maximum ? -2147483647 - 1 : 2147483647;
  else return static_cast<T>(reduction == Reduction::maximum ? -__builtin_inf() : __builtin_inf());
}

// Totals are float64, those of integers int64.
VANTAGE_DEVICE Slot identity(Reduction reduction, bool whole) {
  Slot slot;
  if (whole) {
    slot.whole = reduction == Reduction::product ? 1 : reduction == Reduction::maximum ? -2147483648ll : reduction == Reduction::minimum ? 2147483647ll : 0;
  } else {
    const double infinity = __builtin_inf();
    slot.real = reduction == Reduction::product ? 1.0 : reduction == Reduction::maximum ? -infinity : reduction == Reduction::minimum ? infinity : 0.0;
  }
  return slot;
}
template <class T>
VANTAGE_DEVICE void fold(Slot& total, T x, Reduction reduction) {
  if constexpr (Is<T>::whole) total.whole = folded(total.whole, static_cast<long long>(x), reduction);
  else total.real = folded(total.real, static_cast<double>(x), reduction);
}
VANTAGE_DEVICE Slot combined(Slot total, Slot other, Reduction reduction, bool whole) {
  if (whole) total.whole = folded(total.whole, other.whole, reduction);
  else total.real = folded(total.real, other.real, reduction);
  return total;
}

}  // namespace vantage::cuda
