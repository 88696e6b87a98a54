#include "scan_reader.h"

#include <cstring>

#include "../core/math.h"
#include "recurrence_block.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr double kLargestFactor = 200;  // its powers are float32

// Reads code as a source for the compiler.
class ScanReader {
 public:
  ScanReader(const Code& code, Reading reading, ScanPlan* to, ScanTable* table, ScanSource* source) : code_(code), reading_(reading), to_(*to), table_(*table), source_(*source) {
    std::memset(source, 0, sizeof *source);
  }

  bool read() {
    if (code_.values > kMostSteps || code_.program->reduced != 1) return false;
    source_.values = code_.values;
    source_.reverse = code_.program->reverse;
    source_.several = reading_ == Reading::short_rows;
    if (source_.several && code_.space.outer > 1) return false;
    source_.single = source_.several && time() <= kStepsOfVector;
    for (int v = 0; v < code_.values; ++v) maker_[v] = -1, stands_for_[v] = v, read_[v] = false;
    for (int i = 0; i < code_.steps; ++i) {
      if (code_.step[i].dst < 0) return false;
      maker_[code_.step[i].dst] = i;
    }
    if (!find_known() || !find_mask() || !find_exits()) return false;
    find_readers();
    for (int i = 0; i < code_.steps; ++i) {
      if (read_[code_.step[i].dst] && !take(code_.step[i])) return false;
    }
    return source_.scans > 0 && add_stores();
  }

 private:
  using Kind = ScanSource::Kind;

  const Step& made(int value) const { return code_.step[maker_[value]]; }
  int64_t time() const { return code_.space.shape[code_.space.outer]; }
  int64_t stride_of(int view) const { return code_.space.strides[view][code_.space.outer]; }
  ScanPlan::Array array_of(int view) const { return {view, stride_of(view) * code_.item[view], 0}; }
  DType dtype_of(int view) const { return code_.program->views[view].dtype; }

