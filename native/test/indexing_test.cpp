// gather, scatter_add, index_copy and fill against plain loops.
#include "kernels_test.h"

namespace test {
namespace {

constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::i32, DType::u8, DType::boolean};

Tensor filled(DType dtype, const std::vector<int64_t>& shape, Layout layout = Layout::contiguous) {
  Tensor t(dtype, shape, layout);
  std::uniform_int_distribution<int> distribution(dtype == DType::u8 ? 0 : -50, dtype == DType::boolean ? 1 : 50);
  for (int64_t i = 0; i < t.size(); ++i) t.set(i, dtype == DType::boolean ? std::abs(distribution(random_engine())) % 2 : distribution(random_engine()));
  return t;
}

// Position in a tensor of `shape` with `extent` along `axis`, of element i of `shape` moved to `index` there.
int64_t moved(const std::vector<int64_t>& shape, int axis, int64_t extent, int64_t i, int64_t index) {
  int64_t coordinates[kMaxDims], position = 0;
  for (int d = static_cast<int>(shape.size()) - 1; d >= 0; i /= shape[d], --d) coordinates[d] = i % shape[d];
  for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
    position = position * (d == axis ? extent : shape[d]) + (d == axis ? index : coordinates[d]);
  }
  return position;
}

TEST(gather_values) {
  const std::vector<int64_t> shape = {6, 5, 37};
  for (DType dtype : kAll) {
    for (int axis = 0; axis < 3; ++axis) {
      for (Layout layout : kLayouts) {
        std::vector<int64_t> source = shape;
        source[axis] = 11;
        Tensor x = filled(dtype, source, layout), index = integers(shape, 0, 10, layout), out(dtype, shape, layout);
        for_each_isa([&] {
          run(Kernel::gather, {&x, &index, &out}, {}, axis);
          for (int64_t i = 0; i < out.size(); ++i) CHECK(out[i] == x[moved(shape, axis, 11, i, static_cast<int64_t>(index[i]))]);
        });
      }
    }
  }
}

// An index of stride 0 along the last dimension.
Tensor row_index(int64_t rows, int64_t columns, int high) {
  Tensor index = integers({rows}, 0, high);
  index.view.ndim = 2, index.view.shape[1] = columns, index.view.strides[1] = 0;
  return index;
}

TEST(embedding) {
  for (Layout layout : kLayouts) {
    Tensor table = normal(DType::f32, {50, 64}, layout), index = row_index(700, 64, 49), out(DType::f32, {700, 64}, layout);
    Tensor grad(DType::f32, {50, 64}, layout);
    for_each_isa([&] {
      run(Kernel::gather, {&table, &index, &out}, {}, 0);
      for (int64_t i = 0; i < out.size(); ++i) CHECK(out[i] == table[static_cast<int64_t>(index[i]) * 64 + i % 64]);
      run(Kernel::scatter_add, {&index, &out, &grad}, {}, 0);
      std::vector<float> sums(50 * 64);  // the same order, the same bits
      for (int64_t i = 0; i < out.size(); ++i) sums[static_cast<int64_t>(index[i]) * 64 + i % 64] += static_cast<float>(out[i]);
      for (int64_t i = 0; i < grad.size(); ++i) CHECK(grad[i] == sums[i]);
    });
  }
}

TEST(scatter_add_values) {
  const std::vector<int64_t> shape = {40, 3, 29};
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32}) {
    for (int axis = 0; axis < 3; ++axis) {
      for (Layout layout : kLayouts) {
        std::vector<int64_t> target = shape;
        target[axis] = 7;
        Tensor src = filled(dtype, shape, layout), index = integers(shape, 0, 6, layout);
        Tensor out(dtype == DType::bf16 ? DType::f32 : dtype, target, layout);
        std::vector<double> expected(out.size());
        for (int64_t i = 0; i < src.size(); ++i) expected[moved(shape, axis, 7, i, static_cast<int64_t>(index[i]))] += src[i];
        for_each_isa([&] {
          run(Kernel::scatter_add, {&index, &src, &out}, {}, axis);
          check_close(out, expected, 0, "scatter_add");
        });
      }
    }
  }
}

