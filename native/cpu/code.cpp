#include "code.h"

#include "../core/math.h"
#include "cache.h"
#include "fuse.h"
#include "shortcuts.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kRegisterBudget = 24 * 1024;  // bytes of L1 for the homes of a tile
constexpr int64_t kStreamBytes = 16 << 20;      // about what a last-level cache holds of one array

int size_of(RegisterType type) { return type == RegisterType::f64 ? 8 : 4; }

// Turns the program's instructions into steps, with values for registers.
class Builder {
 public:
  Builder(const Program& program, Code* code) : program_(program), code_(*code) {}

  void build() {
    const auto* instructions = program_.instructions.data();
    const int total = static_cast<int>(program_.instructions.size());
    for (int i = 0; i < total;) {
      if (instructions[i].op != Op::loop) {
        add(instructions[i++]);
        continue;
      }
      const int end = i + 1 + instructions[i].b;
      for (int k = i + 1; k < end; ++k) {
        if (instructions[k].op == Op::load || instructions[k].op == Op::constant) add(instructions[k]);
      }
      Step& loop = code_.step[code_.steps++];
      loop.op = Op::loop;
      loop.dst = loop.a = loop.b = loop.c = loop.mask = -1;
      loop.tested = loop.chooses = loop.over = false;
      const int first = code_.steps;
      for (int k = i + 1; k < end; ++k) {
        if (instructions[k].op != Op::load && instructions[k].op != Op::constant) add(instructions[k]);
      }
      loop.block = code_.steps - first;
      for (int k = first; k < code_.steps && code_.step[k].op == Op::state; ++k) code_.step[k].a = value_[code_.step[k].a];
      i = end;
    }
    for (const Output& out : program_.outputs) {
      Leave& leave = code_.output[code_.outputs++];
      leave.reduction = out.reduction;
      leave.type = out.type;
      leave.view = out.view;
      leave.value = value_[out.reg];
      const DType dtype = program_.views[out.view].dtype;
      leave.store = store_function(out.type, dtype);
      leave.store_time_major = store_time_major_function(out.type, dtype);
      leave.store_totals = store_totals_function(out.type, dtype);
      leave.fold = &fold_functions(out.reduction, out.type);
      leave.finish = out.reduction == Reduction::spread ? finish_spread : nullptr;
      leave.state = code_.outputs - 1;
      leave.watcher = -1;
      leave.watched = false;
    }
    fuse(&code_);
    place_outputs();
    choose_variants();
    find_shortcuts(&code_);
    place_homes();
  }

 private:
  void add(const Instruction& one) {
    Step& step = code_.step[code_.steps++];
    step.op = one.op;
    step.type = one.type;
    step.run = nullptr;
    step.tested = step.chooses = step.over = false;
    step.size = size_of(one.type);
    step.a = step.b = step.c = step.mask = -1;
    step.step_a = step.step_b = step.step_c = step.size;
    if (in_table(one.op)) {
      const Kind kind = row_of(one.op).kind;
      const int operands = row_of(one.op).operands;
      step.a = value_[one.a];
      if (operands > 1) step.b = value_[one.b];
      if (operands > 2) step.c = value_[one.c];
      if (kind == Kind::compare) step.size = 4;
      if (kind == Kind::select) step.step_a = 4;
      code_.work += kind == Kind::floating ? 4 : 1;
    } else if (one.op == Op::load) {
      step.view = one.a;
      const DType dtype = program_.views[one.a].dtype;
      step.load = load_function(dtype, one.type);
      step.load_time_major = load_time_major_function(dtype, one.type);
      if (stands_still(one.a) && !writes(slot_of(one.a))) {
        step.op = Op::constant;
        step.scalar = -1;
      }
      step.in_place = same_layout(dtype, one.type);
      // A buffer that is also written is read into registers, since a store may come between two uses of the value.
      for (const Output& out : program_.outputs) step.in_place &= code_.base[out.view] != code_.base[one.a];
    } else if (one.op == Op::constant) {
      step.scalar = one.a;
    } else if (one.op == Op::cast) {
      step.a = value_[one.a];
      step.step_a = size_of(static_cast<RegisterType>(one.b));
      step.run = cast_function(static_cast<RegisterType>(one.b), one.type);
    } else if (one.op == Op::state) {
      step.a = one.a;  // a register still: its value is known at the end of the block
      step.c = value_[one.c];
    } else {
      step.a = value_[one.a];
      step.b = value_[one.b];
      step.c = value_[one.c];
    }
    step.dst = code_.values++;
    value_[one.dst] = step.dst;
  }

