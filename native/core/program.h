// The instruction set of fused programs, and a program as a device runs it.
//
// A program walks an index space once. For every element it loads from strided views, computes on registers, and stores
// to views or folds into reductions. Adding an instruction is one row in the table below: every device, and
// TypeScript (which reads the table through the addon), takes it from there.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "dtype.h"
#include "tensor_view.h"

namespace vantage {

// Limits on one program, checked when a plan is read.
constexpr int kMaxRegisters = 1024;
constexpr int kMaxInstructions = 1024;
constexpr int kMaxViews = 128;
constexpr int kMaxOutputs = 64;

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

constexpr int kFirstInstruction = static_cast<int>(Op::state) + 1;
constexpr const char* kOpNames[] = {
    "load", "constant", "cast", "scan", "scan_prev", "loop", "state",
#define X(name, operands, kind, expression) #name,
    VANTAGE_INSTRUCTIONS(X)
#undef X
};

// The table, in order: the row of an op is its number minus kFirstInstruction.
struct InstructionRow {
  const char* name;
  int operands;
  Kind kind;
};
constexpr InstructionRow kInstructionRows[] = {
#define X(name, operands, kind, expression) {#name, operands, Kind::kind},
    VANTAGE_INSTRUCTIONS(X)
#undef X
};
constexpr const InstructionRow& row_of(Op op) { return kInstructionRows[static_cast<int>(op) - kFirstInstruction]; }

struct Instruction {
  Op op;
  RegisterType type;  // of the operands (compare, logical), of the result (all others)
  int dst, a, b, c;
};

enum class Reduction : int { store = 0, sum = 1, product = 2, maximum = 3, minimum = 4 };

// What leaves a program: a register stored to a view, or folded over the reduced dimensions into a view whose strides
// along them are 0. Sums are accumulated in float64 (integers: int64), in an order that depends on the shape alone.
// maximum and minimum of an element that is NaN are NaN.
struct Output {
  Reduction reduction;
  RegisterType type;
  int reg;
  int view;
};

struct ProgramView {
  int slot;
  DType dtype;
  int64_t offset;             // in elements
  int64_t strides[kMaxDims];  // along the program's dimensions, in elements
};

// What a device keeps of a program that it ran (its code, say). It goes with the program, and stays behind when the program is copied.
struct Prepared {
  std::shared_ptr<void> kept;
  Prepared() = default;
  Prepared(const Prepared&) {}
  Prepared(Prepared&&) = default;
  Prepared& operator=(const Prepared&) {
    kept.reset();
    return *this;
  }
  Prepared& operator=(Prepared&&) = default;
};

// The index space is shape[0..outer) × shape[outer..outer+reduced) × shape[outer+reduced..ndim).
//   elementwise:     reduced = 0
//   row reduction:   the reduced dimensions are the last ones
//   column reduction: dimensions that are kept follow the reduced ones
//   scan or loop:    reduced = 1, the last dimension is the time; outputs may be stores, or reductions over time
struct Program {
  int ndim = 0;
  int64_t shape[kMaxDims] = {};
  int outer = 0, reduced = 0;
  bool sequential = false;  // it holds scan or loop instructions
  bool reverse = false;     // they run from the last element to the first
  int registers = 0;
  std::vector<ProgramView> views;
  std::vector<Instruction> instructions;
  std::vector<Output> outputs;
  mutable Prepared prepared;
};

}  // namespace vantage
