#include "scan_compiler.h"

#include <cstddef>
#include <cstring>

#include "assembler.h"
#include "machine_code.h"

namespace vantage::cpu {
namespace {

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

// What the frame and the table are reached by, the first step of the vector, how many steps it holds, and, where it holds fewer than sixteen, how far on in the powers
// it begins.
constexpr Gpr kFrame = Gpr::rdi, kTable = Gpr::rsi, kAt = Gpr::rcx, kCount = Gpr::rdx, kSkipped = Gpr::r8, kScratch = Gpr::rax, kStop = Gpr::r9;
constexpr int kLanes = 1, kTruth = 2;  // mask registers: the lanes of a vector with fewer steps; of a condition
constexpr int kZero = 31, kOnes = 30, kSpare = 29, kOther = 28, kFree = 28;  // vectors; those below kFree are given out

constexpr int kAhead = 1024;  // bytes of each array that are asked for ahead of their use

Memory in_frame(size_t offset) { return {kFrame, static_cast<int32_t>(offset)}; }
Memory in_table(size_t offset) { return {kTable, static_cast<int32_t>(offset)}; }
Memory each(Memory memory) {
  memory.each = true;
  return memory;
}
Memory constant_at(int index) { return in_table(offsetof(ScanTable, constant) + sizeof(float) * static_cast<size_t>(index)); }
size_t powers_at(int index) { return offsetof(ScanTable, powers) + sizeof(ScanTable::Powers) * static_cast<size_t>(index); }

// Vectors that pass through a loop side by side, step by step: each waits for its own results meanwhile.
constexpr int kMostSideBySide = 4;

class ScanCompiler {
 public:
  ScanCompiler(const ScanSource& source, bool past_caches, int side_by_side) : source_(source), past_caches_(past_caches), most_(side_by_side) {}

  // Empty where registers do not suffice.
  std::vector<uint8_t> compile() {
    find_lives();
    begin();
    source_.reverse ? backward() : forward();
    end();
    return fits_ ? code_.bytes() : std::vector<uint8_t>();
  }

 private:
  using Step = ScanSource::Step;
  using Kind = ScanSource::Kind;

  // ---- Registers ----------------------------------------------------------------------------------------------------------------------

  int take() {
    for (int zmm = 0; zmm < kFree; ++zmm) {
      if (taken_[zmm]) continue;
      taken_[zmm] = true;
      return zmm;
    }
    fits_ = false;
    return 0;
  }
  void give_back(int zmm) { taken_[zmm] = false; }

  void find_lives() {
    for (int v = 0; v < source_.values; ++v) {
      dies_[v] = -1;
      maker_[v] = nullptr;
      for (int u = 0; u < kMostSideBySide; ++u) place_[u][v] = -1;
    }
    for (int i = 0; i < source_.steps; ++i) {
      const Step& step = source_.step[i];
      maker_[step.dst] = &step;
      dies_[step.dst] = i;
      for (int value : {step.a, step.b, step.c}) {
        if (value >= 0) dies_[value] = i;
      }
    }
    for (int k = 0; k < source_.stores; ++k) dies_[source_.store[k].value] = source_.steps;
  }

  // What stands in memory once for all steps.
  bool stands(int value) const { return maker_[value]->kind == Kind::constant || maker_[value]->kind == Kind::of_row; }
  Memory standing(int value) const {
    const Step& step = *maker_[value];
    return each(step.kind == Kind::constant ? constant_at(step.index) : in_frame(offsetof(ScanFrame, of_row) + sizeof(float) * step.index));
  }
  // A value of vector u as an instruction's last operand, and as any of them.
  Operand last(int value, int u) const { return stands(value) ? Operand(standing(value)) : Operand(place_[u][value]); }
  int in_register(int value, int u, int spare = kSpare) {
    if (!stands(value)) return place_[u][value];
    Memory one = standing(value);
    one.each = false;
    code_.vector(kBroadcast, spare, 0, one);
    return spare;
  }

  // ---- The function -----------------------------------------------------------------------------------------------------------------

