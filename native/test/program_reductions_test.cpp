// Programs with reductions.
#include "program_builder.h"

using namespace test::programs;

TEST(reductions) {
  struct Case {
    std::vector<int64_t> shape;
    int outer, reduced;
  };
  const Case all[] = {
      {{1}, 0, 1},        {{5}, 0, 1},          {{1031}, 0, 1},       {{200'003}, 0, 1},       {{7, 13}, 1, 1},
      {{130, 17}, 1, 1},  {{3, 5000}, 1, 1},    {{70, 1030}, 1, 1},   {{2, 90'001}, 1, 1},     {{7, 13}, 0, 2},
      {{1000, 5}, 1, 1},  {{4000, 1}, 1, 1},    {{1, 77}, 1, 1},      {{7, 13}, 0, 1},         {{50'021, 3}, 0, 1},
      {{300, 700}, 0, 1}, {{9, 100, 40}, 1, 1}, {{3, 4, 5, 6}, 1, 2}, {{3, 400, 5, 60}, 1, 2}, {{2, 3, 1500, 7, 3}, 2, 1},
      {{65, 2000}, 0, 1}, {{20'000, 1}, 0, 1},  {{9, 1, 5}, 1, 1},    {{100, 100, 100}, 0, 3}, {{64, 33, 3}, 1, 2},
  };
  int number = 0;
  for (const Case& one : all) {
    ++number;
    for (int variant = 0; variant < 4; ++variant) {
      Builder b(one.shape);
      b.reduce(one.outer, one.reduced);
      // Variants: merged dimensions; a transposed operand; one broadcast along the first dimension; integers.
      std::vector<int> backwards;
      for (int d = b.p.ndim - 1; d >= 0; --d) backwards.push_back(d);
      const RegisterType type = variant == 3 ? i32 : f32;
      const int x = b.view(variant == 3 ? DType::i32 : DType::f32),
                y = b.view(variant == 2 ? DType::bf16 : DType::u8, variant == 1 ? backwards : std::vector<int>{}, variant == 2 ? 1 : 0);
      b.fill_uniform(x, variant == 3 ? -9 : 0.5, variant == 3 ? 9 : 1.5);
      b.fill_uniform(y, 0, 3);
      const int value = b.emit(Op::add, type, b.load(x, type), b.load(y, type));
      b.fold(Reduction::sum, value, type, variant == 3 ? DType::i32 : DType::f32);
      b.fold(Reduction::sum, value, type, DType::f64);
      b.fold(Reduction::maximum, value, type);
      b.fold(Reduction::minimum, value, type);
      b.store(value, type, DType::f32);
      b.check("reduction", 1e-6, 1e-9, variant == 1 && number % 3 == 0);
    }
  }
}

TEST(products) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{3, 40'000}, {40'000, 3}}) {
    Builder b(shape);
    b.reduce(shape[0] == 3 ? 1 : 0, 1);
    const int x = b.view(DType::f64), signs = b.view(DType::i32);
    b.fill_uniform(x, 0.9999, 1.0001);
    b.fill(signs, [&] { return b.random() % 2 ? 1 : -1; });
    b.fold(Reduction::product, b.load(x, f64), f64, DType::f64);
    b.fold(Reduction::product, b.load(signs, i32), i32, DType::i32);
    b.check("product", 1e-10, 1e-6, true);
  }
}

// About any offset, whatever comes first, beside other folds of the same values: rows in a tile and of many, in pieces, several dimensions, scans either way.
TEST(spreads) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 37}, {1, 1}, {5, 1}, {6, 3000}, {2, 90'000}, {900, 5}, {33, 64}, {70, 301}, {3, 4, 500}}) {
    for (int way = 0; way < 5; ++way) {
      for (double offset : {0.0, 1e6}) {
        Builder b(shape);
        b.cpu_only = true;
        const int last = b.p.ndim - 1;
        if (way == 0) b.reduce(last, 1);
        if (way == 1) b.reduce(0, b.p.ndim);
        if (way > 1) b.sequential(way == 2);
        const int v = b.view(DType::f32);
        int64_t i = 0;
        std::normal_distribution<double> normal(offset, 3);
        b.fill(v, [&] { return i++ % shape[last] == 0 ? offset + 900 : normal(b.random); });
        int x = b.load(v);
        if (way == 2 || way == 3) x = b.emit(Op::scan, f32, b.constant(0.5), x, b.constant(offset));
        if (way == 4) x = b.emit(Op::scan_prev, f32, b.constant(0), x, b.constant(offset));
        b.fold(Reduction::spread, x, f32, DType::f64);
        b.fold(Reduction::spread, x);
        b.fold(Reduction::sum, x, f32, DType::f64);
        if (way > 1) b.store(x);
        // Where states are rounded one way here and another there, each value's last digit counts.
        b.check("spread", offset == 0 || way < 2 ? 2e-6 : 2e-3, offset == 0 ? 1e-5 : 0.3);
      }
    }
  }
}

// Sums of what is 0 times x, which only say whether all are finite, and of squares: totals, rows and columns, in scans too.
TEST(sums_of_zeros_and_squares) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 37}, {6, 3000}, {2, 20'000}, {900, 5}, {70, 300}}) {
    for (int way = 0; way < 4; ++way) {
      for (RegisterType type : {f32, f64}) {
        Builder b(shape);
        if (way < 2) b.reduce(way, 2 - way);
        if (way == 2) b.reduce(0, 1);
        if (way == 3) b.sequential(true);
        const DType dtype = type == f32 ? DType::f32 : DType::f64;
        const int wild = b.view(dtype), tame = b.view(dtype);
        b.fill_uniform(tame, -2, 2);
        int64_t i = 0;
        b.fill(wild, [&] { return ++i % 4001 == 77 ? NAN : i % 9001 == 88 ? -INFINITY : i % 3 - 1.0; });
        const int zero = b.constant(0, type), half = b.constant(0.5, type);
        const int x = b.load(wild, type), y = b.load(tame, type), z = b.emit(Op::sub, type, y, half);
        for (int value : {x, y, z}) {
          b.fold(Reduction::sum, b.emit(Op::mul, type, value, zero), type, dtype);
          b.fold(Reduction::sum, b.emit(Op::mul, type, zero, value), type, dtype);
        }
        b.fold(Reduction::sum, b.emit(Op::square, type, z), type, DType::f64);
        b.fold(Reduction::sum, b.emit(Op::mul, type, z, z), type, dtype);
        const int squared = b.emit(Op::square, type, y);
        b.fold(Reduction::sum, squared, type, dtype);
        b.store(squared, type, dtype);
        b.store(z, type, dtype);
        if (way == 3) b.store(b.emit(Op::scan, type, half, z, zero), type, dtype);
        b.check("zeros and squares");
      }
    }
  }
}

// How many elements something holds of: totals, rows and columns, short ones and ones of many tiles, in scans too.
TEST(counts_of_truths) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 37}, {3, 3000}, {2, 20'000}, {900, 5}, {30, 300}}) {
    for (int way = 0; way < 4; ++way) {
      for (RegisterType type : {f32, f64, i32}) {
        Builder b(shape);
        if (way < 2) b.reduce(way, 2 - way);
        if (way == 2) b.reduce(0, 1);
        if (way == 3) b.sequential(true);
        const int x = b.input(-9, 9, type == i32 ? DType::i32 : DType::f32, type), zero = b.constant(0, type);
        const int above = b.emit(Op::gt, type, x, zero), whole = b.emit(Op::le, type, x, b.constant(100, type)), none = b.emit(Op::not_, i32, whole);
        for (int value : {above, whole, none, b.emit(Op::and_, i32, above, whole)}) b.fold(Reduction::sum, value, i32, DType::i32);
        // One less than a truth is none: -1 and 0.
        b.fold(Reduction::sum, b.emit(Op::sub, i32, above, whole), i32, DType::i32);
        if (way == 3) b.store(b.emit(Op::scan, type, zero, x, zero), type, type == f64 ? DType::f64 : type == i32 ? DType::i32 : DType::f32);
        b.check("counts", 0, 0);
      }
    }
  }
}

