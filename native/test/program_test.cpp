// The interpreter against the reference, on awkward shapes, strides and types; with each instruction set of this CPU, and
// with the same bits for any number of threads.
#include <cmath>
#include <functional>
#include <random>
#include <string>

#include "../core/error.h"
#include "../cpu/backend.h"
#include "../cpu/thread_pool.h"
#include "reference.h"
#include "test.h"

using namespace vantage;

namespace {

constexpr RegisterType f32 = RegisterType::f32, f64 = RegisterType::f64, i32 = RegisterType::i32;

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    try {
      cpu::set_isa(name);
      names.push_back(name);
    } catch (const Error&) {
      continue;  // not on this CPU
    }
  }
  return names;
}

struct Buffer {
  DType dtype;
  int64_t elements;
  std::vector<char> bytes;
  Buffer(DType dtype, int64_t elements) : dtype(dtype), elements(elements), bytes(static_cast<size_t>(elements) * byte_size(dtype)) {}
  double operator[](int64_t i) const { return reference::load(bytes.data(), dtype, i); }
};

// A program under construction, with the memory that it runs on.
struct Builder {
  Program p;
  std::vector<Buffer> buffers;
  std::vector<double> scalars;
  std::mt19937 random{7};

  explicit Builder(std::vector<int64_t> shape) {
    p.ndim = static_cast<int>(shape.size());
    for (int d = 0; d < p.ndim; ++d) p.shape[d] = shape[d];
    p.outer = p.ndim;
  }
  Builder& reduce(int outer, int reduced) {
    p.outer = outer;
    p.reduced = reduced;
    return *this;
  }
  Builder& sequential(bool reverse) {
    p.sequential = true;
    p.reverse = reverse;
    return reduce(p.ndim - 1, 1);
  }

  // A view with the given order of dimensions in memory (from the slowest), `broadcast` dimensions with stride 0, `flip` ones negative.
  int view(DType dtype, std::vector<int> order = {}, unsigned broadcast = 0, unsigned flip = 0, int64_t gap = 0) {
    ProgramView v = {};
    v.slot = static_cast<int>(buffers.size());
    v.dtype = dtype;
    int64_t stride = 1 + gap, low = 3;
    for (int k = p.ndim - 1; k >= 0; --k) {
      const int d = order.empty() ? k : order[k];
      if (broadcast >> d & 1u) continue;
      v.strides[d] = stride;
      stride *= p.shape[d];
      if (flip >> d & 1u && p.shape[d] > 0) {
        v.strides[d] = -v.strides[d];
        low -= (p.shape[d] - 1) * v.strides[d];
      }
    }
    v.offset = low;
    buffers.emplace_back(dtype, stride + 7);
    p.views.push_back(v);
    return static_cast<int>(p.views.size()) - 1;
  }
  // A view for a reduction: stride 0 along the reduced dimensions.
  int total_view(DType dtype, unsigned flip = 0) {
    unsigned mask = 0;
    for (int d = p.outer; d < p.outer + p.reduced; ++d) mask |= 1u << d;
    return view(dtype, {}, mask, flip);
  }
  void fill(int view, const std::function<double()>& value) {
    Buffer& b = buffers[p.views[view].slot];
    for (int64_t i = 0; i < b.elements; ++i) reference::store(b.bytes.data(), b.dtype, i, value());
  }
  void fill_uniform(int view, double low, double high) {
    std::uniform_real_distribution<double> in(low, high);
    fill(view, [&] { return in(random); });
  }