  // Which outputs are computed in place, and which are streamed.
  void place_outputs() {
    const int64_t elements = code_.space.size(0, code_.space.ndim());
    int64_t bytes = 0;
    for (size_t v = 0; v < program_.views.size(); ++v) {
      int64_t different = 1;
      for (int d = 0; d < code_.space.ndim(); ++d) {
        if (code_.space.strides[v][d] != 0) different *= code_.space.shape[d];
      }
      bytes += different * code_.item[v];
    }
    for (int k = 0; k < code_.outputs; ++k) {
      Leave& out = code_.output[k];
      const ProgramView& view = program_.views[out.view];
      const bool same = same_layout(view.dtype, out.type);
      // Of a program with scans as of the recurrences that have kernels. What others compute is more often read by the next one: it has to be too
      // large for the caches by itself.
      const int64_t own = elements * size_of(out.type);
      const bool large = program_.outputs[k].passing ? own >= kStreamBytes : worth_streaming(program_.sequential ? bytes : own);
      out.stream = out.reduction == Reduction::store && same && large;
      code_.streams |= out.stream;
      out.direct = out.reduction == Reduction::store && same && !out.stream && !reads(view.slot);
      for (int j = 0; j < code_.outputs; ++j) out.direct &= j == k || ((code_.output[j].value != out.value || code_.output[j].reduction != Reduction::store) && slot_of(code_.output[j].view) != view.slot);
      bool computed = false;
      for (int i = 0; i < code_.steps; ++i) {
        const Op op = code_.step[i].op;
        computed |= code_.step[i].dst == out.value && op != Op::load && op != Op::constant && op != Op::where;
      }
      out.direct &= computed;
    }
  }

  int slot_of(int view) const { return program_.views[view].slot; }

  bool reads(int slot) const {
    for (const Instruction& one : program_.instructions) {
      if (one.op == Op::load && slot_of(one.a) == slot) return true;
    }
    return false;
  }

  bool writes(int slot) const {
    for (const Output& out : program_.outputs) {
      if (slot_of(out.view) == slot) return true;
    }
    return false;
  }

  static bool same_layout(DType dtype, RegisterType type) {
    return (dtype == DType::f32 && type == RegisterType::f32) || (dtype == DType::f64 && type == RegisterType::f64) ||
           (dtype == DType::i32 && type == RegisterType::i32);
  }

  // Whether a view shows one element throughout.
  bool stands_still(int view) const {
    for (int d = 0; d < code_.space.ndim(); ++d) {
      if (code_.space.strides[view][d] != 0) return false;
    }
    return true;
  }

  // Constants stay one value where every instruction that uses them has a variant for it.
  void choose_variants() {
    for (int v = 0; v < code_.values; ++v) code_.uniform[v] = false;
    for (int i = 0; i < code_.steps; ++i) {
      if (code_.step[i].op == Op::constant) code_.uniform[code_.step[i].dst] = true;
    }
    for (int i = 0; i < code_.outputs; ++i) code_.uniform[code_.output[i].value] = false;
    bool changed = true;
    while (changed) {
      changed = false;
      for (int i = 0; i < code_.steps; ++i) changed |= demand_full(code_.step[i]);
    }
    for (int i = 0; i < code_.steps; ++i) {
      Step& step = code_.step[i];
      if (!in_table(step.op)) continue;
      const Uniform uniform = variant(step);
      step.run = element_function(step.op, step.type, uniform);
      if (uniform == kNoUniform) continue;
      if (row_of(step.op).operands == 2) (uniform == kFirstUniform ? step.step_a : step.step_b) = 0;
      else (uniform == kFirstUniform ? step.step_b : step.step_c) = 0;
    }
  }

  bool is_uniform(int value) const { return value >= 0 && code_.uniform[value]; }

  Uniform variant(const Step& step) const {
    const bool binary = row_of(step.op).operands == 2;
    if (is_uniform(binary ? step.a : step.b)) return kFirstUniform;
    return is_uniform(binary ? step.b : step.c) ? kSecondUniform : kNoUniform;
  }