  // What is one number for all steps: constants, what is computed of them, and bytes where all of them are 1. The interpreter computes it.
  bool find_known() {
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      known_[step.dst] = false;
      if (step.type == RegisterType::f64) continue;
      float& number = number_[step.dst];
      if (step.op == Op::constant) {
        number = constant(step);
        known_[step.dst] = true;
      } else if (step.op == Op::load && reading_ == Reading::where_all_hold && (dtype_of(step.view) == DType::u8 || dtype_of(step.view) == DType::boolean)) {
        if (stride_of(step.view) != 1 || to_.bytes == kMostPointers) return false;
        to_.byte_view[to_.bytes++] = step.view;
        const uint8_t one = 1;
        step.load(&number, &one, 1, 1, 0, 0);
        known_[step.dst] = true;
      } else if (step.run) {
        known_[step.dst] = true;
        const void* operand[3] = {};
        int k = 0;
        for (int value : {step.a, step.b, step.c}) {
          if (value >= 0) known_[step.dst] = known_[step.dst] && known_[value], operand[k] = &number_[value];
          ++k;
        }
        if (known_[step.dst]) step.run(1, &number, operand[0], operand[1], operand[2]);
      }
    }
    for (int i = 0; i < code_.steps && reading_ == Reading::where_all_hold; ++i) {
      const Step& step = code_.step[i];
      if (step.op == Op::where && known_[step.a] && !known_[step.dst]) stands_for_[step.dst] = holds(step.a) ? step.b : step.c;
    }
    return true;
  }
  bool holds(int value) const { return math::bits_of(number_[value]) != 0; }

  // All scans go by the same mask, or by none. Where it holds, a `where` of it is its second operand.
  bool find_mask() {
    if (reading_ == Reading::where_all_hold) {
      for (int i = 0; i < code_.steps; ++i) {
        const Step& step = code_.step[i];
        if (is_scan(step) && step.mask >= 0 && !(known_[step.mask] && holds(step.mask))) return false;
      }
    }
    if (reading_ != Reading::where_mask_holds) return true;
    int mask = -1;
    bool first = true;
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (!is_scan(step)) continue;
      if (!first && step.mask != mask) return false;
      mask = step.mask;
      first = false;
    }
    if (mask < 0) return true;
    const Step& load = made(mask);
    if (load.op != Op::load || !load.tested || stride_of(load.view) != 1) return false;
    to_.mask = load.view;
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (step.op == Op::where && step.a == mask) stands_for_[step.dst] = step.b, outside_[step.dst] = step.c;
      else outside_[step.dst] = -1;
    }
    return true;
  }
  int source_of(int value) const {
    while (value >= 0 && stands_for_[value] != value) value = stands_for_[value];
    return value;
  }

  // What is folded as a sum of zeros and stored, too, is looked at on the way to its place.
  bool find_exits() {
    bool watched[kMaxOutputs] = {};
    for (int k = 0; k < code_.outputs; ++k) {
      const Leave& out = code_.output[k];
      if (out.type == RegisterType::f64) return false;
      if (out.reduction != Reduction::store) continue;
      const bool direct = dtype_of(out.view) == DType::f32 && out.type == RegisterType::f32 && stride_of(out.view) == 1;
      ScanPlan::Exit exit = {array_of(out.view), k, code_.home[out.value] * code_.home_bytes, -1, direct, direct && out.stream, 0, -1};
      for (int j = 0; j < code_.outputs && exit.watched < 0; ++j) {
        const Leave& sum = code_.output[j];
        if (sum.fold == &fold_of_zeros() && sum.reduction == Reduction::sum && sum.value == out.value && !watched[j]) watched[exit.watched = j] = true;
      }
      if ((source_.several && !direct) || !add_exit(exit)) return false;
    }
    for (int k = 0; k < code_.outputs; ++k) {
      if (!code_.output[k].folds(k) || watched[k]) continue;  // a sum may be known by another output
      if (source_.several || !add_exit({{}, k, code_.home[code_.output[k].value] * code_.home_bytes, -1, false, false, 0, -1})) return false;
    }
    return true;
  }
  bool add_exit(ScanPlan::Exit exit) {
    const int value = code_.output[exit.output].value;
    if (to_.exits == kMostStores) return false;
    if (to_.mask >= 0) {
      const int other = outside_[value];
      if (is_scan(made(value))) exit.state = number_of(value);
      else if (other >= 0 && made(other).op == Op::constant) exit.outside = constant(made(other));
      else to_.knows_outside = false;
      // What is filled in is not looked at.
      if (exit.watched >= 0 && !math::finite(exit.outside)) to_.knows_outside = false;
    }
    to_.exit[to_.exits++] = exit;
    return true;
  }

  // Whether scans have to look at their masks: there is no stretch in which these hold.
  bool looks_at_masks() const { return to_.mask < 0 && reading_ != Reading::where_all_hold; }

  int number_of(int scan) const {
    int number = 0;
    for (int i = 0; i < maker_[scan]; ++i) number += is_scan(code_.step[i]);
    return number;
  }

  // From the last step to the first.
  void find_readers() {
    for (int k = 0; k < code_.outputs; ++k) read_[source_of(code_.output[k].value)] = true;
    for (int i = code_.steps - 1; i >= 0; --i) {
      const Step& step = code_.step[i];
      if (is_scan(step)) {
        read_[step.dst] = read_[source_of(step.a)] = read_[source_of(step.b)] = true;
        if (step.mask >= 0 && looks_at_masks()) read_[source_of(step.mask)] = true;
      } else if (read_[step.dst] && !known_[step.dst] && step.op != Op::load && step.op != Op::constant) {
        for (int value : {step.a, step.b, step.c}) {
          if (value >= 0) read_[source_of(value)] = true;
        }
      }
    }
  }

  // Four bytes: a float, or the bits of an int32.
  float constant(const Step& step) const {
    float number = 0;
    if (step.scalar < 0) step.load(&number, code_.base[step.view], 1, 1, 0, 0);
    else if (step.type == RegisterType::f32) number = static_cast<float>(code_.scalars[step.scalar]);
    else number = math::float_of(static_cast<uint32_t>(math::to_int32(code_.scalars[step.scalar])));
    return number;
  }

  ScanSource::Step* add(Kind kind, int index, int dst) {
    if (source_.steps == kMostSteps) return nullptr;
    ScanSource::Step& step = source_.step[source_.steps++];
    step.kind = kind;
    step.index = static_cast<uint8_t>(index);
    step.dst = static_cast<int16_t>(dst);
    step.a = step.b = step.c = step.mask = step.twin = -1;
    return &step;
  }

  bool take(const Step& step) {
    if (step.type == RegisterType::f64) return false;
    if (known_[step.dst]) {
      if (constants_ == kMostConstants || !add(Kind::constant, constants_, step.dst)) return false;
      table_.constant[constants_++] = number_[step.dst];
      return true;
    }
    if (step.op == Op::load) return take_load(step);
    if (is_scan(step)) return take_scan(step);
    if (stands_for_[step.dst] != step.dst) return true;
    if (step.op == Op::cast) {
      if (step.type != RegisterType::f32 || !is_integer(step.a)) return false;
      ScanSource::Step* const to = add(Kind::convert, 0, step.dst);
      if (to) to->a = static_cast<int16_t>(source_of(step.a));
      return to != nullptr;
    }
    if (!computes(step)) return false;
    ScanSource::Step* const to = add(Kind::compute, 0, step.dst);
    if (!to) return false;
    to->op = static_cast<uint8_t>(step.op);
    to->integers = step.type == RegisterType::i32;
    to->a = static_cast<int16_t>(source_of(step.a));
    to->b = static_cast<int16_t>(source_of(step.b));
    to->c = static_cast<int16_t>(source_of(step.c));
    return true;
  }

  // The first step of each row, in the program's direction.
  ScanPlan::Array first_step_of(int view) const { return {view, 0, code_.program->reverse ? (time() - 1) * stride_of(view) * code_.item[view] : 0}; }

  bool is_integer(int value) const {
    const Step& step = made(value);
    if (!in_table(step.op)) return step.type == RegisterType::i32;
    const vantage::Kind kind = row_of(step.op).kind;
    return kind == vantage::Kind::compare || kind == vantage::Kind::logical || step.type == RegisterType::i32;
  }

  static bool computes(const Step& step) {
    switch (step.op) {
      case Op::add: case Op::sub: case Op::mul: case Op::div: case Op::maximum: case Op::minimum: case Op::neg: case Op::abs: case Op::square: case Op::fma: case Op::sqrt:
      case Op::floor: case Op::ceil: case Op::round: case Op::isnan: case Op::isfinite:
        return step.type == RegisterType::f32;
      case Op::eq: case Op::ne: case Op::lt: case Op::le: case Op::gt: case Op::ge: case Op::and_: case Op::or_: case Op::not_: case Op::where:
        return true;
      default: return false;
    }
  }

  bool take_load(const Step& step) {
    const int64_t stride = stride_of(step.view);
    if (stride == 0 && source_.several) {
      if (dtype_of(step.view) != DType::f32 || step.type != RegisterType::f32 || to_.loads == kMostPointers || !add(Kind::of_row, to_.loads, step.dst)) return false;
      to_.load[to_.loads++] = array_of(step.view);
      return true;
    }
    if (stride == 0) {
      if (to_.of_row == kMostOfRow || !add(Kind::of_row, to_.of_row, step.dst)) return false;
      to_.of_row_step[to_.of_row++] = maker_[step.dst];
      return true;
    }
    if (stride != 1 || to_.loads == kMostPointers) return false;
    for (const Output& out : code_.program->outputs) {
      // What is stored over what is loaded could not be done again. (What stands still is read once, before anything is stored.)
      if (code_.program->views[out.view].slot == code_.program->views[step.view].slot || code_.base[out.view] == code_.base[step.view]) return false;
    }
    const DType dtype = dtype_of(step.view);
    const bool bytes = dtype == DType::u8 || dtype == DType::boolean, integers = bytes || dtype == DType::i32;
    if (!integers && dtype != DType::f32 && dtype != DType::bf16) return false;
    if (!integers && step.type != RegisterType::f32) return false;
    const bool converts = integers && step.type == RegisterType::f32;
    if (converts && source_.values == kMostSteps) return false;
    const int loaded = converts ? source_.values++ : step.dst;
    const Kind kind = bytes ? Kind::load_bytes : dtype == DType::i32 ? Kind::load_i32 : dtype == DType::bf16 ? Kind::load_bf16 : Kind::load_f32;
    if (!add(kind, to_.loads, loaded)) return false;
    to_.load[to_.loads++] = array_of(step.view);
    if (!converts) return true;
    ScanSource::Step* const to = add(Kind::convert, 0, step.dst);
    if (to) to->a = static_cast<int16_t>(loaded);
    return to != nullptr;
  }

  bool take_scan(const Step& step) {
    const int number = source_.scans;
    if (number == kMostScans || step.type != RegisterType::f32) return false;
    const int given = source_of(step.a);
    const bool constant_factor = known_[given];
    const double factor = constant_factor ? static_cast<double>(number_[given]) : 1;
    to_.varies = to_.varies || !constant_factor;
    if (!(__builtin_fabs(factor) <= kLargestFactor)) return false;
    const Step& first = made(step.c);
    if (first.op != Op::constant && first.op != Op::load) return false;
    const bool points = first.op == Op::load && source_.several;
    if (points && (dtype_of(first.view) != DType::f32 || to_.loads == kMostPointers)) return false;
    ScanSource::Step* const to = add(Kind::scan, number, step.dst);
    if (!to) return false;
    to->b = static_cast<int16_t>(source_of(step.b));
    to->first = -1;
    to->previous = step.op == Op::scan_prev;
    to->forgets = factor == 0;
    if (!constant_factor) to->a = static_cast<int16_t>(given);
    if (points) {
      to->first = static_cast<int8_t>(to_.loads);
      to_.load[to_.loads++] = first_step_of(first.view);
    }
    if (step.mask >= 0 && looks_at_masks()) to->mask = static_cast<int16_t>(source_of(step.mask));
    paired_[number] = false;
    for (int k = 0; k < number && !paired_[number]; ++k) {
      const Step& other = code_.step[scan_step_[k]];
      if (paired_[k] || other.a != step.a || other.b != step.b || other.c != step.c || other.mask != step.mask || other.op == step.op) continue;
      to->twin = static_cast<int8_t>(k);
      paired_[k] = paired_[number] = true;
    }
    scan_step_[number] = maker_[step.dst];
    to_.initial_step[number] = first.op == Op::load ? maker_[step.c] : -1;
    table_.initial[number] = first.op == Op::load ? 0 : constant(first);
    to_.initial[number] = first.op == Op::load ? 0 : static_cast<double>(constant(first));
    fill_powers(table_.powers[number], factor);
    to_.reach[number] = constant_factor ? Decay(factor).reach() : INT64_MAX;
    ++source_.scans;
    return true;
  }

  void fill_powers(ScanTable::Powers& to, double factor) const {
    double power = 1;
    for (int i = 0; i <= kStepsOfVector; ++i, power *= factor) {
      to.over[i] = power;
      if (i == 0) continue;
      const float rounded = static_cast<float>(power);
      to.carried[source_.reverse ? kStepsOfVector - i : i - 1] = rounded;
      to.carried[kStepsOfVector + i - 1] = 0;
      for (int round = 0; round < 4; ++round) {
        if (i == 1 << round) to.rounds[round] = rounded;
      }
    }
  }

  // Behind the loads.
  bool add_stores() {
    to_.scans = source_.scans;
    if (to_.loads + to_.exits > kMostPointers) return false;
    for (int k = 0; k < to_.exits; ++k) {
      const ScanPlan::Exit& exit = to_.exit[k];
      const Leave& out = code_.output[exit.output];
      if (exit.watched >= 0 && source_.watched == kMostWatched) return false;
      ScanSource::Store& store = source_.store[source_.stores++];
      store.value = static_cast<int16_t>(source_of(out.value));
      store.pointer = static_cast<uint8_t>(to_.loads + k);
      store.stream = exit.streams;
      store.watched = static_cast<int8_t>(exit.watched < 0 ? -1 : source_.watched++);
    }
    to_.watched = source_.watched;
    source_.pointers = to_.loads + to_.exits;
    return true;
  }

  const Code& code_;
  const Reading reading_;
  ScanPlan& to_;
  ScanTable& table_;
  ScanSource& source_;
  int constants_ = 0;
  int maker_[kMostSteps], stands_for_[kMostSteps], outside_[kMostSteps], scan_step_[kMostScans];
  bool paired_[kMostScans];  // two scans of one state are taken as one
  bool read_[kMostSteps], known_[kMostSteps];
  float number_[kMostSteps];  // of what is known: a float, or the bits of an int32
};

}  // namespace

bool read_scan(const Code& code, Reading reading, ScanPlan* plan, ScanTable* table, ScanSource* source) { return ScanReader(code, reading, plan, table, source).read(); }

}  // namespace vantage::cpu::VANTAGE_ISA
