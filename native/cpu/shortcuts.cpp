#include "shortcuts.h"

#include "demand.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

bool is_computed(const Step& step) { return in_table(step.op) || step.op == Op::cast; }

// The loads of bytes that `where`s and scans choose by, and whether anything else reads their values.
void find_tests(Code& code) {
  bool asked[kMaxInstructions] = {}, read[kMaxInstructions] = {};
  for (int i = 0; i < code.outputs; ++i) read[code.output[i].value] = true;
  int block_end = -1;
  for (int i = 0; i < code.steps; ++i) {
    Step& step = code.step[i];
    if (step.op == Op::loop) block_end = i + step.block;
    step.chooses = i > block_end && step.op == Op::where && !code.uniform[step.b];
    if (step.a >= 0) (step.chooses ? asked : read)[step.a] = true;
    if (step.mask >= 0) asked[step.mask] = true;
    for (int value : {step.b, step.c}) {
      if (value >= 0) read[value] = true;
    }
  }
  for (int i = 0; i < code.steps; ++i) {
    Step& step = code.step[i];
    if (step.op == Op::load) {
      const DType dtype = code.program->views[step.view].dtype;
      step.tested = asked[step.dst] &= step.type == RegisterType::i32 && (dtype == DType::u8 || dtype == DType::boolean);
      step.valued = read[step.dst];
    } else if (step.dst >= 0) {
      step.chooses = step.mask >= 0 ? asked[step.mask] : step.chooses && asked[step.a];
      asked[step.dst] = false;
    }
  }
}

// The loads of a program: tests first, others in front of the step that is the first to read them. Theirs is the order in which the next tile's part is asked for.
void order_loads(Code& code) {
  Step moved[kMaxInstructions];
  int count = 0, waiting[kMaxInstructions];
  for (int v = 0; v < code.values; ++v) waiting[v] = -1;
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    if (step.op != Op::load) continue;
    if (step.tested) moved[count++] = step;
    else waiting[step.dst] = i;
  }
  const auto place = [&](int value) {
    if (value < 0 || waiting[value] < 0) return;
    moved[count++] = code.step[waiting[value]];
    waiting[value] = -1;
  };
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    if (step.op == Op::load) continue;
    for (int value : {step.a, step.b, step.c, step.mask}) place(value);
    for (int v = 0; step.op == Op::loop && v < code.values; ++v) place(v);
    moved[count++] = step;
  }
  for (int v = 0; v < code.values; ++v) place(v);
  for (int i = 0; i < count; ++i) code.step[i] = moved[i];
}

// What is needed only where a mask holds is left out of tiles where it does not, which have to know of the mask by then: its bytes come first.
void find_guards(Code& code, const int* demand) {
  bool tested[kMaxInstructions];
  for (int v = 0; v < code.values; ++v) tested[v] = false;
  for (int i = 0; i < code.steps; ++i) {
    Step& step = code.step[i];
    if (step.op == Op::load) tested[step.dst] = step.tested;
    const bool may = step.dst >= 0 && !step.tested && step.op != Op::constant && !is_scan(step) && demand[step.dst] >= 0;
    step.guard = may && tested[demand[step.dst]] ? demand[step.dst] : -1;
  }
}

// A home is written over by one `where` alone: that of a computed value, which is read by others inside, or not at all by then.
void find_overwritten(Code& code, const int* demand) {
  bool own[kMaxInstructions] = {};  // its place in a tile is its own home
  for (int i = 0; i < code.steps; ++i) {
    Step& step = code.step[i];
    if (step.dst < 0) continue;
    if (step.chooses && is_scan(step)) step.over = demand[step.dst] == step.mask;
    if (step.chooses && step.op == Op::where && own[step.b] && demand[step.b] == step.a) {
      step.over = true;
      own[step.b] = false;
    }
    own[step.dst] = is_scan(step) || (is_computed(step) && step.op != Op::where);
  }
}

// What is made of loaded bytes and constants alone, and read by the like and as the factor of scans: a decay that a mask is part of, say. Masks
// are equal for long stretches.
void find_singles(Code& code) {
  bool* const single = code.may_be_single;
  for (int v = 0; v < code.values; ++v) single[v] = false;
  bool constant[kMaxInstructions] = {};
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    if (step.dst < 0) continue;
    constant[step.dst] = step.op == Op::constant;
    if (step.op == Op::load) single[step.dst] = code.item[step.view] == 1 && step.valued;
    if (!is_computed(step) || step.chooses) continue;
    bool all = true, any = false;
    for (int value : {step.a, step.b, step.c}) {
      if (value < 0) continue;
      all &= single[value] || constant[value];
      any |= single[value];
    }
    single[step.dst] = all && any;
  }
  for (int i = 0; i < code.outputs; ++i) single[code.output[i].value] = false;
  // From the last step to the first: a step's readers are known then.
  for (int i = code.steps - 1; i >= 0; --i) {
    const Step& step = code.step[i];
    if (is_computed(step) && single[step.dst]) continue;
    // Who chooses by it reads it only where the bytes differ.
    const bool factor = is_scan(step) && step.type == RegisterType::f32, chooses = step.chooses && !is_scan(step);
    if (step.a >= 0 && !factor && !chooses) single[step.a] = false;
    for (int value : {step.b, step.c, step.chooses ? -1 : step.mask}) {
      if (value >= 0) single[value] = false;
    }
  }
}

// With fewer the caches hold what a program loads.
constexpr int64_t kManyElements = int64_t{1} << 16;

// What the loads of the next tile will bring is asked for in as many parts as a tile has works.
void choose_prefetches(Code& code) {
  code.works = 1 + code.outputs;
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    code.works += takes_time(step);
    if (step.op == Op::load) code.prefetched += code.item[step.view];
  }
}

// A value that streams is looked at while it is in registers.
void find_watchers(Code& code) {
  for (int k = 0; k < code.outputs; ++k) {
    Leave& sum = code.output[k];
    for (int j = 0; j < code.outputs && sum.fold == &fold_of_zeros() && !sum.watched; ++j) {
      Leave& out = code.output[j];
      if (!out.stream || out.value != sum.value || out.watcher >= 0) continue;
      out.watcher = k;
      sum.watched = true;
    }
  }
}

}  // namespace

void find_shortcuts(Code* code) {
  find_tests(*code);
  order_loads(*code);
  int demand[kMaxInstructions];
  find_demands(*code, demand);
  find_guards(*code, demand);
  if (code->program->sequential) {
    find_overwritten(*code, demand);
    find_watchers(*code);
    find_singles(*code);
  }
  if (code->program->sequential || code->space.size(0, code->space.ndim()) >= kManyElements) choose_prefetches(*code);
}

}  // namespace vantage::cpu::VANTAGE_ISA
