// Programs with scans that a CPU compiles: what the compiler knows, in all combinations that chance brings, against the reference and the interpreter.
#include "../cpu/backend.h"
#include "../cpu/cache.h"
#include "../cpu/machine_code.h"
#include "program_builder.h"

using namespace test::programs;

namespace {

// A program of random arithmetic between scans. What is compared is loaded, so that rounding decides nothing.
class Chance {
 public:
  Chance(unsigned seed, std::vector<int64_t> shape) : b(std::move(shape)), random_(seed) { b.random.seed(seed + 1); }

  Builder b;

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  template <class T>
  const T& one_of(const std::vector<T>& all) { return all[static_cast<size_t>(below(static_cast<int>(all.size())))]; }

  void build() {
    b.sequential(below(2) == 0);
    time_ = b.p.shape[b.p.ndim - 1];
    if (below(5) > 0) mask_ = b.load(mask_view(), i32);
    for (int i = 1 + below(3); i > 0; --i) loaded_.push_back(input(below(4) == 0 ? DType::bf16 : DType::f32));
    if (below(3) == 0) loaded_.push_back(b.input(0, 3, one_of<DType>({DType::u8, DType::i32, DType::boolean})));
    if (below(3) == 0) loaded_.push_back(b.input(-1, 1, DType::f32, f32, 1u << (b.p.ndim - 1)));  // one of a row
    values_ = loaded_;
    for (double value : {0.5, -0.75, 1.0}) values_.push_back(b.constant(value));
    if (below(2) == 0) truths_.push_back(b.input(0, 2, one_of<DType>({DType::u8, DType::boolean, DType::i32}), i32));
    truths_.push_back(b.emit(one_of<Op>({Op::lt, Op::le, Op::gt, Op::ge, Op::eq, Op::ne}), f32, one_of(loaded_), b.constant(0.25)));
    for (int scans = 1 + below(3); scans > 0; --scans) {
      for (int i = below(6); i > 0; --i) values_.push_back(bounded(arithmetic()));
      scan();
    }
    for (int i = below(4); i > 0; --i) values_.push_back(arithmetic());
    for (int i = 1 + below(3); i > 0; --i) leave(below(2) == 0 ? values_.back() : one_of(values_));
  }

