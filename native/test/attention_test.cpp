// attention against plain loops in double, its gradient against central differences of those loops.
#include <limits>

#include "kernels_test.h"

namespace test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNaN = std::nan("");

struct Case {
  int64_t B, H, Hk, Tq, Tk, D, offset;
  double scale;
};

bool sees(const Case& c, const Tensor& start, int64_t b, int64_t i, int64_t j) { return j >= start[b] && j <= c.offset + i; }

struct Reference {
  std::vector<double> out, lse;
};

Reference attend(const Case& c, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& start) {
  Reference r;
  for (int64_t b = 0; b < c.B; ++b) {
    for (int64_t h = 0; h < c.H; ++h) {
      const int64_t kh = b * c.Hk + h * c.Hk / c.H;
      for (int64_t i = 0; i < c.Tq; ++i) {
        std::vector<double> scores(c.Tk, -kInfinity), row(c.D);
        double max = -kInfinity, sum = 0;
        for (int64_t j = 0; j < c.Tk; ++j) {
          if (!sees(c, start, b, i, j)) continue;
          double dot = 0;
          for (int64_t d = 0; d < c.D; ++d) dot += q[((b * c.H + h) * c.Tq + i) * c.D + d] * k[(kh * c.Tk + j) * c.D + d];
          scores[j] = dot * c.scale, max = std::fmax(max, scores[j]);
        }
        for (int64_t j = 0; j < c.Tk; ++j) {
          if (!sees(c, start, b, i, j)) continue;
          const double weight = std::exp(scores[j] - max);
          sum += weight;
          for (int64_t d = 0; d < c.D; ++d) row[d] += weight * v[(kh * c.Tk + j) * c.D + d];
        }
        for (double x : row) r.out.push_back(sum > 0 ? x / sum : 0);
        r.lse.push_back(sum > 0 ? max + std::log(sum) : -kInfinity);
      }
    }
  }
  return r;
}

const Case kCases[] = {
    {3, 4, 4, 8, 8, 16, 0, 0.25}, {2, 4, 2, 7, 9, 5, 2, 0.4},   {2, 6, 2, 1, 20, 16, 19, 0.3}, {1, 2, 1, 70, 70, 33, 0, 0.2},
    {1, 1, 1, 5, 3, 4, -2, 1},    {1, 2, 2, 130, 700, 8, 570, 1}, {2, 2, 1, 3, 0, 4, 0, 1},      {0, 2, 2, 3, 3, 4, 0, 1},
};

TEST(attention_values) {
  for (const Case& c : kCases) {
    for (DType dtype : {DType::f32, DType::f64}) {
      for (Layout layout : kLayouts) {
        Tensor q = normal(dtype, {c.B, c.H, c.Tq, c.D}, layout), k = normal(dtype, {c.B, c.Hk, c.Tk, c.D}, layout);
        Tensor v = normal(dtype, {c.B, c.Hk, c.Tk, c.D}, layout), start = integers({c.B}, 0, static_cast<int>(c.Tk) / 2);
        Tensor out(dtype, {c.B, c.H, c.Tq, c.D}, layout), lse(dtype, {c.B, c.H, c.Tq}, layout);
        const Reference r = attend(c, q, k, v, start);
        for_each_isa([&] {
          run(Kernel::attention, {&q, &k, &v, &start, &out, &lse}, {c.scale, static_cast<double>(c.offset)});
          check_close(out, r.out, tolerance(dtype), "attention");
          check_close(lse, r.lse, tolerance(dtype), "attention lse");
        });
      }
    }
  }
}

// What no query sees, and what only later queries see, reaches nothing.
TEST(attention_masked_contents) {
  const Case c{2, 2, 1, 6, 6, 9, 0, 0.5};
  Tensor q = normal(DType::f32, {2, 2, 6, 9}), k = normal(DType::f32, {2, 1, 6, 9}), v = normal(DType::f32, {2, 1, 6, 9});
  Tensor dout = normal(DType::f32, {2, 2, 6, 9}), start(DType::i32, {2}), lse(DType::f32, {2, 2, 6}), out(DType::f32, {2, 2, 6, 9});
  start.set(0, 2), start.set(1, 0);
  Tensor dq(DType::f32, {2, 2, 6, 9}), dk(DType::f32, {2, 1, 6, 9}), dv(DType::f32, {2, 1, 6, 9});
  const std::vector<Tensor*> all = {&q, &k, &v, &start, &out, &lse, &dout, &dq, &dk, &dv}, forward(all.begin(), all.begin() + 6);
  for_each_isa([&] {
    run(Kernel::attention, forward, {c.scale, 0});
    run(Kernel::attention_backward, all, {c.scale, 0});
    const Tensor clean_out = out, clean_dq = dq, clean_dv = dv;
    for (int64_t row = 0; row < 6; ++row) CHECK(row >= 2 || (clean_out[row * 9] == 0 && lse[row] == -kInfinity && clean_dq[row * 9] == 0));

    // Batch 0: keys 0 and 1 are hidden from all. Batch 1: the last key is seen by the last query alone.
    Tensor dirty_k = k, dirty_v = v, dirty_q = q, dirty_dout = dout;
    for (int64_t d = 0; d < 9; ++d) {
      for (int64_t row : {0, 1, 11}) dirty_k.set(row * 9 + d, d % 2 ? kNaN : kInfinity), dirty_v.set(row * 9 + d, kNaN);
      for (int64_t row : {0, 1, 6, 7}) dirty_q.set(row * 9 + d, kNaN), dirty_dout.set(row * 9 + d, kInfinity);  // these see nothing
    }
    run(Kernel::attention, {&dirty_q, &dirty_k, &dirty_v, &start, &out, &lse}, {c.scale, 0});
    run(Kernel::attention_backward, {&dirty_q, &dirty_k, &dirty_v, &start, &out, &lse, &dirty_dout, &dq, &dk, &dv}, {c.scale, 0});
    for (int64_t row = 0; row < 24; ++row) {
      const bool last = row == 17 || row == 23;
      for (int64_t d = 0; d < 9; ++d) {
        const int64_t i = row * 9 + d;
        CHECK_THAT(last ? std::isnan(out[i]) : close(out[i], clean_out[i], 1e-5, 1e-6), "out row %lld: %g, %g", (long long)row, out[i], clean_out[i]);
        CHECK_THAT(last || close(dq[i], clean_dq[i], 1e-5, 1e-6), "dq row %lld: %g, %g", (long long)row, dq[i], clean_dq[i]);
      }
    }
    for (int64_t i = 0; i < 6 * 9; ++i) CHECK_CLOSE(dv[i], clean_dv[i], 1e-5, 1e-6);
    for (int64_t i = 0; i < 2 * 9; ++i) CHECK(dk[i] == 0 && dv[i] == 0);
  });
}

