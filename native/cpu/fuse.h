// Joins steps of a program where one can do the work of two: an element then makes fewer trips through the cache.
//
//   where(m, x, 1), where(m, y, 0), scan  →  a scan with a mask    (float32)
//   ne 0, where                           →  where
//   mul, add                              →  fma
//   mul 0, sum                            →  a sum of zeros    (float32)
//   square, sum                           →  a sum of squares    (floating)
//   where(m, x, y), needed where m holds  →  x
//
// What is left without a user is dropped.
#pragma once
#include "code.h"

namespace vantage::cpu::VANTAGE_ISA {

void fuse(Code* code);

}  // namespace vantage::cpu::VANTAGE_ISA
