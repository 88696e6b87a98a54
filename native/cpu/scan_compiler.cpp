#include "scan_compiler.h"

#include <cstring>

#include "machine_code.h"
#include "vector_code.h"

namespace vantage::cpu {
namespace {

using namespace forms;

class ScanCompiler : private VectorCode {
 public:
  ScanCompiler(const ScanSource& source, bool past_caches, int side_by_side) : VectorCode(source), past_caches_(past_caches), most_(side_by_side) {}

  // Empty where registers do not suffice.
  std::vector<uint8_t> compile() {
    begin();
    if (source_.several) rows();
    else if (source_.reverse) backward(1, most_);
    else forward(1, most_);
    end();
    return fits_ ? code_.bytes() : std::vector<uint8_t>();
  }

 private:
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
    for_scans([&](const Step& step) {
      if (composes(step) && one_ < 0) {
        one_ = take();
        code_.vector(kToFloats, one_, 0, kOnes);
      }
      for (int u = 0; u < (source_.several ? most_ : 1); ++u) carry_[step.index][u] = take();
      if (source_.several) return;
      const int carry = carry_[step.index][0];
      code_.vector(kLoadDouble, carry, 0, in_frame(state_at(step.index)));
      if (shifts(step)) spread_state(carry, carry);
    });
    code_.load(kStop, in_frame(offsetof(ScanFrame, n)));
  }

  void end() {
    for (int k = 0; k <= source_.watched; ++k) {
      code_.vector(kShiftLeft, 6, kSpare, odd_[k], uint8_t{1});  // the sign of a zero says nothing
      code_.vector(kTest, kTruth, kSpare, kSpare);
      code_.store_mask(in_frame(offsetof(ScanFrame, odd) + sizeof(uint16_t) * static_cast<size_t>(k)), kTruth);
    }
    for (int i = 0; i < source_.steps && !source_.several; ++i) {
      const Step& step = source_.step[i];
      if (step.kind != Kind::scan) continue;
      int state = carry_[step.twin >= 0 ? step.twin : step.index][0];
      if (shifts(step)) code_.vector(kToDouble, kSpare, state, state), state = kSpare;
      code_.vector(kStoreDouble, state, 0, in_frame(state_at(step.index)));
    }
    code_.clear_upper();
    code_.ret();
  }

  // Each state once.
  template <class Visit>
  void for_scans(const Visit& visit) {
    for (int i = 0; i < source_.steps; ++i) {
      if (source_.step[i].kind == Kind::scan && source_.step[i].twin < 0) visit(source_.step[i]);
    }
  }

  // Rows below one another, some at a time, and those that are left one by one.
  void rows() {
    code_.load(kRows, in_frame(offsetof(ScanFrame, rows)));
    for (int count = most_; count >= 1; count -= most_ > 1 ? most_ - 1 : 1) {
      const size_t loop = code_.here();
      code_.compare_with(kRows, count);
      const Assembler::Jump fewer = code_.jump(Assembler::When::less);
      for_scans([&](const Step& step) {
        for (int u = 0; u < count; ++u) begin_row(step, u);
      });
      source_.reverse ? backward(count, count) : forward(count, count);
      for (int k = 0; k < source_.pointers; ++k) {
        code_.load(kBytes, in_frame(offsetof(ScanFrame, row_bytes) + sizeof(int64_t) * static_cast<size_t>(k)));
        if (count > 1) code_.shift_left(kBytes, count == 4 ? 2 : 1);
        for (int u = 0; u < most_; ++u) code_.add_to(in_frame(offsetof(ScanFrame, pointer) + sizeof(char*) * static_cast<size_t>(k * kMostSideBySide + u)), kBytes);
      }
      code_.add(kRows, -count);
      code_.jump_to(loop);
      code_.land(fewer);
    }
  }
  void begin_row(const Step& step, int u) {
    Memory first = in_table(offsetof(ScanTable, initial) + sizeof(float) * step.index);
    if (step.first >= 0) {
      code_.load(kScratch, in_frame(offsetof(ScanFrame, pointer) + sizeof(char*) * static_cast<size_t>(step.first * kMostSideBySide + u)));
      first = Memory{kScratch};
    }
    const int carry = carry_[step.index][u];
    if (shifts(step)) code_.vector(kBroadcast, carry, 0, first);
    else code_.vector(kToDouble, carry, kZero, first);
  }

