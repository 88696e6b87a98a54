// A program made ready for one run on tiles: what each instruction calls, and which memory each register gets.
#pragma once
#include "../core/program.h"
#include "convert.h"
#include "elements.h"
#include "reduce_functions.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kMaxTile = 1024;       // elements; a multiple of 64
constexpr int64_t kTaskElements = 16384;  // about what one task of parallel_for works on
constexpr int kUniformBytes = 16;

// The program's dimensions with neighbours merged where every view allows, those of size 1 left out.
struct Space {
  int outer = 0, reduced = 0, kept = 0;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxViews][kMaxDims];
  int ndim() const { return outer + reduced + kept; }
  int64_t size(int begin, int end) const {
    int64_t total = 1;
    for (int d = begin; d < end; ++d) total *= shape[d];
    return total;
  }
};
void collapse(const Program& program, Space* space);

struct Step {
  Op op;
  ElementFunction run;  // arithmetic and casts
  int dst, a, b, c;     // values
  int mask;             // scans: the value that says where the state stays as it is, or -1
  int size;             // of an element of dst, in bytes
  int step_a, step_b, step_c;  // from one element of an operand to the next: its size, 0 where it is uniform
  int view;             // load
  int scalar;           // constant; -1 for one that is loaded: an element of a view that does not move
  RegisterType type;
  LoadFunction load;
  LoadTimeMajor load_time_major;
  int block;            // loop: the number of steps that follow in its block
  bool in_place;        // load: the value may point into the buffer
  int guard;            // the tested value without which nothing reads the result, or -1
  bool tested;          // load of bytes: others choose by it (see Tests)
  bool valued;          // the same: there are others that read its value, which a tile of one truth needs for them alone
  bool chooses;         // where, scan: by a tested value
  bool over;            // where, scan: what its home holds outside of the tested value nobody needs; a `where` may be written over its second operand
};

static inline __attribute__((always_inline)) bool is_scan(const Step& step) { return step.op == Op::scan || step.op == Op::scan_prev; }
// Whether a step goes through a tile even where masks are one or the other throughout.
static inline __attribute__((always_inline)) bool takes_time(const Step& step) {
  return is_scan(step) || (step.op != Op::load && step.op != Op::constant && !step.chooses);
}

// Of the tested values, what a tile holds. Where all is true a `where` is its second operand, and a scan needs no mask; where nothing is, it is its third,
// and what the second would be is not even read. Masks are the one or the other for long stretches.
struct Tests {
  Truth of[kMaxInstructions];
};

// Whether nothing in the tile reads what the step would compute.
static inline __attribute__((always_inline)) bool left_out(const Step& step, const Tests& tests) {
  return step.guard >= 0 && tests.of[step.guard] == Truth::none;
}

struct Leave {
  Reduction reduction;
  RegisterType type;
  int value, view;
  StoreFunction store;
  StoreTimeMajor store_time_major;
  StoreTotals store_totals;
  const Fold* fold;
  Finish finish;  // null: totals are stored as they are
  int state;      // the output whose lanes and totals it shares: its own, or the spread of the value that it is a sum of
  bool direct;  // the value may be computed where it is stored
  bool stream;  // stored past the caches: they would not hold it until it is read
  int watcher;  // what streams: the output that is the sum of zeros of the same value, which scans along rows take on the way; or -1
  bool watched;  // the latter
  // Whether it has lanes and totals of its own, as output k.
  bool folds(int k) const { return reduction != Reduction::store && state == k; }
};

// Values are numbered by the instruction that makes them, so that a register which is written twice is two values. Values whose lives do
// not overlap share a home, a piece of the tile's memory.
struct Code {
  const Program* program;
  const double* scalars;
  Space space;
  char* base[kMaxViews];  // element 0 of each view
  int item[kMaxViews];    // bytes of an element in memory
  int steps = 0, values = 0, homes = 0, uniforms = 0, outputs = 0;
  Step step[kMaxInstructions];
  Leave output[kMaxOutputs];
  int home[kMaxInstructions];      // or the place among the uniform values
  bool uniform[kMaxInstructions];        // a constant that every use takes as one value
  bool may_be_single[kMaxInstructions];  // of a program with scans: one number in a tile, where the bytes are equal that it is made of
  int64_t tile;        // elements
  int64_t home_bytes;  // of one home
  int64_t work = 1;    // the cost of one element, for parallel_for
  int64_t prefetched = 0;  // bytes of an element that loads ask for ahead, of the next tile's; 0 where the caches hold all of it …
  int64_t works = 1;       // … and among how many steps of a tile they are shared out
  bool streams = false;  // an output streams: a task ends with stream_fence()

  // The memory of the homes for one task, and each value's place in it. Fills the constants.
  size_t memory_bytes() const { return static_cast<size_t>(homes) * home_bytes + static_cast<size_t>(uniforms) * kUniformBytes; }
  void place(char* memory, void** at) const;
  // Where the step's result stands if it has memory of its own.
  char* home_of(const Step& one, char* memory) const { return memory + home[one.dst] * home_bytes; }
};

// Constants and loads in a loop's block move in front of it.
void prepare(const Program& program, void* const* slots, const double* scalars, Code* code);

}  // namespace vantage::cpu::VANTAGE_ISA
