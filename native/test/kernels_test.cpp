// matmul and adamw against plain loops in double.
#include "kernels_test.h"

#include <algorithm>

namespace test {
namespace {

std::vector<double> product(const Tensor& a, const Tensor& b, int64_t batches, int64_t M, int64_t N, int64_t K) {
  std::vector<double> out(batches * M * N);
  for (int64_t z = 0; z < batches; ++z) {
    for (int64_t i = 0; i < M; ++i) {
      for (int64_t k = 0; k < K; ++k) {
        for (int64_t j = 0; j < N; ++j) out[(z * M + i) * N + j] += a[(z * M + i) * K + k] * b[(z * K + k) * N + j];
      }
    }
  }
  return out;
}

void check_product(int64_t M, int64_t N, int64_t K, DType in, DType to, Layout la, Layout lb, Layout lo) {
  Tensor a = normal(in, {M, K}, la), b = normal(in, {K, N}, lb), out(to, {M, N}, lo);
  const std::vector<double> expected = product(a, b, 1, M, N, K);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &b, &out}, {});
    check_close(out, expected, tolerance(to == DType::bf16 ? to : in == DType::f64 ? in : DType::f32) * std::sqrt(1.0 + static_cast<double>(K)), "matmul");
  });
}

TEST(matmul_layouts) {
  for (Layout la : kLayouts) {
    for (Layout lb : kLayouts) {
      for (Layout lo : kLayouts) check_product(13, 21, 9, DType::f32, DType::f32, la, lb, lo);
    }
    check_product(70, 95, 301, DType::f64, DType::f64, la, Layout::transposed, Layout::contiguous);
    check_product(70, 95, 301, DType::bf16, DType::f32, la, Layout::transposed, Layout::contiguous);
    check_product(31, 40, 33, DType::bf16, DType::bf16, la, Layout::contiguous, Layout::transposed);
  }
}

TEST(matmul_shapes) {
  for (int64_t m : {1, 5, 6, 7, 12, 13, 25, 200}) {
    for (int64_t n : {1, 7, 8, 16, 17, 33, 70}) {
      for (int64_t k : {0, 1, 3, 64, 257}) check_product(m, n, k, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
    }
  }
  check_product(0, 4, 3, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
  check_product(4, 0, 3, DType::f32, DType::f32, Layout::contiguous, Layout::contiguous, Layout::contiguous);
  // Several tiles and blocks in each direction, and a long sum that is cut.
  check_product(401, 530, 300, DType::f32, DType::f32, Layout::contiguous, Layout::transposed, Layout::contiguous);
  check_product(64, 64, 3584, DType::f32, DType::f32, Layout::transposed, Layout::contiguous, Layout::gaps);
  check_product(5, 9, 2500, DType::f64, DType::f64, Layout::contiguous, Layout::contiguous, Layout::contiguous);
}

TEST(matmul_batches) {
  Tensor a = normal(DType::f32, {40, 3, 7, 8}), b = normal(DType::f32, {40, 3, 8, 5}), out(DType::f32, {40, 3, 7, 5});
  const std::vector<double> expected = product(a, b, 120, 7, 5, 8);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &b, &out}, {});
    check_close(out, expected, 2e-5, "batched matmul");
  });
  // b is the same matrix for the whole batch: strides 0.
  Tensor w = normal(DType::f32, {8, 5}), full(DType::f32, {40, 3, 8, 5});
  for (int64_t i = 0; i < full.size(); ++i) full.set(i, w[i % 40]);
  const std::vector<double> shared = product(a, full, 120, 7, 5, 8);
  w.view.ndim = 4;
  const int64_t shape[] = {40, 3, 8, 5}, strides[] = {0, 0, 5, 1};
  std::copy_n(shape, 4, w.view.shape), std::copy_n(strides, 4, w.view.strides);
  for_each_isa([&] {
    run(Kernel::matmul, {&a, &w, &out}, {});
    check_close(out, shared, 2e-5, "broadcast matmul");
  });
}

TEST(matmul_errors) {
  Tensor a(DType::f32, {2, 3}), b(DType::f32, {4, 5}), out(DType::f32, {2, 5}), integer(DType::i32, {3, 5}), good(DType::f32, {3, 5});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &b, &out}, {}), "matmul: b: expected shape [3,5], got [4,5]");
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &integer, &out}, {}), "matmul: b: expected float32 or float64 or bfloat16, got int32");
    CHECK_THROWS(run_once(Kernel::matmul, {&a, &good, &a}, {}), "matmul: out: expected shape [2,5], got [2,3]");
  });
}

TEST(adamw_values) {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (int64_t n : {0, 1, 33, 50001}) {
      Tensor param = normal(dtype, {n}), m = normal(dtype, {n}), v = normal(dtype, {n}), grad = normal(dtype, {n}), scale(dtype, {1});
      scale.set(0, 0.3);
      for (int64_t i = 0; i < n; ++i) v.set(i, v[i] * v[i]);
      const double lr = 1e-3, b1 = 0.9, b2 = 0.99, eps = 1e-8, decay = 0.1, c1 = 1 - b1 * b1, c2 = 1 - b2 * b2;
      std::vector<double> params, ms, vs;
      for (int64_t i = 0; i < n; ++i) {
        const double g = grad[i] * scale[0];
        ms.push_back(b1 * m[i] + (1 - b1) * g), vs.push_back(b2 * v[i] + (1 - b2) * g * g);
        params.push_back(param[i] - lr * (ms[i] / c1 / (std::sqrt(vs[i] / c2) + eps) + decay * param[i]));
      }
      for_each_isa([&] {
        Tensor p = param, first = m, second = v;
        run(Kernel::adamw, {&p, &first, &second, &grad, &scale}, {lr, b1, b2, eps, decay, c1, c2});
        check_close(p, params, tolerance(dtype), "param");
        check_close(first, ms, tolerance(dtype), "m");
        check_close(second, vs, tolerance(dtype), "v");
      });
    }
  }
}

}  // namespace
}  // namespace test

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
