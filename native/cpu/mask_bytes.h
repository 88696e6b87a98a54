// What the bytes of a mask hold.
#pragma once
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {

// Whether any bit is set.
VANTAGE_INLINE bool any_of_32(const uint8_t* mask) {
  u64x4 bytes;
  load_vector(bytes, mask);
  return any_of(bytes);
}

// Whether all and whether any of n bytes are not 0.
struct Held {
  bool all, any;
};
// By whole vectors, from byte i on; where it ends.
template <class V>
VANTAGE_INLINE int64_t look_at(Held& result, const uint8_t* mask, int64_t i, int64_t n) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr int64_t kBytes = sizeof(V);
  V zeros = {}, any = {};  // the high bit of a byte of `zeros` is set where a byte of its eight is 0, if only of the first such
  for (; i + kBytes <= n; i += kBytes) {
    V bytes;
    load_vector(bytes, mask + i);
    zeros |= (bytes - kOnes) & ~bytes;
    any |= bytes;
  }
  result.all = result.all && !any_of(zeros & kOnes << 7);
  result.any = result.any || any_of(any);
  return i;
}
inline Held held(const uint8_t* mask, int64_t n) {
  Held result = {true, false};
  int64_t i = look_at<WideWords>(result, mask, 0, n);
  if (i + 8 <= n) i = look_at<uint64_t>(result, mask, i, n);
  for (; i < n; ++i) {
    result.all = result.all && mask[i];
    result.any = result.any || mask[i];
  }
  return result;
}

// From the first to behind the last of n bytes that is not 0, where there is one, and whether all between are none.
struct Extent {
  int64_t from, to;
  bool dense;
};
inline Extent extent_of(const uint8_t* mask, int64_t n) {
  int64_t from = 0, to = n;
  while (from + 32 <= to && !any_of_32(mask + from)) from += 32;
  while (!mask[from]) ++from;
  while (to - 32 >= from && !any_of_32(mask + to - 32)) to -= 32;
  while (!mask[to - 1]) --to;
  return {from, to, held(mask + from, to - from).all};
}

// Whether one of n bytes is `wanted`.
inline bool has(const uint8_t* from, int64_t n, uint8_t wanted) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  u64x4 zeros = {};  // as in look_at()
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    u64x4 bytes;
    load_vector(bytes, from + i);
    bytes ^= kOnes * wanted;
    zeros |= (bytes - kOnes) & ~bytes;
  }
  bool found = any_of(zeros & kOnes << 7);
  for (; i < n; ++i) found = found || from[i] == wanted;
  return found;
}

}  // namespace vantage::cpu::VANTAGE_ISA