TEST(extremes_keep_nan) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6, 37}, {6, 3000}, {2, 100'000}}) {
    for (int outer : {0, 1}) {
      for (RegisterType type : {f32, f64}) {
        Builder b(shape);
        b.reduce(outer, 1);
        const int x = b.view(type == f32 ? DType::f32 : DType::f64);
        int i = 0;
        b.fill(x, [&] { return ++i == 50 ? NAN : i == 60 ? INFINITY : i == 61 ? -INFINITY : i * 0.25; });
        const int value = b.load(x, type);
        b.fold(Reduction::maximum, value, type);
        b.fold(Reduction::minimum, value, type);
        b.fold(Reduction::sum, value, type);
        b.check("nan", 2e-6, 1e-6, type == f32);
      }
    }
  }
}

TEST(sums_lose_nothing_around_1e4) {
  Builder b({1'000'000});
  b.reduce(0, 1);
  const int x = b.input(9999.5, 10000.5);
  const int centred = b.emit(Op::sub, f32, x, b.constant(10000));
  b.fold(Reduction::sum, x, f32, DType::f64);
  b.fold(Reduction::sum, centred, f32, DType::f64);
  b.check("sum", 1e-12, 1e-9);
}

TEST(empty_shapes) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{0}, {0, 5}, {5, 0}, {3, 0, 4}}) {
    for (int outer = 0; outer < static_cast<int>(shape.size()); ++outer) {
      Builder b(shape);
      b.reduce(outer, 1);
      const int x = b.input(0, 1), n = b.input(0, 9, DType::i32, i32);
      for (Reduction reduction : {Reduction::sum, Reduction::product, Reduction::maximum, Reduction::minimum}) {
        b.fold(reduction, x);
        b.fold(reduction, n, i32, DType::i32);
      }
      b.store(x);
      b.check("empty", 0, 0);
    }
  }
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{0, 4}, {4, 0}}) {
    Builder b(shape);
    b.sequential(true);
    const int x = b.input(0, 1);
    const int s = b.emit(Op::scan, f32, x, x, x);
    b.store(s);
    b.fold(Reduction::sum, s);
    b.check("empty scan", 0, 0);
  }
}

TEST(sums_of_int32_wrap_only_at_the_end) {
  Builder b({70'000});
  b.reduce(0, 1);
  const int x = b.view(DType::i32);
  b.fill(x, [] { return 2147483647.0; });
  b.fold(Reduction::sum, b.load(x, i32), i32, DType::f64);
  b.check("int64 totals", 0, 0);
}
