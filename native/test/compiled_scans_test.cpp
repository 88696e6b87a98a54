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
    if (below(3) == 0) truths_ = {mostly_ones(i32)}, loaded_.push_back(mostly_ones(f32));
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

  // Bytes that are 1 for whole tiles.
  int mostly_ones(RegisterType type) {
    const int view = b.view(below(2) == 0 ? DType::u8 : DType::boolean), every = 1 + below(20'000);
    int64_t i = 0;
    b.fill(view, [&] { return ++i % every == 0 ? 0.0 : 1.0; });
    return b.load(view, type);
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
    if (below(4) == 0) factor = b.emit(Op::mul, f32, b.constant(0.97), b.emit(Op::cast, f32, truth(), static_cast<int>(i32)));
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
    if (b.cpu_only && below(4) == 0) {
      // One pass for both.
      b.p.outputs.push_back({Reduction::spread, f32, value, b.total_view(DType::f64)});
      b.fold(Reduction::sum, value);
    }
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
  if (!test::wanted("cpu")) return;  // the reference alone would have nothing to say
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
    chance.b.check(("compiled scan " + std::to_string(seed)).c_str(), 1e-4, 5e-3);  // states walk far from 0, and come back
  }
  cpu::set_cache_size(-1);
  if (compiles()) CHECK_THAT(cpu::functions_made() - before > programs / 3, "only %lld of %d programs were compiled", static_cast<long long>(cpu::functions_made() - before), programs);
}

// Scans that are the same after one mask is found to be the other: s and what was in front of it, in any order and number.
TEST(scans_that_are_alike) {
  for (bool reverse : {false, true}) {
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{3, 500}, {100, 20}}) {
      Builder b(shape);
      b.sequential(reverse);
      b.cpu_only = true;
      const int view = b.view(DType::u8);
      int64_t i = 0;
      b.fill(view, [&] { return ++i % 11 < 9 ? 2.0 : 0.0; });
      const int mask = b.load(view, i32), other = b.emit(Op::ne, i32, mask, b.constant(0, i32)), x = b.input(-1, 1), zero = b.constant(0), one = b.constant(1);
      for (Op op : {Op::scan, Op::scan_prev, Op::scan, Op::scan_prev, Op::scan_prev, Op::scan}) {
        const int by = b.p.outputs.size() % 2 == 0 ? mask : other;
        b.store(b.emit(op, f32, b.emit(Op::where, f32, by, b.constant(0.9), one), b.emit(Op::where, f32, by, x, zero), zero));
      }
      b.check("alike", 1e-5, 1e-5);
    }
  }
}

// Equal rows give equal bits, wherever they stand and whatever stands beside them: a state that is none, say.
TEST(rows_beside_others) {
  for (int64_t time : {3, 10, 16, 41, 64, 65, 300, 1'100}) {
    for (bool reverse : {false, true}) {
      for (double odd : {0.0, static_cast<double>(NAN), 1e20}) {
        const int64_t rows = 40;
        Builder b({rows, time});
        b.sequential(reverse);
        const int x_view = b.view(DType::f32), m_view = b.view(DType::boolean);
        int64_t i = -3, j = -3;  // views begin with their third element
        b.fill(x_view, [&] {
          const int64_t at = i++;
          return odd != 0 && at == time / 2 ? odd : std::sin(static_cast<double>((at + 3 * time) % time) * 1.7);
        });
        b.fill(m_view, [&] { return (j++ + 3 * time) % time % 7 == 3 ? 0.0 : 1.0; });
        const int mask = b.load(m_view, i32), zero = b.constant(0);
        const int a = b.emit(Op::where, f32, mask, b.constant(0.97), b.constant(1)), s = b.emit(Op::scan, f32, a, b.emit(Op::where, f32, mask, b.load(x_view), zero), zero);
        b.store(s);
        b.store(b.emit(Op::where, f32, mask, s, zero));
        // One row alone, too.
        Builder alone = b;
        alone.p.shape[0] = 1;
        for (const test::Device& device : test::devices()) {
          if (!device.threads) continue;
          device.select(device.name);
          cpu::set_threads(1);
          const std::vector<Buffer> memory = b.run_on(*device.backend), of_one = alone.run_on(*device.backend);
          for (size_t k = memory.size() - 2; k < memory.size(); ++k) {
            const char* const first = memory[k].bytes.data() + (3 + time) * 4;
            if (odd == 0) CHECK_THAT(std::memcmp(first, of_one[k].bytes.data() + 3 * 4, static_cast<size_t>(time) * 4) == 0, "%s: a row of %lld steps alone has other bits", device.name.c_str(), static_cast<long long>(time));
            for (int64_t row = 2; row < rows; ++row) {
              CHECK_THAT(std::memcmp(first, first + (row - 1) * time * 4, static_cast<size_t>(time) * 4) == 0, "%s: row %lld of %lld steps has other bits", device.name.c_str(),
                         static_cast<long long>(row), static_cast<long long>(time));
            }
          }
        }
      }
    }
  }
}

// Long rows are cut, and what came in to a segment is forgotten within it, but not what another scan made of it.
TEST(states_that_others_read) {
  for (bool squares : {false, true}) {
    Builder b({1, 65'536});
    b.sequential(false);
    b.cpu_only = true;
    const int view = b.view(DType::f32);
    int64_t i = -3;
    b.fill(view, [&] { return ++i == 16'300 ? squares ? 1e30 : NAN : 0.5; });
    const int x = b.load(view), half = b.constant(0.5), zero = b.constant(0);
    const int s = b.emit(Op::scan, f32, half, x, zero);
    const int term = squares ? b.emit(Op::mul, f32, s, s) : b.emit(Op::where, f32, b.emit(Op::isnan, f32, s), b.constant(1), s);
    b.store(b.emit(Op::scan, f32, half, term, zero));
    b.check("read by others", 1e-5, 1e-5);
  }
}

// What stands where the mask does not hold counts, too.
TEST(odd_results_behind_masks) {
  Builder b({3, 900});
  b.sequential(true);
  b.cpu_only = true;
  const int view = b.view(DType::boolean);
  int64_t i = 0;
  b.fill(view, [&] { return ++i % 300 < 250 ? 1.0 : 0.0; });
  const int mask = b.load(view, i32), zero = b.constant(0), x = b.input(-1, 1);
  const int s = b.emit(Op::scan, f32, b.emit(Op::where, f32, mask, b.constant(0.9), b.constant(1)), b.emit(Op::where, f32, mask, x, zero), zero);
  const int result = b.emit(Op::where, f32, mask, s, b.constant(INFINITY));
  b.store(result);
  b.fold(Reduction::sum, b.emit(Op::mul, f32, result, zero));
  b.check("odd behind masks");
}
