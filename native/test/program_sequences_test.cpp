// Programs with scans and loops.
#include "program_builder.h"

using namespace test::programs;

TEST(scans) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 1},
                                            {1, 17},
                                            {7, 1},
                                            {8, 5},
                                            {9, 64},
                                            {33, 129},
                                            {100, 3},
                                            {1, 4097},
                                            {5, 4097},
                                            {257, 70},
                                            {3, 4, 50},
                                            {2, 50'001},
                                            {64, 1000}}) {
    for (bool reverse : {false, true}) {
      for (RegisterType type : {f32, f64}) {
        Builder b(shape);
        b.sequential(reverse);
        const int last = b.p.ndim - 1;
        const DType dtype = type == f32 ? DType::f32 : DType::f64;
        const int a = b.input(-1, 1, dtype, type), x = b.input(-1, 1, DType::bf16, type), m = b.input(0, 2, DType::boolean, type);
        const int init = b.input(-2, 2, dtype, type, 1u << last);
        const int step = b.input(0, 1, DType::u8, type, 1u << (last > 0 ? 0 : 7));
        const int s = b.emit(Op::scan, type, a, x, init);
        const int previous = b.emit(Op::scan_prev, type, m, b.emit(Op::mul, type, s, step), init);
        const int chained = b.emit(Op::scan, type, b.constant(0.9, type), b.emit(Op::sub, type, previous, s), b.constant(0, type));
        b.store(s, type, dtype);
        b.store(previous, type, b.view(dtype, {}, 0, 1u << last));
        b.store(chained, type, DType::bf16);
        b.fold(Reduction::sum, chained, type);
        b.fold(Reduction::maximum, s, type);
        b.check("scan", type == f32 ? 1e-5 : 1e-12, type == f32 ? 2e-5 : 1e-10, type == f32 && reverse);
      }
    }
  }
}

// GAE over a mask with holes: V_next and A, the estimator's own program.
TEST(generalized_advantage_estimation) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{33, 129}, {2, 100'000}}) {
    Builder b(shape);
    b.sequential(true);
    const int r = b.input(-1, 1), v = b.input(-1, 1), mask = b.input(0, 2, DType::boolean, i32);
    const int m = b.emit(Op::cast, f32, mask, static_cast<int>(i32));
    const int zero = b.constant(0), one = b.constant(1);
    const int hole = b.emit(Op::sub, f32, one, m);
    const int next = b.emit(Op::scan_prev, f32, hole, b.emit(Op::mul, f32, m, v), zero);
    const int delta = b.emit(Op::sub, f32, b.emit(Op::fma, f32, next, b.constant(0.99), r), v);
    const int factor = b.emit(Op::where, f32, mask, b.constant(0.99 * 0.95), one);
    const int term = b.emit(Op::where, f32, mask, delta, zero), advantage = b.emit(Op::scan, f32, factor, term, zero);
    b.store(b.emit(Op::scan_prev, f32, factor, term, zero));  // by the same factor
    b.store(advantage);
    b.store(b.emit(Op::add, f32, advantage, v));
    b.fold(Reduction::sum, b.emit(Op::mul, f32, advantage, m), f32, DType::f64);
    b.check("gae", 1e-5, 1e-5, true);
  }
}