  void begin() {
    code_.load(kTable, in_frame(offsetof(ScanFrame, table)));
    code_.vector(kXor, kZero, kZero, kZero);
    code_.vector(kOfBits, kOnes, kOnes, kOnes, uint8_t{0xff});
    code_.vector(kSubtractIntegers, kOnes, kZero, kOnes);  // 0 less −1
    for (int k = 0; k <= source_.watched; ++k) {
      odd_[k] = take();
      code_.vector(kXor, odd_[k], odd_[k], odd_[k]);
    }
    for (int i = 0; i < source_.steps; ++i) {
      const Step& step = source_.step[i];
      if (step.kind != Kind::scan || step.twin >= 0) continue;
      if (step.a >= 0 && one_ < 0) {
        one_ = take();
        code_.vector(kToFloats, one_, 0, kOnes);
      }
      const int carry = carry_[step.index] = take();
      code_.vector(kLoadDouble, carry, 0, in_frame(state_at(step.index)));
      if (step.forgets) spread_state(carry, carry);
    }
    code_.load(kStop, in_frame(offsetof(ScanFrame, n)));
  }

  void end() {
    for (int k = 0; k <= source_.watched; ++k) {
      code_.vector(kShiftLeft, 6, kSpare, odd_[k], uint8_t{1});  // the sign of a zero says nothing
      code_.vector(kTest, kTruth, kSpare, kSpare);
      code_.store_mask(in_frame(offsetof(ScanFrame, odd) + sizeof(uint16_t) * static_cast<size_t>(k)), kTruth);
    }
    for (int i = 0; i < source_.steps; ++i) {
      const Step& step = source_.step[i];
      if (step.kind != Kind::scan) continue;
      int state = carry_[step.twin >= 0 ? step.twin : step.index];
      if (step.forgets) code_.vector(kToDouble, kSpare, state, state), state = kSpare;
      code_.vector(kStoreDouble, state, 0, in_frame(state_at(step.index)));
    }
    code_.clear_upper();
    code_.ret();
  }

  // What is no whole vector comes first: the others then begin where vectors do in memory, if the stretch does. Then vectors one by one, until the others go side by side.
  void backward() {
    code_.move(kAt, kStop);
    code_.move(kCount, kStop);
    code_.and_(kCount, kStepsOfVector - 1);
    const Assembler::Jump whole = code_.jump(Assembler::When::zero);
    code_.subtract(kAt, kCount);
    find_lanes();
    code_.move(kSkipped, kCount);
    code_.negate(kSkipped);
    code_.add(kSkipped, kStepsOfVector);
    code_.shift_left(kSkipped, 2);
    steps(1, true);
    code_.land(whole);
    code_.move(kCount, kStepsOfVector);
    code_.move(kSkipped, 0);
    for (int count = 1; count <= most_; count += most_ > 1 ? most_ - 1 : 1) {
      const bool until = count < most_;
      const size_t loop = code_.here();
      if (until) {
        code_.move(kScratch, kAt);
        code_.and_(kScratch, most_ * kStepsOfVector - 1);
      } else {
        code_.compare_with(kAt, 0);
      }
      const Assembler::Jump done = code_.jump(Assembler::When::zero);
      code_.add(kAt, -count * kStepsOfVector);
      steps(count, false);
      code_.jump_to(loop);
      code_.land(done);
    }
  }

  void forward() {
    code_.move(kAt, 0);
    code_.move(kCount, kStepsOfVector);
    for (int count = most_; count >= 1; count -= most_ > 1 ? most_ - 1 : 1) {
      const size_t loop = code_.here();
      code_.move(kScratch, kAt);
      code_.add(kScratch, count * kStepsOfVector);
      code_.compare(kScratch, kStop);
      const Assembler::Jump rest = code_.jump(Assembler::When::greater);
      steps(count, false);
      code_.add(kAt, count * kStepsOfVector);
      code_.jump_to(loop);
      code_.land(rest);
    }
    code_.move(kCount, kStop);
    code_.subtract(kCount, kAt);
    const Assembler::Jump done = code_.jump(Assembler::When::zero);
    find_lanes();
    steps(1, true);
    code_.land(done);
  }

  void find_lanes() {
    code_.move(kScratch, 0xffff);
    code_.low_bits(kScratch, kScratch, kCount);
    code_.mask_of(kLanes, kScratch);
  }

