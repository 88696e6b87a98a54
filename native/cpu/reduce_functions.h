// Folding registers into totals. A total is a double for the floating types and an int64 for int32, always 8 bytes; that of a spread is three numbers until it is finished.
#pragma once
#include <cstdint>

#include "../core/program.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kTotalBytes = 8;
constexpr int64_t kTotalRoom = 24;  // for one that is not finished

// A long row is folded in this many lanes by position, which are combined in a fixed order.
constexpr int kLanes = 16;

// The sum of kLanes lanes, halves onto halves: the same tree whatever the vector width.
static inline double sum_of_lanes(double* lanes) {
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

struct Fold {
  void (*reset)(void* totals, int64_t n);
  // lanes[i % kLanes] takes element i.
  void (*lanes)(void* lanes, const void* elements, int64_t n);
  // totals[0] becomes the fold of kLanes lanes.
  void (*combine)(void* total, const void* lanes);
  // totals[r] becomes the fold of row r; dense rows of n.
  void (*rows)(void* totals, const void* elements, int64_t rows, int64_t n);
  // totals[i % width] takes element i.
  void (*columns)(void* totals, const void* elements, int64_t n, int64_t width);
  // totals[i] takes others[i].
  void (*merge)(void* totals, const void* others, int64_t n);
};

// Of float32 (spread.cpp).
const Fold& fold_of_spreads();

// What is stored of n totals, of a fold whose totals are not that already. Those of Fold::rows are.
using Finish = void (*)(void* results, const void* totals, int64_t n);
void finish_spread(void* results, const void* totals, int64_t n);
// The sums of the values whose spreads the totals are.
void finish_sum_of_spread(void* results, const void* totals, int64_t n);

const Fold& fold_functions(Reduction reduction, RegisterType type);

// The sum of 0·x, of float32: 0 where all x are finite, else NaN.
const Fold& fold_of_zeros();

// The sum of what is 0 or 1, of int32.
const Fold& fold_of_truths();

// The sum of x², each square rounded to its floating type.
const Fold& fold_of_squares(RegisterType type);

}  // namespace vantage::cpu::VANTAGE_ISA