  bool loads_bytes(int value) const {
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (step.dst == value) return step.op == Op::load && code_.item[step.view] == 1;
    }
    return false;
  }

  // Marks the constants that this step needs as n values. True where one was not yet marked.
  bool demand_full(const Step& step) {
    const int operands[] = {step.a, step.b, step.c};
    const int arity = in_table(step.op) ? row_of(step.op).operands : 1;
    const bool scan = step.op == Op::scan || step.op == Op::scan_prev;
    bool changed = false, allowed = true;
    for (int k = 0; k < 3; ++k) {
      if (!is_uniform(operands[k])) continue;
      if (scan && (k == 2 || (k == 0 && step.type == RegisterType::f32))) continue;
      // What a `where` is in tiles without anything true is taken as it stands there.
      const bool may = arity == 2 ? k < 2 : arity == 3 ? k > 0 && !(step.op == Op::where && k == 2 && loads_bytes(step.a)) : false;
      if (may && allowed) {
        allowed = false;  // one of the two
        continue;
      }
      code_.uniform[operands[k]] = false;
      changed = true;
    }
    return changed;
  }

  // A home is free again after the step that uses its value last; what a loop's block uses lives to the end of the block. Constants are
  // filled once for all tiles, so theirs are never shared; uniform ones have no home.
  void place_homes() {
    int first_dying[kMaxInstructions + 1], next_dying[kMaxInstructions], last[kMaxInstructions];
    for (int v = 0; v < code_.values; ++v) last[v] = -1;
    for (int i = 0; i < code_.steps;) {
      const int end = code_.step[i].op == Op::loop ? i + code_.step[i].block : i;
      for (int k = i; k <= end; ++k) {
        const Step& step = code_.step[k];
        for (int value : {step.a, step.b, step.c, step.mask, step.dst}) {
          if (value >= 0) last[value] = end;
        }
      }
      i = end + 1;
    }
    for (int i = 0; i < code_.outputs; ++i) last[code_.output[i].value] = code_.steps;
    // The result of a `where` may be its second or third operand, which then has to stay.
    for (int i = code_.steps - 1; i >= 0; --i) {
      const Step& step = code_.step[i];
      if (!step.chooses || step.op != Op::where) continue;
      for (int value : {step.b, step.c}) {
        if (last[value] < last[step.dst]) last[value] = last[step.dst];
      }
    }
    for (int i = 0; i < code_.steps; ++i) {
      if (code_.step[i].op == Op::constant) {
        const int value = code_.step[i].dst;
        last[value] = -1;
        code_.home[value] = code_.uniform[value] ? code_.uniforms++ : code_.homes++;
      }
    }
    for (int i = 0; i <= code_.steps; ++i) first_dying[i] = -1;
    for (int v = 0; v < code_.values; ++v) {
      if (last[v] < 0) continue;
      next_dying[v] = first_dying[last[v]];
      first_dying[last[v]] = v;
    }
    int free_homes[kMaxInstructions];
    int free_count = 0;
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (step.dst >= 0 && step.op != Op::constant) code_.home[step.dst] = free_count > 0 ? free_homes[--free_count] : code_.homes++;
      for (int v = first_dying[i]; v >= 0; v = next_dying[v]) free_homes[free_count++] = code_.home[v];
    }
  }

  const Program& program_;
  Code& code_;
  int value_[kMaxRegisters];
};

template <class T>
void fill(void* memory, T value, int64_t n) {
  T* out = static_cast<T*>(memory);
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

}  // namespace

void prepare(const Program& program, void* const* slots, const double* scalars, Code* code) {
  code->program = &program;
  code->scalars = scalars;
  collapse(program, &code->space);
  const int views = static_cast<int>(program.views.size());
  for (int v = 0; v < views; ++v) {
    const ProgramView& view = program.views[v];
    code->item[v] = static_cast<int>(byte_size(view.dtype));
    code->base[v] = static_cast<char*>(slots[view.slot]) + view.offset * code->item[v];
  }
  Builder(program, code).build();

  int widest = 4;
  for (int i = 0; i < code->steps; ++i) {
    if (code->step[i].op != Op::loop && code->step[i].size > widest) widest = code->step[i].size;
  }
  int64_t tile = kRegisterBudget / ((code->homes > 0 ? code->homes : 1) * widest) / 64 * 64;
  tile = tile > kMaxTile ? kMaxTile : tile < 64 ? 64 : tile;
  code->tile = tile;
  code->home_bytes = tile * widest;
}

void Code::place(char* memory, void** at) const {
  char* single = memory + homes * home_bytes;
  for (int i = 0; i < steps; ++i) {
    const int v = step[i].dst;
    if (v >= 0) at[v] = uniform[v] ? single + home[v] * kUniformBytes : memory + home[v] * home_bytes;
  }
  for (int i = 0; i < steps; ++i) {
    const Step& one = step[i];
    if (one.op != Op::constant) continue;
    const int64_t n = uniform[one.dst] ? 1 : tile;
    if (one.scalar < 0) {
      one.load(at[one.dst], base[one.view], 1, n, 0, 0);
      continue;
    }
    const double value = scalars[one.scalar];
    if (one.type == RegisterType::f32) fill(at[one.dst], static_cast<float>(value), n);
    else if (one.type == RegisterType::f64) fill(at[one.dst], value, n);
    else fill(at[one.dst], math::to_int32(value), n);
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
