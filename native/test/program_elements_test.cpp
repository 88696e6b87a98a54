// Element-wise programs: every instruction, conversion and layout.
#include "program_builder.h"

using namespace test::programs;

namespace {

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

// The same in one program for each type, so that it can be compiled.
TEST(all_instructions_in_one_program) {
  for (RegisterType type : {f32, f64, i32}) {
    Builder b({5, 67});
    const DType dtype = type == f32 ? DType::f32 : type == f64 ? DType::f64 : DType::i32;
    const double low = type == i32 ? 1 : 0.25, high = type == i32 ? 30 : 3;
    const int x = b.input(low, high, dtype, type), y = b.input(low, high, dtype, type), flag = b.input(0, 2, DType::boolean, i32);
    for (int r = 0; kFirstInstruction + r < static_cast<int>(Op::count); ++r) {
      const Kind kind = kInstructionRows[r].kind;
      if (!defined(kind, type)) continue;
      const Op op = static_cast<Op>(kFirstInstruction + r);
      const int result = kind == Kind::select ? b.emit(op, type, flag, x, y) : b.emit(op, type, x, y, x);
      if (kind == Kind::compare) b.store(result, i32, DType::u8);
      else b.store(result, type, dtype);
    }
    b.check("all instructions", type == f64 ? 1e-13 : 2e-6, type == f64 ? 1e-13 : 1e-5, true);
  }
}

TEST(all_conversions_in_one_program) {
  const DType dtypes[] = {DType::f32, DType::f64, DType::bf16, DType::i32, DType::u8, DType::boolean};
  for (RegisterType type : {f32, f64, i32}) {
    Builder b({3, 41});
    for (DType from : dtypes) {
      const int x = b.input(-300, 300, from, type);
      for (DType to : dtypes) b.store(x, type, to);
    }
    const int y = b.input(-9, 9, DType::f64, f64);
    b.store(b.emit(Op::cast, type, y, static_cast<int>(f64)), type, DType::f64);
    b.check("all conversions", 0, 0, true);
  }
}

TEST(all_operands_uniform) {
  Builder b({1000});
  const int x = b.constant(2), y = b.constant(5);
  b.store(b.emit(Op::fma, f32, b.emit(Op::mul, f32, x, y), y, b.emit(Op::exp, f32, x)));
  b.store(y);
  b.check("uniform", 2e-6, 1e-6, true);
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
          b.check("strides", 2e-6, 1e-6, order[0] == 1 && broadcast == 2 && flip == 5);
        }
      }
    }
  }
  Builder scalar({});
  scalar.store(scalar.emit(Op::exp, f32, scalar.input(1, 2)));
  scalar.check("no dimensions", 2e-6, 1e-6, true);
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
    b.check("in place", 2e-6, 1e-6, true);
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
  b.check("many registers", 1e-5, 1e-6, true);
}
