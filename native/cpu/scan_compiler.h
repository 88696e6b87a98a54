// Programs with scans as functions of machine code: the steps of a stretch of one row pass through registers once, sixteen at a time, from loads to stores. Made for
// what custom estimators are: affine scans with constant factors between arithmetic. compiled_scan.h says which programs are taken, and the interpreter runs all others.
#pragma once
#include <cstdint>

#include "../core/program.h"

namespace vantage::cpu {

constexpr int kMostSteps = 128, kMostPointers = 24, kMostConstants = 32, kMostOfRow = 8, kMostScans = 8, kMostWatched = 8, kMostStores = 12;
constexpr int kStepsOfVector = 16;
// Vectors that pass through a loop side by side, step by step: each waits for its own results meanwhile.
constexpr int kMostSideBySide = 4;

// A program, as the compiler takes it. Two with the same bytes have the same code.
struct ScanSource {
  enum class Kind : uint8_t {
    load_f32,    // [index of pointer], of the step; the like:
    load_bf16,   // to float32
    load_i32,
    load_bytes,  // to int32
    constant,    // [index], of the table
    of_row,      // [index], of the frame: a number that stands for all steps of a row. Of several rows: [index of pointer]
    compute,     // op, of float32, or of int32 where `integers`
    convert,     // int32 to float32
    scan         // [index of the state], s = factor·s + b; the factor is the value a, or one for all steps, where a is -1. Where the value `mask` is 0, s stays as it is
  };
  struct Step {
    Kind kind;
    uint8_t integers;
    uint8_t op;
    uint8_t index;
    int16_t dst, a, b, c, mask;
    // Of scans: what is in front of each step is the result; the factor is 0 for all, so that s is b; the scan that has the same s, or -1.
    uint8_t previous, forgets;
    int8_t twin;
    int8_t first;  // of several rows: the pointer to the states in front of them, or -1: they are in the table
  };
  struct Store {
    int16_t value;
    uint8_t pointer, stream;  // stream: past the caches where the function does that
    int8_t watched;           // the place in the frame that tells whether all that is stored is finite, or -1
  };
  int32_t steps, values, scans, stores, watched, pointers;
  uint8_t reverse;
  uint8_t several;  // rows, short ones: vectors that go side by side are of rows that lie below one another
  uint8_t single;   // … each of which is no longer than a vector
  Step step[kMostSteps];
  Store store[kMostStores];
};

// What a function reads beside its frame: numbers of the program.
struct alignas(64) ScanTable {
  float constant[kMostConstants];  // int32 where the step says so
  float initial[kMostScans];       // the states in front of each of several rows
  // Of a scan's factor a, for states that come in from the vector before: a¹⁶ … a, and zeros (reverse), or a … a¹⁶; a over one step, two, four and eight; aⁿ of n steps.
  struct alignas(64) Powers {
    float carried[2 * kStepsOfVector], rounds[4];
    double over[kStepsOfVector + 1];
  } powers[kMostScans];
};

struct alignas(64) ScanFrame {
  float last[kMostScans][kStepsOfVector];  // the function's own
  double state[kMostScans];                // in front of the stretch, and behind it
  // The step of the stretch that is the lowest in memory. Of several rows, which are `rows`: those of the first four, and from each to the next.
  char* pointer[kMostPointers * kMostSideBySide];
  int64_t row_bytes[kMostPointers], rows;
  float of_row[kMostOfRow];
  int64_t n;
  const ScanTable* table;
  // Whether, of the states and of each watched value, there was one that is not finite.
  uint16_t odd[1 + kMostWatched];
};

// The function of a source, kept for others with the same one.
class ScanFunction {
 public:
  ScanFunction() = default;
  ~ScanFunction();
  ScanFunction(const ScanFunction&) = delete;
  ScanFunction& operator=(const ScanFunction&) = delete;
  // Whether there is one: nothing may be compiled (machine_code.h), or a source may need more registers than there are. `past_caches`: whole lines are stored that way.
  bool make(const ScanSource& source, bool past_caches);
  void operator()(ScanFrame* frame) const { entry_(frame); }
  explicit operator bool() const { return entry_ != nullptr; }

 private:
  void* code_ = nullptr;  // holds the machine code
  void (*entry_)(ScanFrame*) = nullptr;
};

}  // namespace vantage::cpu