  int emit(Op op, RegisterType type, int a = 0, int b = 0, int c = 0) {
    p.instructions.push_back({op, type, p.registers, a, b, c});
    return p.registers++;
  }
  int load(int view, RegisterType type = f32) { return emit(Op::load, type, view); }
  int input(double low, double high, DType dtype = DType::f32, RegisterType type = f32, unsigned broadcast = 0) {
    const int v = view(dtype, {}, broadcast);
    fill_uniform(v, low, high);
    return load(v, type);
  }
  int constant(double value, RegisterType type = f32) {
    scalars.push_back(value);
    return emit(Op::constant, type, static_cast<int>(scalars.size()) - 1);
  }
  void store(int reg, RegisterType type, int view) { p.outputs.push_back({Reduction::store, type, reg, view}); }
  void store(int reg, RegisterType type = f32, DType dtype = DType::f32) { store(reg, type, view(dtype)); }
  void fold(Reduction reduction, int reg, RegisterType type = f32, DType dtype = DType::f32) {
    p.outputs.push_back({reduction, type, reg, total_view(dtype)});
  }

  std::vector<void*> addresses(std::vector<Buffer>& memory) const {
    std::vector<void*> slots;
    for (Buffer& b : memory) slots.push_back(b.bytes.data());
    return slots;
  }

  // Runs the program with every instruction set and 1, 2 and 3 threads, and compares all memory with the reference's.
  void check(const char* what, double relative = 2e-6, double absolute = 1e-6) {
    std::vector<Buffer> expected = buffers;
    reference::run(p, addresses(expected).data(), scalars.data());
    static const std::vector<std::string> isas = available_isas();
    for (const std::string& isa : isas) {
      cpu::set_isa(isa);
      std::vector<Buffer> first;
      for (int threads = 1; threads <= 3; ++threads) {
        cpu::set_threads(threads);
        std::vector<Buffer> memory = buffers;
        cpu::backend().run(p, addresses(memory).data(), scalars.data());
        if (threads == 1) first = memory;
        for (size_t b = 0; b < memory.size(); ++b) {
          CHECK_THAT(memory[b].bytes == first[b].bytes, "%s (%s): other bits in buffer %zu with %d threads", what, isa.c_str(), b, threads);
        }
      }
      compare(what, isa, first, expected, relative, absolute);
    }
  }

  void compare(const char* what, const std::string& isa, const std::vector<Buffer>& got, const std::vector<Buffer>& expected,
               double relative, double absolute) {
    for (size_t b = 0; b < got.size(); ++b) {
      // A float that lies between two bfloat16 may be rounded to the other one.
      const double tolerance = got[b].dtype == DType::bf16 ? std::max(relative, 0.008) : relative;
      for (int64_t i = 0; i < got[b].elements; ++i) {
        ++test::checks();
        if (test::close(got[b][i], expected[b][i], tolerance, absolute)) continue;
        test::report(what, 0, "%s, buffer %zu, element %lld of %lld: expected %.9g, got %.9g", isa.c_str(), b, static_cast<long long>(i),
                     static_cast<long long>(got[b].elements), expected[b][i], got[b][i]);
        break;
      }
    }
  }
};


bool defined(Kind kind, RegisterType type) {
  return kind == Kind::floating ? type != i32 : kind == Kind::logical ? type == i32 : true;
}

// Values that find the edges, then random ones.
void fill_edges(Builder& b, int view, const InstructionRow& row, RegisterType type, int operand) {
  const std::string name = row.name;
  const bool positive = name == "log" || name == "sqrt" || name == "rsqrt" || (name == "pow" && operand == 0);
  std::vector<double> edges = {0,   1,        -1,        0.5, -0.5, 2,    1.5, 2.5,  -2.5,  1e-6, -1e-6,
                               NAN, INFINITY, -INFINITY, 90,  -90,  88.5, 700, -700, 1e-30, 3e9};
  if (type == i32) edges = {0, 1, -1, 7, -7, 2147483647.0, -2147483648.0};
  if (name == "mod" && operand == 1) edges = {3, -3, 0.75, 2};
  if (name == "mod" && operand == 0 && type != i32) edges = {7, -7, 0.5, -0.5, 100, -100};
  if (name == "pow") edges = operand == 0 ? std::vector<double>{0, 1, 2, 0.5} : std::vector<double>{0, 1, -1, 2, 0.5};
  if (name == "sin" || name == "cos") edges = {0, 1, -1, 3.14159265, 1e4, -1e5, 1e9, NAN};
  size_t next = static_cast<size_t>(operand) * 5;
  std::uniform_real_distribution<double> in(positive ? 0.0 : -4.0, 4.0);
  int count = 0;
  b.fill(view, [&] {
    if (++count % 3 == 0) return edges[next++ % edges.size()];
    return type == i32 ? std::trunc(in(b.random) * 25) : in(b.random);
  });
}

