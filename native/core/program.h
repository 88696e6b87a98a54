// A fused program, as a device runs it.
//
// A program walks an index space once. For every element it loads from strided views, computes on registers, and stores
// to views or folds into reductions. Adding an instruction is one row in the table of instructions.h: every device, and
// TypeScript (which reads the table through the addon), takes it from there.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "dtype.h"
#include "instructions.h"
#include "tensor_view.h"

namespace vantage {

// Limits on one program, checked when a plan is read.
constexpr int kMaxRegisters = 1024;
constexpr int kMaxInstructions = 1024;
constexpr int kMaxViews = 128;
constexpr int kMaxOutputs = 64;

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

// What leaves a program: a register stored to a view, or folded over the reduced dimensions into a view whose strides
// along them are 0. Sums are accumulated in float64 (integers: int64), in an order that depends on the shape alone.
// maximum and minimum of an element that is NaN are NaN.
struct Output {
  Reduction reduction;
  RegisterType type;
  int reg;
  int view;
  bool passing = false;  // into memory of the evaluation alone: a later program or kernel reads it
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
//   scan or loop:    reduced = 1, the last dimension is the time; outputs may be stores, or reductions over time. A scan's state is s ← a·s + b,
//                    and b where a is 0, whatever s was
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