TEST(long_rows) {
  for (int64_t rows : {1, 3}) {
    for (bool reverse : {false, true}) {
      Builder b({rows, rows == 1 ? 1'000'000 : 40'000});
      b.sequential(reverse);
      const int one = b.constant(1);
      const int x = b.input(-1, 1), mask = b.input(0, 2, DType::u8, i32);
      const int init = b.input(5, 6, DType::f32, f32, 2);
      const int total = b.emit(Op::scan, f32, one, x, init);
      const int cut =
          b.emit(Op::scan, f32, b.emit(Op::cast, f32, mask, static_cast<int>(i32)), b.emit(Op::mul, f32, total, b.constant(1e-3)), init);
      const int before = b.emit(Op::scan_prev, f32, b.constant(0.5), cut, b.constant(3));
      b.store(total);
      b.store(cut);
      b.store(before);
      b.fold(Reduction::sum, before, f32, DType::f64);
      b.fold(Reduction::maximum, total);
      b.check("long rows", 1e-5, 3e-4, !reverse);  // states reach hundreds
    }
  }
}

// Factors whose product overflows, and a state of 0 that stays 0 through them.
TEST(long_rows_with_large_factors) {
  Builder b({1, 50'000});
  b.sequential(false);
  const int x = b.view(DType::f32);
  int i = 0;
  b.fill(x, [&] { return ++i == 50'000 ? 1 : 0; });
  const int two = b.constant(2), zero = b.constant(0);
  b.store(b.emit(Op::scan, f32, two, b.load(x), zero));
  b.check("large factors", 2e-6, 1e-6, true);
}

// Values that do not fit into a GPU's shared memory are in the device's, for as many blocks as it has at a time: each takes several parts of a row, or of the
// columns. The launch behind it finds its tickets where this one left them.
TEST(more_values_than_shared_memory_holds) {
  constexpr int kValues = 64;
  struct Case {
    std::vector<int64_t> shape;
    bool scans;
  };
  for (const Case& one : {Case{{1, 160'000}, true}, {{2, 40'000}, true}, {{1, 50'000}, false}, {{5120, 64}, false}}) {
    Builder b(one.shape);
    const bool columns = one.shape[1] == 64;
    if (one.scans) b.sequential(false);
    else b.reduce(columns ? 0 : 1, 1);
    const int x = b.input(0.5, 1.5);
    std::vector<int> kept;
    for (int i = 0; i < kValues; ++i) kept.push_back(b.emit(Op::mul, f32, x, b.constant((i + 1) * 0.01)));
    int sum = kept[0];
    for (int i = 1; i < kValues; ++i) sum = b.emit(Op::add, f32, sum, kept[i]);
    if (one.scans) b.store(b.emit(Op::scan, f32, b.constant(0.5), sum, b.constant(0)));
    b.fold(Reduction::sum, sum);
    b.check("many values", 1e-5, 1e-6);
#ifdef VANTAGE_TEST_EMULATED
    if (!test::cuda_backend() || one.shape[1] != 160'000) continue;
    test::cuda_backend()->trim();
    b.run_on(*test::cuda_backend());
    constexpr size_t kOfBlock = size_t{kValues} * 8 * 4 * 256, kParts = 160'000 / 2048;
    CHECK(test::cuda_backend()->cached_bytes() > kOfBlock);
    CHECK(test::cuda_backend()->cached_bytes() < kParts / 2 * kOfBlock);
#endif
  }
}

TEST(loops) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 1}, {1, 50}, {9, 1}, {33, 65}, {70, 400}, {3, 5, 40}, {1, 40'000}}) {
    for (bool reverse : {false, true}) {
      Builder b(shape);
      b.sequential(reverse);
      // (s, k) ← (tanh(s·x) + k, s > 0 ? k + 1 : 0), with a load and a constant inside the block.
      const int start = b.input(-1, 1, DType::f32, f32, 1u << (b.p.ndim - 1)), zero = b.constant(0, i32);
      const int v = b.view(DType::bf16);
      b.fill_uniform(v, -2, 2);
      const size_t loop = b.p.instructions.size();
      b.p.instructions.push_back({Op::loop, f32, 0, 0, 0, 0});
      const int s = b.emit(Op::state, f32, 0, 0, start), k = b.emit(Op::state, i32, 0, 0, zero);
      const int x = b.load(v), one = b.constant(1, i32);
      const int next =
          b.emit(Op::add, f32, b.emit(Op::tanh, f32, b.emit(Op::mul, f32, s, x)), b.emit(Op::cast, f32, k, static_cast<int>(i32)));
      const int count = b.emit(Op::where, i32, b.emit(Op::gt, f32, s, b.constant(0)), b.emit(Op::add, i32, k, one), zero);
      b.p.instructions[loop + 1].a = next;
      b.p.instructions[loop + 2].a = count;
      b.p.instructions[loop].b = static_cast<int>(b.p.instructions.size() - loop - 1);
      const int after = b.emit(Op::scan, f32, b.constant(0.5), next, b.constant(0));
      b.store(next);
      b.store(s);
      b.store(count, i32, DType::i32);
      b.store(after);
      b.fold(Reduction::sum, next);
      b.check("loop", 1e-4, 1e-4, reverse);
    }
  }
}
