// The steps of a source that are neither scans nor stores, as instructions on vectors of sixteen steps; and which registers values stand in.
#pragma once
#include <cstddef>

#include "assembler.h"
#include "scan_compiler.h"

namespace vantage::cpu {
namespace forms {

using Map = Assembler::Map;
using Prefix = Assembler::Prefix;
using Form = Assembler::Form;

constexpr Form kLoad{Map::m0f, Prefix::none, false, 0x10}, kStore{Map::m0f, Prefix::none, false, 0x11}, kStream{Map::m0f, Prefix::none, false, 0x2b};
constexpr Form kCopy{Map::m0f, Prefix::none, false, 0x28}, kCopyIntegers{Map::m0f, Prefix::p66, false, 0x6f};
constexpr Form kAdd{Map::m0f, Prefix::none, false, 0x58}, kMultiply{Map::m0f, Prefix::none, false, 0x59}, kSubtract{Map::m0f, Prefix::none, false, 0x5c};
constexpr Form kMinimum{Map::m0f, Prefix::none, false, 0x5d}, kDivide{Map::m0f, Prefix::none, false, 0x5e}, kMaximum{Map::m0f, Prefix::none, false, 0x5f};
constexpr Form kSquareRoot{Map::m0f, Prefix::none, false, 0x51}, kRound{Map::m0f3a, Prefix::p66, false, 0x08};
// By the order of operands: dst = dst·third + second, dst = second·third + dst.
constexpr Form kMultiplyAdd132{Map::m0f38, Prefix::p66, false, 0x98}, kMultiplyAdd231{Map::m0f38, Prefix::p66, false, 0xb8};
constexpr Form kAndNot{Map::m0f, Prefix::p66, false, 0xdf}, kOr{Map::m0f, Prefix::p66, false, 0xeb}, kXor{Map::m0f, Prefix::p66, false, 0xef};
constexpr Form kCompare{Map::m0f, Prefix::none, false, 0xc2}, kCompareIntegers{Map::m0f3a, Prefix::p66, false, 0x1f};
constexpr Form kTest{Map::m0f38, Prefix::p66, false, 0x27}, kTestNone{Map::m0f38, Prefix::pf3, false, 0x27}, kBlend{Map::m0f38, Prefix::p66, false, 0x65};
constexpr Form kBroadcast{Map::m0f38, Prefix::p66, false, 0x18}, kAlign{Map::m0f3a, Prefix::p66, false, 0x03};
constexpr Form kWidenBytes{Map::m0f38, Prefix::p66, false, 0x31}, kWidenHalves{Map::m0f38, Prefix::p66, false, 0x33}, kShiftLeft{Map::m0f, Prefix::p66, false, 0x72};
constexpr Form kToFloats{Map::m0f, Prefix::none, false, 0x5b};
constexpr Form kOfBits{Map::m0f3a, Prefix::p66, false, 0x25}, kSubtractIntegers{Map::m0f, Prefix::p66, false, 0xfa};
constexpr Form kUpperHalf{Map::m0f3a, Prefix::p66, true, 0x1b}, kWidenFloats{Map::m0f, Prefix::none, false, 0x5a}, kMultiplyDoubles{Map::m0f, Prefix::p66, true, 0x59};
constexpr Form kAlignDoubles{Map::m0f3a, Prefix::p66, true, 0x03};
constexpr Form kToDouble{Map::m0f, Prefix::pf3, false, 0x5a, true}, kToFloat{Map::m0f, Prefix::pf2, true, 0x5a, true};
constexpr Form kLoadDouble{Map::m0f, Prefix::pf2, true, 0x10, true}, kStoreDouble{Map::m0f, Prefix::pf2, true, 0x11, true};
constexpr Form kMultiplyAddDouble132{Map::m0f38, Prefix::p66, true, 0x99, true};

}  // namespace forms

// What the frame and the table are reached by, the first step of the vector, how many steps it holds, and, where it holds fewer than sixteen, how far on in the powers
// it begins.
constexpr Gpr kFrame = Gpr::rdi, kTable = Gpr::rsi, kAt = Gpr::rcx, kCount = Gpr::rdx, kSkipped = Gpr::r8, kScratch = Gpr::rax, kStop = Gpr::r9, kBytes = Gpr::r10, kRows = Gpr::r11;
constexpr int kLanes = 1, kTruth = 2;  // mask registers: the lanes of a vector with fewer steps; of a condition
constexpr int kZero = 31, kOnes = 30, kSpare = 29, kOther = 28, kFree = 28;  // vectors; those below kFree are given out

inline Memory in_frame(size_t offset) { return {kFrame, static_cast<int32_t>(offset)}; }
inline Memory in_table(size_t offset) { return {kTable, static_cast<int32_t>(offset)}; }
inline Memory each(Memory memory) {
  memory.each = true;
  return memory;
}
inline Memory constant_at(int index) { return in_table(offsetof(ScanTable, constant) + sizeof(float) * static_cast<size_t>(index)); }
inline size_t powers_at(int index) { return offsetof(ScanTable, powers) + sizeof(ScanTable::Powers) * static_cast<size_t>(index); }

class VectorCode {
 protected:
  using Step = ScanSource::Step;
  using Kind = ScanSource::Kind;

  explicit VectorCode(const ScanSource& source) : source_(source) { find_lives(); }

  // One that is given out: fits_ says whether there was one.
  int take();
  void give_back(int zmm) { taken_[zmm] = false; }
  void release(int value);

  // What stands in memory once for all steps.
  bool stands(int value) const { return maker_[value]->kind == Kind::constant || (maker_[value]->kind == Kind::of_row && !source_.several); }
  Memory standing(int value) const {
    const Step& step = *maker_[value];
    return each(step.kind == Kind::constant ? constant_at(step.index) : in_frame(offsetof(ScanFrame, of_row) + sizeof(float) * step.index));
  }
  // A value of vector u as an instruction's last operand, and as any of them.
  Operand last(int value, int u) const { return stands(value) ? Operand(standing(value)) : Operand(place_[u][value]); }
  int in_register(int value, int u, int spare = kSpare);

  bool is_load(Kind kind) const { return (kind == Kind::of_row && source_.several) || kind == Kind::load_f32 || kind == Kind::load_bf16 || kind == Kind::load_i32 || kind == Kind::load_bytes; }
  Under lanes(bool zeroing = false) const { return {some_ ? kLanes : 0, some_ && zeroing}; }
  // Where the elements of vector u are, of the array with this pointer. It takes kScratch.
  Memory of_vector(int pointer, int u, int size);

  void load(const Step& step);
  void compute(const Step& step, int u);
  // Gathers in `odd` whether a value is finite: 0·x is a zero, or NaN.
  void watch(int odd, const int (&x)[kMostSideBySide]);

  const ScanSource& source_;
  Assembler code_;
  bool fits_ = true;
  int count_ = 1;      // of the vectors side by side; vector u is the u-th in the scan's direction
  bool some_ = false;  // it is one, with fewer steps
  int place_[kMostSideBySide][kMostSteps];  // of each value, or -1
  int dies_[kMostSteps];                    // the step behind which nobody reads a value
  const Step* maker_[kMostSteps];
  bool needed_[kMostSteps];                 // of each step

 private:
  void find_lives();
  void truth(int to);
  void commuting(const Assembler::Form& form, int to, const Step& step, int u);

  bool taken_[kFree] = {};
};

}  // namespace vantage::cpu
