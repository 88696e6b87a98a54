// Whether float32 numbers that pass by are finite.
#pragma once
#include "recurrence_vectors.h"

namespace vantage::cpu::VANTAGE_ISA {

// 0·x is a zero, or NaN; its bits are collected, as sums would wait for one another.
class Finite {
 public:
  VANTAGE_METHOD void look(const f32x8& x) { lanes_ |= (i32x8)(x * 0.0f); }
#if VANTAGE_WIDE
  VANTAGE_METHOD void look(const f32x16& x) { wide_ |= (i32x16)(x * 0.0f); }
#endif
  VANTAGE_METHOD void look(float x) {
    const float zero = x * 0.0f;
    int32_t bits;
    __builtin_memcpy(&bits, &zero, 4);
    one_ |= bits;
  }
  // Whether none was infinite or NaN.
  bool all_were() const {
    i32x8 found = lanes_ | one_;
#if VANTAGE_WIDE
    found |= __builtin_shufflevector(wide_, wide_, 0, 1, 2, 3, 4, 5, 6, 7) | __builtin_shufflevector(wide_, wide_, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
    return all((found & INT32_MAX) == 0);
  }

 private:
  i32x8 lanes_ = {};
#if VANTAGE_WIDE
  i32x16 wide_ = {};
#endif
  int32_t one_ = 0;
};

}  // namespace vantage::cpu::VANTAGE_ISA