  // ---- Steps of some vectors ----------------------------------------------------------------------------------------------------------

  // Vector u is the u-th in the scan's direction. `some`: it is one, with fewer steps.
  void steps(int count, bool some) {
    count_ = count;
    some_ = some;
    for (int i = 0; i < source_.steps; ++i) {
      const Step& step = source_.step[i];
      if (step.kind == Kind::scan) scan(step);
      else if (is_load(step.kind)) load(step);
      else if (step.kind == Kind::convert || step.kind == Kind::compute)
        for (int u = 0; u < count; ++u) compute(step, u);
      for (int v = 0; v < source_.values; ++v) {
        if (dies_[v] == i) release(v);
      }
    }
    for (int k = 0; k < source_.stores; ++k) store(source_.store[k]);
    for (int v = 0; v < source_.values; ++v) release(v);
  }

  void release(int value) {
    for (int u = 0; u < kMostSideBySide; ++u) {
      if (place_[u][value] >= 0) give_back(place_[u][value]);
      place_[u][value] = -1;
    }
  }

  static bool is_load(Kind kind) { return kind == Kind::load_f32 || kind == Kind::load_bf16 || kind == Kind::load_i32 || kind == Kind::load_bytes; }
  Under lanes(bool zeroing = false) const { return {some_ ? kLanes : 0, some_ && zeroing}; }

  // Where the elements of vector u are, of an array whose address is in kScratch.
  Memory of_vector(int u, int size) const {
    Memory from = Memory{kScratch}.at(kAt, size);
    from.displacement = (source_.reverse ? count_ - 1 - u : u) * kStepsOfVector * size;
    return from;
  }

  void load(const Step& step) {
    code_.load(kScratch, in_frame(offsetof(ScanFrame, pointer) + sizeof(char*) * step.index));
    const int size = step.kind == Kind::load_bytes ? 1 : step.kind == Kind::load_bf16 ? 2 : 4;
    for (int u = 0; u < count_; ++u) {
      const Memory from = of_vector(u, size);
      Memory ahead = from;
      ahead.displacement += (source_.reverse ? -kAhead : kAhead) / 4 * size;
      // A line holds so many vectors.
      if (u % (4 / size) == 0) code_.prefetch(ahead);
      const int to = place_[u][step.dst] = take();
      code_.vector(size == 1 ? kWidenBytes : size == 2 ? kWidenHalves : kLoad, to, 0, from, lanes(true));
      if (size == 2) code_.vector(kShiftLeft, 6, to, to, uint8_t{16});
    }
  }

  void store(const ScanSource::Store& store) {
    if (store.watched >= 0 && !is_state(store.value)) watch(odd_[1 + store.watched], store.value);
    code_.load(kScratch, in_frame(offsetof(ScanFrame, pointer) + sizeof(char*) * store.pointer));
    const bool past = past_caches_ && store.stream && !some_;
    for (int u = 0; u < count_; ++u) code_.vector(past ? kStream : kStore, in_register(store.value, u), 0, of_vector(u, 4), lanes());
  }

  // States are looked at where they are computed.
  bool is_state(int value) const { return maker_[value]->kind == Kind::scan && !maker_[value]->previous && !maker_[value]->forgets; }

  // 0·x is a zero, or NaN.
  void watch(int odd, int value) {
    for (int u = 0; u < count_; ++u) {
      const int x = in_register(value, u);
      u == 0 ? code_.vector(kMultiply, kOther, x, kZero) : code_.vector(kMultiplyAdd231, kOther, x, kZero);
    }
    code_.vector(kOr, odd, odd, kOther, lanes());
  }

  void truth(int to) { code_.vector(kCopyIntegers, to, 0, kOnes, Under{kTruth, true}); }

