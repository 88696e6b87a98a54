// Programs over what lies across memory, as after a transposition: alone and beside what lies along it, by blocks, columns and rows side by side.
#include <algorithm>

#include "program_builder.h"

using namespace test::programs;

namespace {

// Every order of dimensions in memory that differs from theirs.
std::vector<std::vector<int>> other_orders(int dims) {
  std::vector<int> order;
  for (int d = 0; d < dims; ++d) order.push_back(d);
  std::vector<std::vector<int>> all;
  while (std::next_permutation(order.begin(), order.end())) all.push_back(order);
  return all;
}

const std::vector<int64_t> kShapes[] = {{64, 64}, {33, 71}, {16, 300}, {300, 9}, {2, 1500}, {1500, 2}, {129, 1, 130}, {3, 70, 41}, {40, 5, 66}};

// Rounded in memory: float32, bfloat16 and so on.
void fill_all(Builder& b, std::initializer_list<int> views) {
  for (int v : views) b.fill_uniform(v, 0, 3);
}

}  // namespace

TEST(elements_across) {
  const DType dtypes[] = {DType::f32, DType::f64, DType::bf16, DType::i32, DType::u8, DType::boolean};
  for (const auto& shape : kShapes) {
    for (const auto& order : other_orders(static_cast<int>(shape.size()))) {
      for (DType dtype : dtypes) {
        for (int many : {1, 30}) {  // registers: tiles of 32 × 32, and smaller ones
          for (unsigned flip : {0u, 2u}) {
            if (many > 1 && (dtype != DType::f32 || flip != 0)) continue;
            Builder b(shape);
            const int across = b.view(dtype, order, 0, flip), straight = b.view(DType::f32), row = b.view(DType::f32, {}, 1);
            fill_all(b, {across, straight, row});
            const int x = b.load(across), y = b.load(straight), z = b.load(row);
            std::vector<int> kept;
            for (int i = 0; i < many; ++i) kept.push_back(b.emit(Op::fma, f32, x, b.constant(i + 1), y));
            int sum = z;
            for (int value : kept) sum = b.emit(Op::add, f32, sum, value);
            b.store(sum);
            b.store(x, f32, dtype);
            b.check("elements across", 1e-5, 1e-5);
          }
        }
      }
    }
  }
}

TEST(reductions_across) {
  for (const auto& shape : kShapes) {
    const int dims = static_cast<int>(shape.size());
    for (const auto& order : other_orders(dims)) {
      for (int outer = 0; outer < dims; ++outer) {
        for (int reduced = 1; outer + reduced <= dims; ++reduced) {
          for (bool beside : {false, true}) {
            Builder b(shape);
            b.reduce(outer, reduced);
            const int across = b.view(DType::f32, order), mask = b.view(DType::boolean, beside ? std::vector<int>{} : order);
            fill_all(b, {across, mask});
            const int x = b.emit(Op::where, f32, b.load(mask, i32), b.load(across), b.constant(1));
            b.fold(Reduction::sum, x, f32, DType::f64);
            b.fold(Reduction::maximum, x);
            b.cpu_only = outer + reduced == dims && !beside;
            if (b.cpu_only) b.fold(Reduction::spread, x, f32, DType::f64);
            if (beside) b.store(x);
            b.check("reductions across", 2e-6, 1e-6);
          }
        }
      }
    }
  }
}

TEST(scans_across) {
  for (const auto& shape : kShapes) {
    const int last = static_cast<int>(shape.size()) - 1;
    for (const auto& order : other_orders(last + 1)) {
      for (bool reverse : {false, true}) {
        for (DType dtype : {DType::f32, DType::bf16}) {
          Builder b(shape);
          b.sequential(reverse);
          const int across = b.view(dtype, order), mask = b.view(DType::boolean, order), straight = b.view(DType::f32), init = b.view(DType::f32, {}, 1u << last);
          fill_all(b, {across, mask, straight, init});
          const int m = b.load(mask, i32), x = b.emit(Op::where, f32, m, b.load(across), b.constant(0)), factor = b.emit(Op::where, f32, m, b.constant(0.9), b.constant(1));
          const int s = b.emit(Op::scan, f32, factor, b.emit(Op::sub, f32, x, b.load(straight)), b.load(init));
          b.store(s);
          b.store(s, f32, b.view(DType::f32, order));
          b.fold(Reduction::sum, s);
          b.check("scans across", 1e-5, 1e-4);
        }
      }
    }
  }
}