// The absolute error that cancellation or a zero of the function leaves; otherwise what flushed denormals cost.
double allowed_error(const std::string& name, RegisterType type) {
  const bool single = type == f32;
  if (name == "mod") return single ? 1e-5 : 1e-12;
  if (name == "fma") return single ? 2e-6 : 1e-14;
  if (name == "sin" || name == "cos") return single ? 3e-8 : 1e-300;
  return single ? 2e-38 : 1e-300;
}

double ulps(const std::string& name) { return name == "pow" || name == "sin" || name == "cos" || name == "tanh" ? 1e-6 : 5e-7; }

}  // namespace

TEST(every_instruction_and_type) {
  for (int r = 0; kFirstInstruction + r < static_cast<int>(Op::count); ++r) {
    const InstructionRow& row = kInstructionRows[r];
    for (RegisterType type : {f32, f64, i32}) {
      if (!defined(row.kind, type)) continue;
      for (int uniform = -1; uniform < row.operands; ++uniform) {
        Builder b({3, 431});
        int operands[3] = {};
        for (int k = 0; k < row.operands; ++k) {
          const RegisterType of = row.kind == Kind::select && k == 0 ? i32 : type;
          if (k == uniform) {
            operands[k] = b.constant(k == 1 ? 3 : 2, of);
            continue;
          }
          const int v = b.view(of == f32 ? DType::f32 : of == f64 ? DType::f64 : DType::i32);
          fill_edges(b, v, row, of, k);
          operands[k] = b.load(v, of);
        }
        const int result = b.emit(static_cast<Op>(kFirstInstruction + r), type, operands[0], operands[1], operands[2]);
        const RegisterType of = row.kind == Kind::compare ? i32 : type;
        b.store(result, of, of == f32 ? DType::f32 : of == f64 ? DType::f64 : DType::i32);
        const double relative = type == f64 ? 1e-14 : ulps(row.name);
        b.check(row.name, relative, allowed_error(row.name, type));
      }
    }
  }
}

TEST(all_operands_uniform) {
  Builder b({1000});
  const int x = b.constant(2), y = b.constant(5);
  b.store(b.emit(Op::fma, f32, b.emit(Op::mul, f32, x, y), y, b.emit(Op::exp, f32, x)));
  b.store(y);
  b.check("uniform");
}

TEST(every_conversion) {
  const DType dtypes[] = {DType::f32, DType::f64, DType::bf16, DType::i32, DType::u8, DType::boolean};
  for (DType from : dtypes) {
    for (RegisterType type : {f32, f64, i32}) {
      for (DType to : dtypes) {
        Builder b({7, 37});
        const int v = b.view(from);
        int i = 0;
        const double edges[] = {0,   1,   -1,   0.4,  -0.6, 254.5,    255.5,     300,        -300,
                                1e9, 3e9, -3e9, 1e20, NAN,  INFINITY, -INFINITY, 1.00390625, 1.01171875};
        std::uniform_real_distribution<double> in(-500, 500);
        b.fill(v, [&] { return ++i % 2 ? edges[i / 2 % 18] : in(b.random); });
        b.store(b.load(v, type), type, to);
        b.check("conversion", 0, 0);
      }
      for (RegisterType other : {f32, f64, i32}) {
        Builder b({300});
        const int x = b.input(-300, 300, from, type);
        b.store(b.emit(Op::cast, other, x, static_cast<int>(type)), other, DType::f64);
        b.check("cast", 0, 0);
      }
    }
  }
}

