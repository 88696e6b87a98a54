// The affine recurrence over time-major blocks: element (row r, time t) stands at register[t·width + r].
#pragma once
#include <cstdint>

#include "../core/dtype.h"

namespace vantage::cpu::VANTAGE_ISA {

struct ScanFunctions {
  // s = a·s + b along the time, from `state` (one double for each row, updated). out takes s, or the s before (previous); it may be null.
  // Carried in double: a cumulative sum over a long row would lose digits in float32.
  void (*scan)(void* out, const void* a, const void* b, double* state, int64_t width, int64_t n, bool reverse, bool previous);
  // product *= a along the time. A factor of 0 gives 0, whatever came before it.
  void (*product)(const void* a, double* product, int64_t width, int64_t n);
  // state[r] = element r of the row at one time.
  void (*initial)(double* state, const void* row, int64_t width);
};

const ScanFunctions& scan_functions(RegisterType type);

}  // namespace vantage::cpu::VANTAGE_ISA
