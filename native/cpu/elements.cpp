#include "elements.h"

#include "../core/math.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Types of an instruction of each kind, from the type in its row: the result, the first operand, and the others.
template <Kind kind, class T>
struct Types {
  using Result = T;
  using First = T;
};
template <class T>
struct Types<Kind::compare, T> {
  using Result = int32_t;
  using First = T;
};
template <class T>
struct Types<Kind::select, T> {
  using Result = T;
  using First = int32_t;
};

template <Kind kind, class T>
constexpr bool kDefined = kind == Kind::floating ? !__is_same(T, int32_t) : kind == Kind::logical ? __is_same(T, int32_t) : true;

// A struct for each row of the table, so that the loop below is written once.
#define X(name, operands, kind_, expression)                                                                       \
  struct name##_row {                                                                                              \
    static constexpr Kind kind = Kind::kind_;                                                                      \
    static constexpr int arity = operands;                                                                         \
    template <class R, class A, class T>                                                                           \
    static inline __attribute__((always_inline)) R apply([[maybe_unused]] A a, [[maybe_unused]] T b, [[maybe_unused]] T c) { \
      return static_cast<R>(expression);                                                                           \
    }                                                                                                              \
  };
VANTAGE_INSTRUCTIONS(X)
#undef X

template <class Row, class T, int uniform>
void run(int64_t n, void* dst, const void* a, const void* b, const void* c) {
  using R = typename Types<Row::kind, T>::Result;
  using A = typename Types<Row::kind, T>::First;
  // The two operands that may be uniform are a and b of a binary instruction, b and c of a ternary one.
  constexpr bool a_uniform = Row::arity == 2 && uniform == kFirstUniform;
  constexpr bool b_uniform = Row::arity == 2 ? uniform == kSecondUniform : uniform == kFirstUniform;
  constexpr bool c_uniform = Row::arity == 3 && uniform == kSecondUniform;
  R* out = static_cast<R*>(dst);
  const A* x = static_cast<const A*>(a);
  const T* y = static_cast<const T*>(b);
  const T* z = static_cast<const T*>(c);
  const A x0 = a_uniform ? x[0] : A{};
  const T y0 = Row::arity > 1 && b_uniform ? y[0] : T{};
  const T z0 = c_uniform ? z[0] : T{};
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const A x1 = a_uniform ? x0 : x[i];
    const T y1 = Row::arity < 2 || b_uniform ? y0 : y[i];
    const T z1 = Row::arity < 3 || c_uniform ? z0 : z[i];
    out[i] = Row::template apply<R>(x1, y1, z1);
  }
}

template <class Row, class T, int uniform>
constexpr ElementFunction entry() {
  if constexpr (!kDefined<Row::kind, T> || (uniform != kNoUniform && Row::arity == 1)) return nullptr;
  else return run<Row, T, uniform>;
}

template <class To, class From>
void cast(int64_t n, void* dst, const void* a, const void*, const void*) {
  To* out = static_cast<To*>(dst);
  const From* in = static_cast<const From*>(a);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (__is_same(To, int32_t)) out[i] = math::to_int32(in[i]);
    else out[i] = static_cast<To>(in[i]);
  }
}

}  // namespace

ElementFunction element_function(Op op, RegisterType type, Uniform uniform) {
#define VANTAGE_VARIANTS(row, type) {entry<row, type, kNoUniform>(), entry<row, type, kFirstUniform>(), entry<row, type, kSecondUniform>()}
  static constexpr ElementFunction table[][kRegisterTypes][kUniformVariants] = {
#define X(name, operands, kind, expression) \
  {VANTAGE_VARIANTS(name##_row, float), VANTAGE_VARIANTS(name##_row, double), VANTAGE_VARIANTS(name##_row, int32_t)},
      VANTAGE_INSTRUCTIONS(X)
#undef X
  };
  return table[static_cast<int>(op) - kFirstInstruction][static_cast<int>(type)][uniform];
}

ElementFunction cast_function(RegisterType from, RegisterType to) {
  static constexpr ElementFunction table[kRegisterTypes][kRegisterTypes] = {
      {cast<float, float>, cast<double, float>, cast<int32_t, float>},
      {cast<float, double>, cast<double, double>, cast<int32_t, double>},
      {cast<float, int32_t>, cast<double, int32_t>, cast<int32_t, int32_t>},
  };
  return table[static_cast<int>(from)][static_cast<int>(to)];
}

}  // namespace vantage::cpu::VANTAGE_ISA