  // What is no whole vector comes first: the others then begin where vectors do in memory, if the stretch does. Then `few` at a time, until `most` go side by side.
  void backward(int few, int most) {
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
    steps(few, true);
    code_.land(whole);
    code_.move(kCount, kStepsOfVector);
    code_.move(kSkipped, 0);
    const int along = source_.several ? 1 : most;  // vectors of a row that go side by side
    if (along > 1) {
      loop_until_zero(along * kStepsOfVector - 1, 1, [&] { steps(1, false); });
    }
    loop_until_zero(-1, along, [&] { steps(most, false); });
  }
  // Until what is left has none of these bits; so many vectors at a time.
  template <class Body>
  void loop_until_zero(int32_t bits, int vectors, const Body& body) {
    const size_t loop = code_.here();
    code_.move(kScratch, kAt);
    code_.and_(kScratch, bits);
    const Assembler::Jump done = code_.jump(Assembler::When::zero);
    code_.add(kAt, -vectors * kStepsOfVector);
    body();
    code_.jump_to(loop);
    code_.land(done);
  }

  void forward(int few, int most) {
    code_.move(kAt, 0);
    code_.move(kCount, kStepsOfVector);
    const int along = source_.several ? 1 : most;
    if (along > 1) loop_while_whole(along, [&] { steps(most, false); });
    loop_while_whole(1, [&] { steps(few, false); });
    code_.move(kCount, kStop);
    code_.subtract(kCount, kAt);
    const Assembler::Jump done = code_.jump(Assembler::When::zero);
    find_lanes();
    steps(few, true);
    code_.land(done);
  }
  template <class Body>
  void loop_while_whole(int vectors, const Body& body) {
    const size_t loop = code_.here();
    code_.move(kScratch, kAt);
    code_.add(kScratch, vectors * kStepsOfVector);
    code_.compare(kScratch, kStop);
    const Assembler::Jump rest = code_.jump(Assembler::When::greater);
    body();
    code_.add(kAt, vectors * kStepsOfVector);
    code_.jump_to(loop);
    code_.land(rest);
  }

  void find_lanes() {
    code_.move(kScratch, 0xffff);
    code_.low_bits(kScratch, kScratch, kCount);
    code_.mask_of(kLanes, kScratch);
  }