  void compute(const Step& step, int u) {
    const int to = take();
    const auto reg = [&](int value) { return in_register(value, u); };
    const auto any = [&](int value) { return last(value, u); };
    if (step.kind == Kind::convert) {
      code_.vector(kToFloats, to, 0, reg(step.a));
      place_[u][step.dst] = to;
      return;
    }
    const Op op = static_cast<Op>(step.op);
    switch (op) {
      case Op::add: commuting(kAdd, to, step, u); break;
      case Op::mul: commuting(kMultiply, to, step, u); break;
      case Op::sub: code_.vector(kSubtract, to, reg(step.a), any(step.b)); break;
      case Op::div: code_.vector(kDivide, to, reg(step.a), any(step.b)); break;
      case Op::maximum:
      case Op::minimum: {
        // The instruction gives its last operand where one of them is NaN; ours the one that is.
        const int a = reg(step.a);
        code_.vector(kCompare, kTruth, a, a, kUnordered);
        code_.vector(op == Op::maximum ? kMaximum : kMinimum, to, a, any(step.b));
        code_.vector(kCopy, to, 0, a, Under{kTruth});
        break;
      }
      case Op::neg:
      case Op::abs:
        code_.vector(kShiftLeft, 6, kOther, kOnes, uint8_t{31});  // the sign
        code_.vector(op == Op::neg ? kXor : kAndNot, to, kOther, any(step.a));
        break;
      case Op::square: {
        const int a = reg(step.a);
        code_.vector(kMultiply, to, a, a);
        break;
      }
      case Op::sqrt: code_.vector(kSquareRoot, to, 0, any(step.a)); break;
      case Op::floor: code_.vector(kRound, to, 0, any(step.a), uint8_t{9}); break;
      case Op::ceil: code_.vector(kRound, to, 0, any(step.a), uint8_t{10}); break;
      case Op::round: code_.vector(kRound, to, 0, any(step.a), uint8_t{8}); break;
      case Op::fma: {
        const int a = reg(step.a);
        stands(step.c) ? void(in_register(step.c, u, to)) : code_.vector(kCopy, to, 0, place_[u][step.c]);
        code_.vector(kMultiplyAdd231, to, a, any(step.b));
        break;
      }
      case Op::where: {
        const int condition = reg(step.a);
        code_.vector(kTest, kTruth, condition, condition);
        code_.vector(kBlend, to, reg(step.c), any(step.b), Under{kTruth});
        break;
      }
      case Op::and_: {
        const int a = reg(step.a);
        code_.vector(kTest, kTruth, a, a);
        const int b = reg(step.b);
        code_.vector(kTest, kTruth, b, b, Under{kTruth});
        truth(to);
        break;
      }
      case Op::or_:
        code_.vector(kOr, to, reg(step.a), any(step.b));
        code_.vector(kTest, kTruth, to, to);
        truth(to);
        break;
      case Op::not_: {
        const int a = reg(step.a);
        code_.vector(kTestNone, kTruth, a, a);
        truth(to);
        break;
      }
      default: {
        const int a = reg(step.a);
        if (op == Op::isfinite) {
          code_.vector(kMultiply, kOther, a, kZero);
          code_.vector(kCompare, kTruth, kOther, kOther, kOrdered);
        } else if (op == Op::isnan) {
          code_.vector(kCompare, kTruth, a, a, kUnordered);
        } else {
          code_.vector(step.integers ? kCompareIntegers : kCompare, kTruth, a, any(step.b), comparison(op, step.integers));
        }
        truth(to);
      }
    }
    place_[u][step.dst] = to;
  }

  static constexpr uint8_t kUnordered = 3, kOrdered = 7;
  // Quiet where operands are NaN; only "not equal" holds then.
  static uint8_t comparison(Op op, bool integers) {
    switch (op) {
      case Op::eq: return 0;
      case Op::ne: return 4;
      case Op::lt: return integers ? 1 : 0x11;
      case Op::le: return integers ? 2 : 0x12;
      case Op::gt: return integers ? 6 : 0x1e;
      default: return integers ? 5 : 0x1d;
    }
  }

  void commuting(const Form& form, int to, const Step& step, int u) {
    const bool swap = stands(step.a);
    const int first = in_register(swap ? step.b : step.a, u);
    code_.vector(form, to, first, last(swap ? step.a : step.b, u));
  }

  // ---- Scans --------------------------------------------------------------------------------------------------------------------------

  static size_t state_at(int index) { return offsetof(ScanFrame, state) + sizeof(double) * static_cast<size_t>(index); }
  static size_t last_at(int index) { return offsetof(ScanFrame, last) + 64 * static_cast<size_t>(index); }