TEST(scatter_add_one_dimension_and_empty) {
  Tensor src = filled(DType::f32, {1000}), index = integers({1000}, 0, 4), out(DType::f32, {5}), none(DType::f32, {0}), nowhere(DType::i32, {0});
  std::vector<double> expected(5);
  for (int64_t i = 0; i < 1000; ++i) expected[static_cast<int64_t>(index[i])] += src[i];
  Tensor rows(DType::i32, {0, 4}), values(DType::f32, {0, 4}), table(DType::f32, {3, 4});
  for_each_isa([&] {
    run(Kernel::scatter_add, {&index, &src, &out}, {}, 0);
    check_close(out, expected, 0, "scatter_add");
    run(Kernel::scatter_add, {&nowhere, &none, &out}, {}, 0);
    check_close(out, std::vector<double>(5), 0, "scatter_add of nothing");
    run(Kernel::scatter_add, {&rows, &values, &table}, {}, 0);
    check_close(table, std::vector<double>(12), 0, "scatter_add of no rows");
    run(Kernel::gather, {&table, &rows, &values}, {}, 0);
  });
}

TEST(index_errors) {
  Tensor x(DType::f32, {10}), index(DType::i32, {5}), out(DType::f32, {5}), wide(DType::f64, {5}), matrix(DType::f32, {2, 5});
  for (int64_t i = 0; i < 5; ++i) index.set(i, i);
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::gather, {&x, &index, &wide}, {}, 0), "gather: out: expected float32, got float64");
    CHECK_THROWS(run_once(Kernel::gather, {&matrix, &index, &out}, {}, 0), "gather: x: expected shape [5], got [2,5]");
    for (int bad : {99, -1, 10}) {
      index.set(3, bad);
      const std::string text = "index " + std::to_string(bad) + " at position 3 is outside [0, 10)";
      CHECK_THROWS(run_once(Kernel::gather, {&x, &index, &out}, {}, 0), ("gather: " + text).c_str());
      const std::vector<char> before = x.storage;
      CHECK_THROWS(run_once(Kernel::scatter_add, {&index, &out, &x}, {}, 0), ("scatter_add: " + text).c_str());
      CHECK(before == x.storage);
      index.set(3, 3);
    }
  });
}

TEST(index_copy_values) {
  for (DType dtype : kAll) {
    for (Layout layout : kLayouts) {
      const Tensor before = filled(dtype, {3, 9, 40}, layout);
      Tensor src = filled(dtype, {3, 4, 40}, layout);
      for_each_isa([&] {
        for (int position : {0, 2, 5}) {
          Tensor dst = before;
          run(Kernel::index_copy, {&dst, &src}, {static_cast<double>(position)});
          for (int64_t i = 0; i < dst.size(); ++i) {
            const int64_t b = i / 360, t = i / 40 % 9 - position, c = i % 40;
            CHECK(dst[i] == (t >= 0 && t < 4 ? src[(b * 4 + t) * 40 + c] : before[i]));
          }
        }
        Tensor dst = before, longer(dtype, {3, 10, 40});
        CHECK_THROWS(run_once(Kernel::index_copy, {&dst, &src}, {6}), "index_copy: position: expected an integer in [0, 5], got 6");
        CHECK_THROWS(run_once(Kernel::index_copy, {&dst, &src}, {0.5}), "index_copy: position: expected an integer");
        CHECK_THROWS(run_once(Kernel::index_copy, {&dst, &longer}, {0}), "index_copy: src: expected shape [3,9,40], got [3,10,40]");
      });
    }
  }
}

TEST(fill_values) {
  for_each_isa([&] {
    for (DType dtype : kAll) {
      for (int64_t n : {0, 1, 70000}) {
        Tensor out(dtype, {n});
        run(Kernel::fill, {&out}, {3});
        for (int64_t i = 0; i < n; ++i) CHECK(out[i] == (dtype == DType::boolean ? 1 : 3));
      }
    }
    Tensor bytes(DType::u8, {4}), integer(DType::i32, {1}), gaps(DType::f32, {3, 2}, Layout::gaps);
    run(Kernel::fill, {&bytes}, {300});
    CHECK(bytes[3] == 255);
    run(Kernel::fill, {&integer}, {std::nan("")});
    CHECK(integer[0] == 0);
    CHECK_THROWS(run_once(Kernel::fill, {&gaps}, {0}), "fill: out: expected a contiguous view");
  });
}

}  // namespace
}  // namespace test
