// The affine recurrence over time-major blocks: element (row r, time t) stands at register[t·width + r].
#pragma once
#include <cstdint>

#include "../core/dtype.h"

namespace vantage::cpu::VANTAGE_ISA {

// Steps from where a scan comes that are all valid, or all masked. Short ones are taken together with others.
enum class Valid { none, some, all };
struct Stretch {
  Valid valid;
  int64_t length;
};
constexpr int64_t kShortStretch = 32, kMixed = 128;
constexpr int kMostStretches = 1024 / kShortStretch + 1;  // of a tile
// Of the n steps of a mask, int32 or bytes, in the scan's direction.
template <class M>
void find_stretches(Stretch* to, const M* mask, int64_t n, bool reverse);

struct Decay;  // the powers of a factor (recurrence_block.h)

struct ScanCall {
  void* out;            // s, or the s before (previous)
  const void *a, *b;
  const int32_t* mask;  // where it is 0 the state stays as it is, whatever a and b hold; null: nowhere
  double* state;        // one for each row, updated. Carried in double: a cumulative sum over a long row would lose digits in float32.
  int64_t width, n;
  bool a_uniform;       // a is one value
  bool reverse, previous;
  const Stretch* stretches = nullptr;  // of the mask: for one row of float32
  Decay* decay = nullptr;              // one row of float32 with a uniform factor: those of the call before, or of this one
};

// What the compiler should know of a call.
template <bool masked_, bool uniform_, bool previous_>
struct Form {
  static constexpr bool masked = masked_, uniform = uniform_, previous = previous_;
};

struct ScanFunctions {
  // s = a·s + b along the time, from `state`.
  void (*scan)(const ScanCall& call);
  // The same for one row (a width of 1). *product, if it is given, is multiplied by all factors; one of 0 gives 0, whatever came before it.
  void (*scan_row)(const ScanCall& call, double* product);
  // state[r] = element r·stride.
  void (*initial)(double* state, const void* elements, int64_t width, int64_t stride);
};

const ScanFunctions& scan_functions(RegisterType type);

// One row, of the table's type: float, double or int32_t (scan_row.cpp).
template <class T>
void scan_row(const ScanCall& call, double* product);

}  // namespace vantage::cpu::VANTAGE_ISA