TEST(strides) {
  const std::vector<int> orders[] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {0, 2, 1}};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{5, 7, 11}, {3, 1, 1500}, {33, 65, 2}, {1, 1, 1}, {40, 3, 300}}) {
    for (const auto& order : orders) {
      for (unsigned broadcast = 0; broadcast < 8; ++broadcast) {
        for (unsigned flip : {0u, 5u, 7u}) {
          Builder b(shape);
          const int x = b.view(DType::f32, order, broadcast, flip), y = b.view(DType::bf16, {}, flip & ~broadcast, broadcast),
                    z = b.view(DType::u8, order, 0, flip);
          for (int v : {x, y, z}) b.fill_uniform(v, 0, 9);
          const int sum = b.emit(Op::fma, f32, b.load(x), b.load(y), b.load(z));
          b.store(sum, f32, b.view(DType::f32, order, 0, flip, 1));
          b.store(sum, f32, b.view(DType::f32));
          b.check("strides");
        }
      }
    }
  }
  Builder scalar({});
  scalar.store(scalar.emit(Op::exp, f32, scalar.input(1, 2)));
  scalar.check("no dimensions");
}

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
  for (const Case& one : all) {
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
      b.check("reduction", 1e-6, 1e-9);
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
    b.check("product", 1e-10);
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
        b.check("nan");
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

// An output may be the memory of an input, element by element; what is read later is not what was stored.
TEST(in_place) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{50'000}, {33, 40}}) {
    Builder b(shape);
    const int x = b.view(DType::f32), y = b.view(DType::f32);
    b.fill_uniform(x, 0, 1);
    b.fill_uniform(y, 0, 1);
    const int rx = b.load(x), ry = b.load(y);
    b.store(ry, f32, x);
    b.store(b.emit(Op::sub, f32, rx, ry), f32, y);
    b.store(b.emit(Op::mul, f32, b.load(x), rx));
    b.check("in place");
  }
}

// More registers than fit the first-level cache, each used again at the end; and a register that is written twice.
TEST(many_registers) {
  Builder b({3, 700});
  const int x = b.input(0.5, 1.5);
  std::vector<int> kept;
  for (int i = 0; i < 300; ++i) kept.push_back(b.emit(Op::mul, f32, x, b.constant(i * 0.01)));
  int sum = kept[0];
  for (int i = 1; i < 300; ++i) sum = b.emit(Op::add, f32, sum, kept[i]);
  b.p.instructions.push_back({Op::square, f32, x, x, 0, 0});
  b.p.instructions.push_back({Op::neg, f32, x, x, 0, 0});
  b.store(b.emit(Op::add, f32, sum, x));
  b.check("many registers", 1e-5);
}

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
        b.check("scan", type == f32 ? 1e-5 : 1e-12, type == f32 ? 2e-5 : 1e-10);
      }
    }
  }
}

