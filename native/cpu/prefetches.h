// What is asked for ahead of its use.
#pragma once
#include <cstdint>

namespace vantage::cpu::VANTAGE_ISA {

// What the next tile will load. It is asked for step by step: a core waits for no more than a few lines at once, and computes meanwhile.
class Prefetches {
 public:
  // Of each piece the end that is used first is asked for first.
  explicit Prefetches(bool descending = false) : descending_(descending) {}
  // An address that may lie outside of its array.
  void add(uintptr_t from, int64_t bytes) {
    if (count_ < kMost) piece_[count_++] = {from, bytes};
  }
  // About so many bytes.
  void issue(int64_t share) {
    while (share > 0 && at_ < count_) {
      Piece& piece = piece_[at_];
      const int64_t asked = ((piece.bytes < share ? piece.bytes : share) + 63) / 64 * 64;
      if (descending_) {
        const uintptr_t last = piece.from + static_cast<uintptr_t>(piece.bytes) - 1;
        for (int64_t back = 0; back < asked; back += 64) __builtin_prefetch(reinterpret_cast<const void*>(last - static_cast<uintptr_t>(back)));
      } else {
        for (int64_t on = 0; on < asked; on += 64) __builtin_prefetch(reinterpret_cast<const void*>(piece.from + static_cast<uintptr_t>(on)));
        piece.from += static_cast<uintptr_t>(asked);
      }
      piece.bytes -= asked, share -= asked;
      if (piece.bytes <= 0) ++at_;
    }
  }
  // The rest.
  void finish() {
    issue(INT64_MAX);
    count_ = at_ = 0;
  }

 private:
  static constexpr int kMost = 8;
  struct Piece {
    uintptr_t from;
    int64_t bytes;
  };
  const bool descending_;
  Piece piece_[kMost];
  int count_ = 0, at_ = 0;
};

}  // namespace vantage::cpu::VANTAGE_ISA