  void spread_state(int to, int from) {
    code_.vector(kToFloat, to, from, from);
    code_.vector(kBroadcast, to, 0, to);
  }

  // s, and what it was in front of each step, as they are asked for: by this step and by its twin.
  void scan(const Step& step) {
    if (place_[0][step.dst] >= 0) return;  // its twin came before it
    const Step* other = nullptr;
    for (int i = 0; i < source_.steps; ++i) {
      if (source_.step[i].kind == Kind::scan && source_.step[i].twin == step.index) other = &source_.step[i];
    }
    const Step *after = step.previous ? other : &step, *before = step.previous ? &step : other;
    if (step.forgets) forget(step, after, before);
    else affine(step, after, before);
  }

  // Each state is its term.
  void forget(const Step& step, const Step* after, const Step* before) {
    const int carry = carry_[step.index];
    int entering = carry;
    for (int u = 0; u < count_; ++u) {
      const int state = in_register(step.b, u);
      if (before) put_before(place_[u][before->dst] = take(), entering, state);
      if (after) code_.vector(kCopy, place_[u][after->dst] = take(), 0, state);
      entering = state;
    }
    if (source_.reverse) return code_.vector(kBroadcast, carry, 0, entering);
    code_.vector(kStore, entering, 0, in_frame(last_at(step.index)));
    code_.vector(kBroadcast, carry, 0, last_of(step));
  }
  // What was in front of each of a vector's states; `entering` holds what was in front of the first, in the lane that is next to it.
  void put_before(int to, int entering, int state) {
    if (source_.reverse && some_) code_.vector(kBlend, kOther, entering, state, Under{kLanes}), state = kOther;
    if (source_.reverse) code_.vector(kAlign, to, entering, state, uint8_t{1});
    else code_.vector(kAlign, to, state, entering, uint8_t{kStepsOfVector - 1});
  }
  // The last state of a vector that stands in the frame.
  Memory last_of(const Step& step) const { return in_frame(last_at(step.index) - sizeof(float)).at(kCount, sizeof(float)); }

  // Steps are composed in four rounds; what comes in to them is carried in double from vector to vector.
  void affine(const Step& step, const Step* after, const Step* before) {
    const size_t powers = powers_at(step.index);
    const bool constant = step.a < 0;
    int state[kMostSideBySide], spare[kMostSideBySide], sum[kMostSideBySide], factor[kMostSideBySide], whole[kMostSideBySide];
    for (int u = 0; u < count_; ++u) {
      state[u] = take(), spare[u] = take();
      sum[u] = in_register(step.b, u, spare[u]);
      if (some_) code_.vector(kCopy, spare[u], 0, sum[u], lanes(true)), sum[u] = spare[u];
      if (constant) continue;
      factor[u] = take(), whole[u] = take();
      const int given = in_register(step.a, u);
      some_ ? code_.vector(kBlend, factor[u], one_, given, Under{kLanes}) : code_.vector(kCopy, factor[u], 0, given);
      multiply_out(whole[u], factor[u]);
    }
    for (int round = 0; round < 4; ++round) {
      const int distance = 1 << round;
      const Memory power = each(in_table(powers + offsetof(ScanTable::Powers, rounds) + sizeof(float) * static_cast<size_t>(round)));
      for (int u = 0; u < count_; ++u) {
        const int next = round % 2 == 0 ? state[u] : spare[u];
        beside(next, sum[u], kZero, distance);
        code_.vector(kMultiplyAdd132, next, sum[u], constant ? Operand(power) : Operand(factor[u]));
        sum[u] = next;
        if (constant) continue;
        beside(kSpare, factor[u], one_, distance);
        code_.vector(kMultiply, factor[u], factor[u], kSpare);
      }
    }
    Memory carried = in_table(powers + offsetof(ScanTable::Powers, carried));
    if (source_.reverse) carried = carried.at(kSkipped, 1);
    const int carry = carry_[step.index];
    for (int u = 0; u < count_; ++u) {
      spread_state(state[u], carry);
      if (before) code_.vector(kCopy, place_[u][before->dst] = take(), 0, state[u]);
      code_.vector(kMultiplyAdd132, state[u], sum[u], constant ? Operand(carried) : Operand(factor[u]));
      if (source_.reverse) {
        code_.vector(kToDouble, kSpare, sum[u], sum[u]);
      } else {
        code_.vector(kStore, sum[u], 0, in_frame(last_at(step.index)));
        code_.vector(kToDouble, kSpare, sum[u], last_of(step));
      }
      const Memory over = in_table(powers + offsetof(ScanTable::Powers, over)).at(kCount, sizeof(double));
      code_.vector(kMultiplyAddDouble132, carry, kSpare, constant ? Operand(over) : Operand(whole[u]));
    }
    for (int u = 0; u < count_; ++u) {
      u == 0 ? code_.vector(kMultiply, kOther, state[u], kZero) : code_.vector(kMultiplyAdd231, kOther, state[u], kZero);
    }
    code_.vector(kOr, odd_[0], odd_[0], kOther, lanes());
    for (int u = 0; u < count_; ++u) {
      if (before) put_before(place_[u][before->dst], place_[u][before->dst], state[u]);
      if (after) place_[u][after->dst] = state[u];
      else give_back(state[u]);
      give_back(spare[u]);
      if (!constant) give_back(factor[u]), give_back(whole[u]);
    }
  }