  // Some vectors side by side, or one with fewer steps.
  void steps(int count, bool some) {
    count_ = count;
    some_ = some;
    for (int i = 0; i < source_.steps; ++i) {
      const Step& step = source_.step[i];
      if (!needed_[i]) continue;
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

  void store(const ScanSource::Store& store) {
    int value[kMostSideBySide];
    for (int u = 0; u < count_; ++u) value[u] = in_register(store.value, u);
    if (store.watched >= 0 && !is_state(store.value)) watch(odd_[1 + store.watched], value);
    const bool past = past_caches_ && store.stream && !some_;
    for (int u = 0; u < count_; ++u) code_.vector(past ? kStream : kStore, value[u], 0, of_vector(store.pointer, u, 4), lanes());
  }

  // States are looked at where they are computed.
  bool is_state(int value) const { return maker_[value]->kind == Kind::scan && !maker_[value]->previous && !shifts(*maker_[value]); }

  // A state that is its term alone, and one whose steps have factors of their own.
  static bool shifts(const Step& step) { return step.forgets && step.mask < 0; }
  bool composes(const Step& step) const { return !shifts(step) && (step.a >= 0 || step.mask >= 0); }


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
    if (shifts(step)) shift(step, after, before);
    else affine(step, after, before);
  }

  // What comes in to vector u: of several rows each has its own.
  int carry_of(const Step& step, int u) const { return carry_[step.index][source_.several ? u : 0]; }

  // Each state is its term.
  void shift(const Step& step, const Step* after, const Step* before) {
    int entering = carry_of(step, 0);
    for (int u = 0; u < count_; ++u) {
      const int state = in_register(step.b, u);
      if (before) put_before(place_[u][before->dst] = take(), source_.several ? carry_of(step, u) : entering, state);
      if (after) code_.vector(kCopy, place_[u][after->dst] = take(), 0, state);
      entering = state;
      if (!source_.single && (source_.several || u + 1 == count_)) leave(step, carry_of(step, u), state);
    }
  }
  // The last state, to all lanes.
  void leave(const Step& step, int carry, int state) {
    if (source_.reverse) return code_.vector(kBroadcast, carry, 0, state);
    code_.vector(kStore, state, 0, in_frame(last_at(step.index)));
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
    const bool constant = !composes(step);
    int state[kMostSideBySide], spare[kMostSideBySide], sum[kMostSideBySide], factor[kMostSideBySide], whole[kMostSideBySide];
    for (int u = 0; u < count_; ++u) {
      state[u] = take(), spare[u] = take();
      sum[u] = in_register(step.b, u, spare[u]);
      if (!constant) {
        factor[u] = take(), whole[u] = take();
        find_map(step, u, factor[u], spare[u]);
        sum[u] = spare[u];
        if (!source_.single) multiply_out(whole[u], factor[u]);
      } else if (some_) {
        code_.vector(kCopy, spare[u], 0, sum[u], lanes(true)), sum[u] = spare[u];
      }
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
    for (int u = 0; u < count_; ++u) {
      const int carry = carry_of(step, u);
      spread_state(state[u], carry);
      if (before) code_.vector(kCopy, place_[u][before->dst] = take(), 0, state[u]);
      code_.vector(kMultiplyAdd132, state[u], sum[u], constant ? Operand(carried) : Operand(factor[u]));
      if (source_.single) continue;
      if (source_.reverse) {
        code_.vector(kToDouble, kSpare, sum[u], sum[u]);
      } else {
        code_.vector(kStore, sum[u], 0, in_frame(last_at(step.index)));
        code_.vector(kToDouble, kSpare, sum[u], last_of(step));
      }
      const Memory over = in_table(powers + offsetof(ScanTable::Powers, over)).at(kCount, sizeof(double));
      code_.vector(kMultiplyAddDouble132, carry, kSpare, constant ? Operand(over) : Operand(whole[u]));
    }
    watch(odd_[0], state);
    for (int u = 0; u < count_; ++u) {
      if (before) put_before(place_[u][before->dst], place_[u][before->dst], state[u]);
      if (after) place_[u][after->dst] = state[u];
      else give_back(state[u]);
      give_back(spare[u]);
      if (!constant) give_back(factor[u]), give_back(whole[u]);
    }
  }

  // The factor and the term of each step: 1 and 0 where it is masked, or behind the last one.
  void find_map(const Step& step, int u, int factor, int term) {
    code_.vector(kCopy, term, 0, in_register(step.b, u, term));
    if (step.a >= 0) code_.vector(kCopy, factor, 0, in_register(step.a, u, factor));
    else code_.vector(kBroadcast, factor, 0, in_table(powers_at(step.index) + offsetof(ScanTable::Powers, rounds)));
    if (step.mask >= 0) {
      const int mask = in_register(step.mask, u);
      code_.vector(kTest, kTruth, mask, mask);
      code_.vector(kBlend, factor, one_, factor, Under{kTruth});
      code_.vector(kCopy, term, 0, term, Under{kTruth, true});
    }
    if (!some_) return;
    code_.vector(kBlend, factor, one_, factor, Under{kLanes});
    code_.vector(kCopy, term, 0, term, Under{kLanes, true});
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

  const bool past_caches_;
  const int most_;
  int odd_[1 + kMostWatched], carry_[kMostScans][kMostSideBySide], one_ = -1;
};

std::vector<uint8_t> compile(const ScanSource& source, bool past_caches) {
  for (int side_by_side = kMostSideBySide; side_by_side >= 1; side_by_side /= 2) {
    std::vector<uint8_t> bytes = ScanCompiler(source, past_caches, side_by_side).compile();
    if (!bytes.empty()) return bytes;
  }
  return {};
}

}  // namespace

ScanFunction::~ScanFunction() { delete static_cast<std::shared_ptr<const MachineCode>*>(code_); }

bool ScanFunction::make(const ScanSource& source, bool past_caches) {
  if (!compiles_programs()) return false;
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
