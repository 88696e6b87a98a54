#include "vector_code.h"

namespace vantage::cpu {

using namespace forms;

namespace {

constexpr int kAhead = 1024;  // bytes of each array that are asked for ahead of their use

constexpr uint8_t kUnordered = 3, kOrdered = 7;
// Quiet where operands are NaN; only "not equal" holds then.
uint8_t comparison(Op op, bool integers) {
  switch (op) {
    case Op::eq: return 0;
    case Op::ne: return 4;
    case Op::lt: return integers ? 1 : 0x11;
    case Op::le: return integers ? 2 : 0x12;
    case Op::gt: return integers ? 6 : 0x1e;
    default: return integers ? 5 : 0x1d;
  }
}

}  // namespace

int VectorCode::take() {
  for (int zmm = 0; zmm < kFree; ++zmm) {
    if (taken_[zmm]) continue;
    taken_[zmm] = true;
    return zmm;
  }
  fits_ = false;
  return 0;
}
// What nobody reads is left out, with what is computed for it alone.
void VectorCode::find_lives() {
  for (int v = 0; v < source_.values; ++v) {
    dies_[v] = -1;
    maker_[v] = nullptr;
    for (int u = 0; u < kMostSideBySide; ++u) place_[u][v] = -1;
  }
  for (int k = 0; k < source_.stores; ++k) dies_[source_.store[k].value] = source_.steps;
  for (int i = source_.steps - 1; i >= 0; --i) {
    const Step& step = source_.step[i];
    maker_[step.dst] = &step;
    needed_[i] = step.kind == Kind::scan || dies_[step.dst] >= 0;
    if (!needed_[i]) continue;
    for (int value : {step.dst, step.a, step.b, step.c, step.mask}) {
      if (value >= 0 && dies_[value] < 0) dies_[value] = i;
    }
  }
}

void VectorCode::release(int value) {
  for (int u = 0; u < kMostSideBySide; ++u) {
    if (place_[u][value] >= 0) give_back(place_[u][value]);
    place_[u][value] = -1;
  }
}

int VectorCode::in_register(int value, int u, int spare) {
  if (!stands(value)) return place_[u][value];
  Memory one = standing(value);
  one.each = false;
  code_.vector(kBroadcast, spare, 0, one);
  return spare;
}

Memory VectorCode::of_vector(int pointer, int u, int size) {
  const int place = source_.several ? pointer * kMostSideBySide + u : pointer;
  if (u == 0 || source_.several) code_.load(kScratch, in_frame(offsetof(ScanFrame, pointer) + sizeof(char*) * static_cast<size_t>(place)));
  Memory from = Memory{kScratch}.at(kAt, size);
  if (!source_.several) from.displacement = (source_.reverse ? count_ - 1 - u : u) * kStepsOfVector * size;
  return from;
}

void VectorCode::load(const Step& step) {
  const int size = step.kind == Kind::load_bytes ? 1 : step.kind == Kind::load_bf16 ? 2 : 4;
  for (int u = 0; u < count_; ++u) {
    const Memory from = of_vector(step.index, u, size);
    const int to = place_[u][step.dst] = take();
    if (step.kind == Kind::of_row) {
      code_.vector(kBroadcast, to, 0, Memory{kScratch});
      continue;
    }
    Memory ahead = from;
    // Of several rows the next ones follow, whichever way the scan goes.
    ahead.displacement += (source_.reverse && !source_.several ? -kAhead : kAhead) / 4 * size;
    // A line holds so many vectors.
    if (u % (4 / size) == 0) code_.prefetch(ahead);
    code_.vector(size == 1 ? kWidenBytes : size == 2 ? kWidenHalves : kLoad, to, 0, from, lanes(true));
    if (size == 2) code_.vector(kShiftLeft, 6, to, to, uint8_t{16});
  }
}

void VectorCode::watch(int odd, const int (&x)[kMostSideBySide]) {
  for (int u = 0; u < count_; ++u) code_.vector(u == 0 ? kMultiply : kMultiplyAdd231, kOther, x[u], kZero);
  code_.vector(kOr, odd, odd, kOther, lanes());
}

void VectorCode::truth(int to) { code_.vector(kCopyIntegers, to, 0, kOnes, Under{kTruth, true}); }

void VectorCode::commuting(const Assembler::Form& form, int to, const Step& step, int u) {
  const bool swap = stands(step.a);
  const int first = in_register(swap ? step.b : step.a, u);
  code_.vector(form, to, first, last(swap ? step.a : step.b, u));
}

void VectorCode::compute(const Step& step, int u) {
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

}  // namespace vantage::cpu