  // Each lane gets what comes so many steps before it; `outside` where there is none.
  void beside(int to, int from, int outside, int distance) {
    if (source_.reverse) code_.vector(kAlign, to, outside, from, static_cast<uint8_t>(distance));
    else code_.vector(kAlign, to, from, outside, static_cast<uint8_t>(kStepsOfVector - distance));
  }

  // The product of sixteen floats, in double: rounded products would grow apart from run to run where factors are close to 1.
  void multiply_out(int to, int from) {
    code_.vector(kUpperHalf, from, 0, kOther, uint8_t{1});
    code_.vector(kWidenFloats, kOther, 0, kOther);
    code_.vector(kWidenFloats, to, 0, from);
    for (int half = 0; half < 3; ++half) {
      code_.vector(kMultiplyDoubles, to, to, kOther);
      code_.vector(kAlignDoubles, kOther, to, to, static_cast<uint8_t>(4 >> half));
    }
    code_.vector(kMultiplyDoubles, to, to, kOther);
  }

  const ScanSource& source_;
  const bool past_caches_;
  const int most_;
  Assembler code_;
  bool fits_ = true, some_ = false;
  int count_ = 1;
  bool taken_[kFree] = {};
  int place_[kMostSideBySide][kMostSteps], dies_[kMostSteps];
  const Step* maker_[kMostSteps];
  int odd_[1 + kMostWatched], carry_[kMostScans], one_ = -1;
};

std::vector<uint8_t> compile(const ScanSource& source, bool past_caches) {
  for (int side_by_side = kMostSideBySide; side_by_side >= 1; side_by_side /= 2) {
    std::vector<uint8_t> bytes = ScanCompiler(source, past_caches, side_by_side).compile();
    if (!bytes.empty()) return bytes;
  }
  return {};
}

}  // namespace

bool compiles_scans() { return compiles_programs(); }

ScanFunction::~ScanFunction() { delete static_cast<std::shared_ptr<const MachineCode>*>(code_); }

bool ScanFunction::make(const ScanSource& source, bool past_caches) {
  const auto bytes = [](const void* from, size_t size) { return std::string(static_cast<const char*>(from), size); };
  const std::string key = bytes(&source, offsetof(ScanSource, step)) + bytes(source.step, sizeof source.step[0] * static_cast<size_t>(source.steps)) +
                          bytes(source.store, sizeof source.store[0] * static_cast<size_t>(source.stores)) + (past_caches ? 's' : 'u');
  std::shared_ptr<const MachineCode> code = compiled(key, [&] { return compile(source, past_caches); });
  if (!code) return false;
  void* const entry = code->entry();
  std::memcpy(&entry_, &entry, sizeof entry);
  code_ = new std::shared_ptr<const MachineCode>(std::move(code));
  return true;
}

}  // namespace vantage::cpu