// A scan whose state passes through where a mask is 0, and `where`s on the same mask, as TypeScript writes them: rows without holes, with holes
// that hold NaN, and without any valid position; rows that a tile holds whole, and rows in segments.
TEST(masked_scans) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{40, 700}, {96, 16}, {21, 13}, {3, 90'000}}) {
    for (bool reverse : {false, true}) {
      for (double factor : {0.9405, 1.0, -1.25}) {
        Builder b(shape);
        b.sequential(reverse);
        const int64_t time = shape[1];
        const int r = b.view(DType::f32), v = b.view(DType::f32), m = b.view(DType::u8);
        b.fill_uniform(r, -1, 1);
        b.fill_uniform(v, -1, 1);
        b.fill(m, [] { return 1.0; });
        for (int64_t row = 0; row < shape[0]; ++row) {
          for (int64_t t = 0; t < time; ++t) {
            const bool hole = row % 5 == 1 ? t % 7 == 3 : row % 5 == 2 ? t > time / 3 : row % 5 == 4;
            if (!hole) continue;
            const int64_t at = 3 + row * time + t;
            reference::store(b.buffers[b.p.views[m].slot].bytes.data(), DType::u8, at, 0);
            reference::store(b.buffers[b.p.views[r].slot].bytes.data(), DType::f32, at, NAN);
          }
        }
        const int mask = b.load(m, i32), valid = b.emit(Op::ne, i32, mask, b.constant(0, i32));
        const int reward = b.load(r), value = b.load(v), zero = b.constant(0), one = b.constant(1);
        const int next = b.emit(Op::scan_prev, f32, b.emit(Op::where, f32, mask, zero, one), b.emit(Op::where, f32, mask, value, zero), zero);
        const int delta = b.emit(Op::sub, f32, b.emit(Op::add, f32, reward, b.emit(Op::mul, f32, b.constant(0.99), next)), value);
        const int large = b.emit(Op::where, f32, mask, b.constant(factor), one);
        const int s = b.emit(Op::scan, f32, large, b.emit(Op::where, f32, mask, delta, zero), b.constant(0.5));
        const int result = b.emit(Op::where, f32, valid, b.emit(Op::add, f32, s, value), zero);
        const int twice = b.emit(Op::where, f32, mask, result, one);
        b.store(s);
        b.store(result);
        b.store(twice);
        b.fold(Reduction::sum, twice);
        // The difference is one multiply-add where the reference rounds twice, which adds up over a long row.
        const double tolerance = time > 10'000 ? 1e-4 : 1e-5;
        b.check("masked scan", tolerance, tolerance);
      }
    }
  }
}

// Factors so close to 1 that an error of every product of factors would be seen at the end of a long row.
TEST(factors_close_to_one) {
  for (double factor : {0.99995, 0.9999, 1.00001}) {
    Builder b({17, 20'000});
    b.sequential(true);
    const int x = b.input(0.5, 1);
    b.store(b.emit(Op::scan, f32, b.constant(factor), x, b.constant(3)));
    b.check("factors close to one", 5e-7);
  }
}

// Outputs that no cache holds are stored past it, in rows that are aligned and in rows that are not.
TEST(large_outputs) {
  for (int64_t columns : {131'072, 131'075}) {
    for (bool scan : {false, true}) {
      Builder b({33, columns});
      if (scan) b.sequential(true);
      const int x = b.input(-1, 1, DType::bf16), c = b.constant(0.5);
      const int y = scan ? b.emit(Op::scan, f32, c, x, c) : b.emit(Op::mul, f32, x, c);
      b.store(y);
      b.p.views.back().offset = 0;
      b.store(b.emit(Op::add, f32, y, x));
      b.check("large output", 1e-5, 1e-5);
    }
  }
}

// An element that every position reads is read once, but not if the program writes to it.
TEST(views_of_one_element) {
  Builder b({20, 300});
  const int x = b.input(-1, 1), one = b.input(1, 2, DType::f32, f32, 3), byte = b.input(2, 3, DType::u8, f32, 3);
  b.store(b.emit(Op::div, f32, b.emit(Op::sub, f32, x, one), byte));
  b.store(one);
  b.check("one element");
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
    const int advantage = b.emit(Op::scan, f32, factor, b.emit(Op::where, f32, mask, delta, zero), zero);
    b.store(advantage);
    b.store(b.emit(Op::add, f32, advantage, v));
    b.fold(Reduction::sum, b.emit(Op::mul, f32, advantage, m), f32, DType::f64);
    b.check("gae", 1e-5, 1e-5);
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
      b.check("long rows", 1e-5, 1e-4);
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
  b.check("large factors");
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
      b.check("loop", 1e-4, 1e-4);
    }
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

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
