// The names of what a fused program does: the table of its instructions, and its reductions. Kept free of the standard library: code that is generated
// for a GPU at run time is compiled with this file.
#pragma once

namespace vantage {

// X(name, operands, kind, expression over a, b, c)
//   numeric: on float32, float64, int32      floating: on float32, float64
//   compare: numeric operands, int32 result (0 or 1)      logical: int32 operands and result
//   select: a is an int32 register, b and c are of the instruction's type, and so is the result
// The expressions call functions of core/math.h, overloaded on the operand type.
#define VANTAGE_INSTRUCTIONS(X)             \
  X(add, 2, numeric, a + b)                 \
  X(sub, 2, numeric, a - b)                 \
  X(mul, 2, numeric, a * b)                 \
  X(div, 2, numeric, math::divide(a, b))    \
  X(mod, 2, numeric, math::modulo(a, b))    \
  X(maximum, 2, numeric, math::maximum(a, b)) \
  X(minimum, 2, numeric, math::minimum(a, b)) \
  X(neg, 1, numeric, -a)                    \
  X(abs, 1, numeric, math::absolute(a))     \
  X(sign, 1, numeric, math::sign(a))        \
  X(square, 1, numeric, a * a)              \
  X(fma, 3, floating, a * b + c)            \
  X(pow, 2, floating, math::power(a, b))    \
  X(exp, 1, floating, math::exp(a))         \
  X(expm1, 1, floating, math::expm1(a))     \
  X(log, 1, floating, math::log(a))         \
  X(log1p, 1, floating, math::log1p(a))     \
  X(sqrt, 1, floating, math::sqrt(a))       \
  X(rsqrt, 1, floating, math::rsqrt(a))     \
  X(sin, 1, floating, math::sin(a))         \
  X(cos, 1, floating, math::cos(a))         \
  X(tanh, 1, floating, math::tanh(a))       \
  X(sigmoid, 1, floating, math::sigmoid(a)) \
  X(softplus, 1, floating, math::softplus(a)) \
  X(floor, 1, floating, math::floor(a))     \
  X(ceil, 1, floating, math::ceil(a))       \
  X(round, 1, floating, math::round(a))     \
  X(eq, 2, compare, a == b)                 \
  X(ne, 2, compare, a != b)                 \
  X(lt, 2, compare, a < b)                  \
  X(le, 2, compare, a <= b)                 \
  X(gt, 2, compare, a > b)                  \
  X(ge, 2, compare, a >= b)                 \
  X(isnan, 1, compare, a != a)              \
  X(isfinite, 1, compare, math::finite(a))  \
  X(and_, 2, logical, (a != 0) & (b != 0))  \
  X(or_, 2, logical, (a != 0) | (b != 0))   \
  X(not_, 1, logical, a == 0)               \
  X(where, 3, select, a != 0 ? b : c)

enum class Kind : int { numeric, floating, compare, logical, select };

// Instructions that are not arithmetic. They precede the table's in the numbering.
enum class Op : int {
  load,       // dst <- view a, converted to the instruction's type
  constant,   // dst <- run-time scalar a
  cast,       // dst <- register a, of register type b
  // Affine scans along the last dimension of the index space, in the program's direction. For the state s:
  //   s_t = a_t * s_{t-1} + b_t, where s before the first element is c at the first element
  scan,       // dst <- s_t          (registers a, b, c)
  scan_prev,  // dst <- s_{t-1}      (registers a, b, c)
  // A recurrence that is not affine. `loop` starts a block of b instructions that is run once for each element along the
  // last dimension. The block begins with `state` instructions: dst <- the state before this element; after the block the
  // state becomes register a (computed in the block); before the first element it is register c (computed outside).
  loop,       // a unused, b = number of instructions in the block, `state` rows included
  state,
#define X(name, operands, kind, expression) name,
  VANTAGE_INSTRUCTIONS(X)
#undef X
      count
};

// spread: Σ(x − mean)² of float32, over the last dimensions only, and on a CPU only.
enum class Reduction : int { store = 0, sum = 1, product = 2, maximum = 3, minimum = 4, spread = 5 };

}  // namespace vantage