 private:
  // Numbers, and in one program of five now and then one that is none.
  int input(DType dtype) {
    const int view = b.view(dtype), odd = below(5) == 0 ? 1 + below(3'000) : 0;
    std::uniform_real_distribution<double> in(-1, 1);
    b.fill(view, [&] { return odd > 0 && below(odd) == 0 ? one_of<double>({INFINITY, -INFINITY, NAN}) : in(random_); });
    return b.load(view);
  }

  int mask_view() {
    const int view = b.view(below(2) == 0 ? DType::boolean : DType::u8);
    int64_t i = 0;
    const int kind = below(6);
    b.fill(view, [&] {
      const int64_t row = i / time_, t = i++ % time_;
      switch (kind) {
        case 0: return 1.0;
        case 1: return t < time_ - row * 37 % time_ ? 1.0 : 0.0;
        case 2: return t >= row * 29 % (time_ + 9) ? 3.0 : 0.0;
        case 3: return t / (time_ / 4 + 1) % 2 == row % 2 ? 1.0 : 0.0;
        case 4: return (t + row) % 83 < 71 ? 1.0 : 0.0;
        default: return t * 7 % 5 > 1 || t < 90 ? 1.0 : 0.0;
      }
    });
    return view;
  }

  int bounded(int x) { return below(3) > 0 ? x : b.emit(Op::minimum, f32, b.emit(Op::maximum, f32, x, b.constant(-2)), b.constant(2)); }
  int choice(int inside, int outside) { return b.emit(Op::where, f32, mask_, inside, outside); }

  int arithmetic() {
    const int x = one_of(values_), y = one_of(values_), z = one_of(values_);
    switch (below(13)) {
      case 0: return b.emit(Op::add, f32, x, y);
      case 1: return b.emit(Op::sub, f32, x, y);
      case 2: return b.emit(Op::mul, f32, x, one_of(loaded_));
      case 3: return b.emit(Op::div, f32, x, b.emit(Op::add, f32, b.emit(Op::abs, f32, one_of(loaded_)), b.constant(1)));
      case 4: return b.emit(Op::maximum, f32, x, y);
      case 5: return b.emit(Op::minimum, f32, x, y);
      case 6: return b.emit(Op::neg, f32, x);
      case 7: return b.emit(Op::sqrt, f32, b.emit(Op::square, f32, one_of(loaded_)));
      case 8: return b.emit(one_of<Op>({Op::floor, Op::ceil, Op::round}), f32, one_of(loaded_));
      case 9: return b.emit(Op::fma, f32, x, one_of(loaded_), z);
      case 10: return mask_ >= 0 ? choice(x, below(2) == 0 ? b.constant(0) : y) : b.emit(Op::add, f32, x, z);
      case 11: return b.emit(Op::cast, f32, truth(), static_cast<int>(i32));
      default: return b.emit(Op::where, f32, truth(), x, y);
    }
  }
  int truth() {
    const int x = one_of(truths_), y = one_of(truths_);
    switch (below(6)) {
      case 0: return b.emit(Op::and_, i32, x, y);
      case 1: return b.emit(Op::or_, i32, x, y);
      case 2: return b.emit(Op::not_, i32, x);
      case 3: return b.emit(one_of<Op>({Op::isnan, Op::isfinite}), f32, one_of(loaded_));
      case 4: return b.emit(one_of<Op>({Op::lt, Op::le, Op::gt, Op::ge, Op::eq, Op::ne}), i32, x, b.constant(1, i32));
      default: return x;
    }
  }

  // As TypeScript writes it: what is masked leaves the state as it is.
  void scan() {
    const int term = one_of(values_);
    int factor = b.constant(one_of<double>({0, 0.9405, 0.5, 1, -0.9, -1}));
    if (below(3) == 0) factor = b.emit(Op::where, f32, truth(), b.constant(0.9), b.constant(one_of<double>({0, 1, 0.5})));
    int first = b.constant(one_of<double>({0, 0.5, -1}));
    if (below(3) == 0) first = b.input(-1, 1, below(2) == 0 ? DType::f32 : DType::bf16, f32, 1u << (b.p.ndim - 1));
    const int a = mask_ >= 0 ? choice(factor, b.constant(1)) : factor, x = mask_ >= 0 ? choice(term, b.constant(0)) : term;
    const int which = below(3);
    if (which != 0) values_.push_back(b.emit(Op::scan, f32, a, x, first));
    if (which != 1) values_.push_back(b.emit(Op::scan_prev, f32, a, x, first));
  }

  void leave(int value) {
    if (mask_ >= 0 && below(4) > 0) value = choice(value, b.constant(below(4) == 0 ? -1 : 0));
    if (below(5) > 0) {
      b.store(value, f32, below(5) == 0 ? DType::bf16 : DType::f32);
      if (below(2) == 0) b.p.views.back().offset = 0;
    }
    if (below(3) == 0) b.fold(Reduction::sum, b.emit(Op::mul, f32, value, b.constant(0)));
    if (below(4) == 0) b.fold(one_of<Reduction>({Reduction::sum, Reduction::maximum}), value);
  }

  std::mt19937 random_;
  int64_t time_ = 0;
  int mask_ = -1;
  std::vector<int> loaded_, values_, truths_;
};

bool compiles() {
  try {
    cpu::set_isa("avx512");
  } catch (const Error&) {
    return false;
  }
  cpu::set_compiles_programs(true);
  return cpu::compiles_programs();
}

}  // namespace

TEST(compiled_scans) {
  const std::vector<std::vector<int64_t>> shapes = {{7, 65}, {900, 8}, {30, 200}, {40, 33}, {3, 1'500}, {700, 17}, {2, 3, 130}, {1'500, 3}, {1, 4'500}, {5, 128}, {48, 64}};
  const int64_t before = cpu::functions_made();
  const int programs = 800;
  for (int seed = 0; seed < programs; ++seed) {
    cpu::set_cache_size(seed % 3 == 0 ? 0 : -1);
    // Now and then rows that are cut into segments.
    const std::vector<int64_t> shape = seed % 20 == 7 ? std::vector<int64_t>{2, 50'000} : shapes[static_cast<size_t>(seed) % shapes.size()];
    Chance chance(static_cast<unsigned>(seed), shape);
    chance.b.cpu_only = true;
    chance.build();
    if (chance.b.p.outputs.empty()) continue;
    chance.b.check(("compiled scan " + std::to_string(seed)).c_str(), 1e-4, 1e-4);
  }
  cpu::set_cache_size(-1);
  if (compiles()) CHECK_THAT(cpu::functions_made() - before > programs / 2, "only %lld of %d programs were compiled", static_cast<long long>(cpu::functions_made() - before), programs);
}