TEST(attention_gradient) {
  for (const Case& c : {Case{2, 4, 2, 5, 7, 3, 2, 0.6}, Case{1, 2, 1, 6, 6, 4, 0, 0.5}, Case{1, 1, 1, 4, 4, 2, -1, 1}}) {
    Tensor q = normal(DType::f64, {c.B, c.H, c.Tq, c.D}, Layout::transposed), k = normal(DType::f64, {c.B, c.Hk, c.Tk, c.D}, Layout::gaps);
    Tensor v = normal(DType::f64, {c.B, c.Hk, c.Tk, c.D}), start = integers({c.B}, 0, 2), dout = normal(DType::f64, {c.B, c.H, c.Tq, c.D});
    Tensor out(DType::f64, {c.B, c.H, c.Tq, c.D}), lse(DType::f64, {c.B, c.H, c.Tq});
    Tensor dq(DType::f64, {c.B, c.H, c.Tq, c.D}, Layout::transposed), dk(DType::f64, {c.B, c.Hk, c.Tk, c.D}, Layout::reversed);
    Tensor dv(DType::f64, {c.B, c.Hk, c.Tk, c.D});
    const auto objective = [&] {
      const Reference r = attend(c, q, k, v, start);
      double sum = 0;
      for (int64_t i = 0; i < dout.size(); ++i) sum += r.out[i] * dout[i];
      return sum;
    };
    const auto differences = [&](Tensor& t) {
      std::vector<double> gradient;
      for (int64_t i = 0; i < t.size(); ++i) {
        const double x = t[i];
        t.set(i, x + 1e-5);
        const double above = objective();
        t.set(i, x - 1e-5);
        gradient.push_back((above - objective()) / 2e-5);
        t.set(i, x);
      }
      return gradient;
    };
    const std::vector<double> gq = differences(q), gk = differences(k), gv = differences(v);
    for_each_isa([&] {
      run(Kernel::attention, {&q, &k, &v, &start, &out, &lse}, {c.scale, static_cast<double>(c.offset)});
      run(Kernel::attention_backward, {&q, &k, &v, &start, &out, &lse, &dout, &dq, &dk, &dv}, {c.scale, static_cast<double>(c.offset)});
      check_close(dq, gq, 1e-7, "dq");
      check_close(dk, gk, 1e-7, "dk");
      check_close(dv, gv, 1e-7, "dv");
    });
  }
}

// Several blocks of queries and keys: float32 against the float64 kernel, which the differences above have checked.
TEST(attention_gradient_blocks) {
  const Case c{1, 4, 2, 150, 700, 24, 550, 0.2};
  std::vector<Tensor> results[2];
  for_each_isa([&] {
    for (int wide = 0; wide < 2; ++wide) {
      random_engine().seed(7);
      const DType dtype = wide ? DType::f64 : DType::f32;
      Tensor q = normal(dtype, {c.B, c.H, c.Tq, c.D}), k = normal(dtype, {c.B, c.Hk, c.Tk, c.D}), v = normal(dtype, {c.B, c.Hk, c.Tk, c.D});
      Tensor dout = normal(dtype, {c.B, c.H, c.Tq, c.D}), out = dout, dq = dout, dk = k, dv = v, lse(dtype, {c.B, c.H, c.Tq}), start(DType::i32, {1});
      start.set(0, 37);
      run(Kernel::attention, {&q, &k, &v, &start, &out, &lse}, {c.scale, static_cast<double>(c.offset)});
      run(Kernel::attention_backward, {&q, &k, &v, &start, &out, &lse, &dout, &dq, &dk, &dv}, {c.scale, static_cast<double>(c.offset)});
      results[wide] = {dq, dk, dv};
    }
    for (int t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < results[0][t].size(); ++i) CHECK_CLOSE(results[0][t][i], results[1][t][i], 1e-5, 1e-5);
    }
  });
}

TEST(attention_errors) {
  Tensor q(DType::f32, {1, 3, 2, 4}), k(DType::f32, {1, 2, 2, 4}), start(DType::i32, {1}), lse(DType::f32, {1, 3, 2}), wrong(DType::f32, {1, 2, 3, 4});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::attention, {&q, &k, &k, &start, &q, &lse}, {1, 0}), "multiple of the heads of k");
    CHECK_THROWS(run_once(Kernel::attention, {&q, &k, &wrong, &start, &q, &lse}, {1, 0}), "attention: v: expected shape [1,2,2,4], got [1,2,3,4]");
  });
}

}  // namespace
}  // namespace test
