#include "fuse.h"

#include "demand.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

class Fuser {
 public:
  explicit Fuser(Code* code) : code_(*code) {
    for (int v = 0; v < code_.values; ++v) {
      uses_[v] = 0;
      maker_[v] = -1;
    }
    int block_end = -1, block = -1;
    for (int i = 0; i < code_.steps; ++i) {
      const Step& step = code_.step[i];
      if (step.op == Op::loop) {
        block = i;
        block_end = i + step.block;
      }
      region_[i] = i <= block_end ? block : -1;
      if (step.dst >= 0) maker_[step.dst] = i;
      count(step, 1);
    }
    for (int i = 0; i < code_.outputs; ++i) ++uses_[code_.output[i].value];
  }

  void run() {
    for (int i = 0; i < code_.steps; ++i) {
      Step& step = code_.step[i];
      if ((step.op == Op::scan || step.op == Op::scan_prev) && step.type == RegisterType::f32) mask_scan(step);
      if (step.op == Op::where) test_directly(step);
      if (step.op == Op::add && step.type != RegisterType::i32) multiply_add(step, i);
    }
    for (int i = 0; i < code_.outputs; ++i) sum_directly(code_.output[i]);
    for (int i = 0; i < code_.outputs; ++i) {
      if (code_.output[i].reduction == Reduction::spread) take_sums_along(i);
    }
    look_behind_masks();
    drop_unused();
  }

 private:
  void count(const Step& step, int by) {
    for (int value : {step.a, step.b, step.c, step.mask}) {
      if (value >= 0) uses_[value] += by;
    }
  }

  // The step that makes a value, if it is an instruction of the kind.
  const Step* made_by(int value, Op op) const {
    const int i = maker_[value];
    return i >= 0 && code_.step[i].op == op ? &code_.step[i] : nullptr;
  }

  bool is_constant(int value, double expected) const {
    const Step* step = made_by(value, Op::constant);
    return step && step->scalar >= 0 && code_.scalars[step->scalar] == expected;
  }

  // A condition holds wherever it is not 0.
  void test_directly(Step& step) {
    const Step* compare = made_by(step.a, Op::ne);
    if (!compare || compare->type != RegisterType::i32 || !is_constant(compare->b, 0)) return;
    count(step, -1);
    step.a = compare->a;
    count(step, 1);
  }

  void mask_scan(Step& step) {
    const Step *factor = made_by(step.a, Op::where), *term = made_by(step.b, Op::where);
    if (!factor || !term || factor->a != term->a || !is_constant(factor->c, 1) || !is_constant(term->c, 0)) return;
    if (made_by(factor->a, Op::constant)) return;
    count(step, -1);
    step.mask = factor->a;
    step.a = factor->b;
    step.b = term->b;
    count(step, 1);
  }

  void multiply_add(Step& step, int at) {
    for (int side = 0; side < 2; ++side) {
      const int product = side == 0 ? step.a : step.b, other = side == 0 ? step.b : step.a;
      const Step* mul = made_by(product, Op::mul);
      if (!mul || uses_[product] > 1 || region_[maker_[product]] != region_[at]) continue;
      // A uniform factor goes second, where the instruction takes one (elements.h).
      const bool swap = made_by(mul->a, Op::constant);
      count(step, -1);
      step.op = Op::fma;
      step.a = swap ? mul->b : mul->a;
      step.b = swap ? mul->a : mul->b;
      step.c = other;
      count(step, 1);
      return;
    }
  }

  void sum_directly(Leave& out) {
    if (out.reduction != Reduction::sum) return;
    if (out.type == RegisterType::i32) {
      if (is_truth(out.value)) out.fold = &fold_of_truths();
      return;
    }
    if (const Step* square = made_by(out.value, Op::square)) return sum_of(out, square->a, fold_of_squares(out.type));
    const Step* mul = made_by(out.value, Op::mul);
    if (!mul) return;
    if (mul->a == mul->b) return sum_of(out, mul->a, fold_of_squares(out.type));
    if (out.type != RegisterType::f32 || (!is_constant(mul->a, 0) && !is_constant(mul->b, 0))) return;
    sum_of(out, is_constant(mul->a, 0) ? mul->b : mul->a, fold_of_zeros());
  }
  // A spread knows the sum, too.
  void take_sums_along(int spread) {
    for (int i = 0; i < code_.outputs; ++i) {
      Leave& out = code_.output[i];
      if (out.reduction != Reduction::sum || out.value != code_.output[spread].value || out.fold != &fold_functions(out.reduction, out.type)) continue;
      out.state = spread;
      out.finish = finish_sum_of_spread;
    }
  }
  bool is_truth(int value) const {
    const int i = maker_[value];
    if (i < 0) return false;
    if (code_.step[i].op == Op::load) return code_.program->views[code_.step[i].view].dtype == DType::boolean;
    if (!in_table(code_.step[i].op)) return false;
    const Kind kind = row_of(code_.step[i].op).kind;
    return kind == Kind::compare || kind == Kind::logical;
  }
  void sum_of(Leave& out, int value, const Fold& fold) {
    --uses_[out.value];
    ++uses_[value];
    out.value = value;
    out.fold = &fold;
  }

  // Who needs a where(m, x, y) only where m holds takes the x.
  void look_behind_masks() {
    int demand[kMaxInstructions], taken[kMaxInstructions];
    find_demands(code_, demand);
    for (int v = 0; v < code_.values; ++v) taken[v] = v;
    for (int i = 0; i < code_.steps; ++i) {
      Step& step = code_.step[i];
      count(step, -1);
      for (int* operand : {&step.a, &step.b, &step.c}) {
        if (*operand >= 0) *operand = taken[*operand];
      }
      count(step, 1);
      if (step.op == Op::where && region_[i] < 0 && demand[step.dst] == step.a) taken[step.dst] = step.b;
    }
  }

  // From the last step to the first, so that what only an unused step reads goes with it.
  void drop_unused() {
    bool dead[kMaxInstructions];
    for (int i = code_.steps - 1; i >= 0; --i) {
      const Step& step = code_.step[i];
      dead[i] = step.dst >= 0 && uses_[step.dst] == 0 && step.op != Op::state;
      if (!dead[i]) continue;
      count(step, -1);
      if (region_[i] >= 0) --code_.step[region_[i]].block;
    }
    int kept = 0;
    for (int i = 0; i < code_.steps; ++i) {
      if (!dead[i]) code_.step[kept++] = code_.step[i];
    }
    code_.steps = kept;
  }

  Code& code_;
  int uses_[kMaxInstructions], maker_[kMaxInstructions];  // of each value; the step that makes it
  int region_[kMaxInstructions];  // of each step: the loop whose block it belongs to, or -1
};

}  // namespace

void fuse(Code* code) { Fuser(code).run(); }

}  // namespace vantage::cpu::VANTAGE_ISA
