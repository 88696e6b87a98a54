// The recurrences over masks with holes and ends against plain loops in double.
#include <algorithm>
#include <cmath>

#include "recurrences.h"

namespace test {
namespace {

void expect_gae(const Sample& c, double gamma, double lambda, bool minimal, double scale = 1) {
  Batch batch(c);
  Tensor advantages(c.dtype, {c.rows, c.time}, c.layout), returns(advantages), moments(DType::f64, {c.rows, 3}, c.layout);
  Tensor no_ends(DType::u8, {0, 0}), none(c.dtype, {0, 0}), no_moments(DType::f64, {0, 3});
  const bool ends = c.ends != 0;
  run(Kernel::gae, {&batch.rewards, &batch.values, &batch.mask, ends ? &batch.ends : &no_ends, ends ? &batch.bootstrap : &none, &advantages,
                    minimal ? &none : &returns, minimal ? &no_moments : &moments}, {gamma, lambda});
  for (int64_t row = 0; row < c.rows; ++row) {
    double advantage = 0, next = 0;
    for (int64_t t = c.time - 1; t >= 0; --t) {
      const int64_t i = row * c.time + t;
      double sum = 0, result = 0;
      if (batch.mask[i] != 0) {
        const double end = ends ? batch.ends[i] : 0;
        if (end != 0) advantage = 0, next = end == 2 ? batch.bootstrap[i] : 0;
        advantage = batch.rewards[i] + gamma * next - batch.values[i] + gamma * lambda * advantage;
        next = batch.values[i];
        result = advantage, sum = advantage + next;
      }
      expect(c, advantages, i, result, "advantage", scale);
      if (!minimal) expect(c, returns, i, sum, "return", scale);
    }
    if (!minimal) expect_moments(moments, row, advantages, batch.mask);
  }
}

TEST(gae_values) {
  for_each_isa([] {
    for_each_case([](Sample c) {
      expect_gae(c, 0.99, 0.95, false);
      c.ends = 4;
      expect_gae(c, 0.99, 0.95, c.rows == 7);
    });
    for (Holes holes : {Holes::none, Holes::some}) expect_gae({DType::f32, 8, 3000, Layout::contiguous, holes}, 1, 1, true);
    expect_gae({DType::f32, 3, 40000, Layout::contiguous, Holes::some}, 0.9999, 1, true, 10);
    expect_gae({DType::f32, 3, 40000, Layout::contiguous, Holes::some, 20000}, 0.9999, 1, true, 10);
  });
}

// A number that is none may reach earlier steps of its own episode, and nothing else.
TEST(gae_keeps_episodes_apart) {
  for_each_isa([] {
    for (int64_t time : {8, 24, 130}) {
      Sample c{DType::f32, 40, time, Layout::contiguous, Holes::none, 1000000};
      Batch batch(c);
      const int64_t poisoned = 5 * time + 6, end = 5 * time + 3;
      batch.rewards.set(poisoned, kNaN);
      batch.ends.set(0, 0);
      batch.ends.set(end, 1);
      Tensor advantages(c.dtype, {c.rows, c.time}), returns(advantages), no_moments(DType::f64, {0, 3});
      run(Kernel::gae, {&batch.rewards, &batch.values, &batch.mask, &batch.ends, &batch.bootstrap, &advantages, &returns, &no_moments}, {0.9, 0.8});
      for (int64_t i = 0; i < c.rows * time; ++i) CHECK(std::isnan(advantages[i]) == (i > end && i <= poisoned));
    }
  });
}

TEST(gae_arguments) {
  Tensor x(DType::f32, {2, 3}), other(DType::f32, {2, 4}), wide(DType::f64, {2, 3}), mask(DType::u8, {2, 3}), bytes(DType::u8, {2, 4});
  Tensor no_ends(DType::u8, {0, 0}), none(DType::f32, {0, 0}), no_moments(DType::f64, {0, 3}), moments(DType::f64, {2, 2});
  const auto gae = [](std::vector<Tensor*> views) { run_once(Kernel::gae, views, {1, 1}); };
  for_each_isa([&] {
    CHECK_THROWS(gae({&mask, &x, &mask, &no_ends, &none, &x, &x, &no_moments}), "gae: rewards: expected float32 or float64, got uint8");
    CHECK_THROWS(gae({&x, &other, &mask, &no_ends, &none, &x, &x, &no_moments}), "gae: values: expected shape [2,3], got [2,4]");
    CHECK_THROWS(gae({&x, &wide, &mask, &no_ends, &none, &x, &x, &no_moments}), "gae: values: expected float32");
    CHECK_THROWS(gae({&x, &x, &x, &no_ends, &none, &x, &x, &no_moments}), "gae: mask: expected");
    CHECK_THROWS(gae({&x, &x, &mask, &bytes, &none, &x, &x, &no_moments}), "gae: ends: expected shape [2,3], got [2,4]");
    CHECK_THROWS(gae({&x, &x, &mask, &x, &none, &x, &x, &no_moments}), "gae: ends: expected uint8, got float32");
    CHECK_THROWS(gae({&x, &x, &mask, &mask, &none, &x, &x, &no_moments}), "gae: bootstrap: expected shape [2,3], got [0,0]");
    CHECK_THROWS(gae({&x, &x, &mask, &no_ends, &x, &x, &x, &no_moments}), "gae: bootstrap: expected shape [0,0], got [2,3]");
    CHECK_THROWS(gae({&x, &x, &mask, &no_ends, &none, &other, &x, &no_moments}), "gae: advantages: expected shape [2,3], got [2,4]");
    CHECK_THROWS(gae({&x, &x, &mask, &no_ends, &none, &x, &other, &no_moments}), "gae: returns: expected shape [2,3], got [2,4]");
    CHECK_THROWS(gae({&x, &x, &mask, &no_ends, &none, &x, &x, &moments}), "gae: moments: expected shape [2,3], got [2,2]");
    CHECK_THROWS(gae({&x, &x, &mask, &no_ends, &none, &x, &x, &x}), "gae: moments: expected float64, got float32");
  });
}

TEST(discounted_return_values) {
  for_each_isa([] {
    for_each_case([](const Sample& c) {
      Batch batch(c);
      Tensor returns(c.dtype, {c.rows, c.time}, c.layout), moments(DType::f64, {c.rows, 3}, c.layout), no_moments(DType::f64, {0, 3});
      run(Kernel::discounted_return, {&batch.rewards, &batch.mask, &returns, c.rows == 7 ? &no_moments : &moments}, {0.97});
      for (int64_t row = 0; row < c.rows; ++row) {
        double running = 0;
        for (int64_t t = c.time - 1; t >= 0; --t) {
          const int64_t i = row * c.time + t;
          if (batch.mask[i] != 0) running = batch.rewards[i] + 0.97 * running;
          expect(c, returns, i, batch.mask[i] != 0 ? running : 0, "return");
        }
        if (c.rows != 7) expect_moments(moments, row, returns, batch.mask);
      }
    });
  });
  Tensor x(DType::f32, {2, 3}), other(DType::f32, {2, 4}), mask(DType::u8, {2, 3}), no_moments(DType::f64, {0, 3});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::discounted_return, {&x, &mask, &other, &no_moments}, {1}), "discounted_return: returns: expected shape [2,3], got [2,4]");
    CHECK_THROWS(run_once(Kernel::discounted_return, {&x, &x, &x, &no_moments}, {1}), "discounted_return: mask: expected uint8 or bool, got float32");
  });
}

// A row so long that CUDA cuts it into several groups of segments.
TEST(discounted_return_of_a_long_row) {
  const int64_t time = 1080001;
  Tensor rewards(DType::f32, {1, time}), mask(DType::u8, {1, time}), returns(rewards), moments(DType::f64, {1, 3});
  for (int64_t i = 0; i < time; ++i) mask.set(i, i % 7 != 3), rewards.set(i, i % 7 != 3 ? std::sin(i * 0.37) : kNaN);
  for_each_isa([&] {
    run_once(Kernel::discounted_return, {&rewards, &mask, &returns, &moments}, {0.99999});
    double expected = 0;
    for (int64_t t = time - 1; t >= 0; --t) {
      if (mask[t] != 0) expected = rewards[t] + 0.99999 * expected;
      CHECK_CLOSE(returns[t], mask[t] != 0 ? expected : 0, 1e-5, 1e-4);  // small numbers are differences of large ones
    }
    expect_moments(moments, 0, returns, mask);
  });
}

// A large reward is felt as many valid steps before it as the discount lets through, however far apart these stand and wherever a long row is cut.
TEST(discounted_return_over_distances) {
  const int64_t time = 260'003;
  for (int64_t apart : {1, 41, 700}) {
    Tensor rewards(DType::f32, {2, time}), mask(DType::u8, {2, time}), returns(rewards), no_moments(DType::f64, {0, 3});
    for (int64_t i = 0; i < 2 * time; ++i) {
      const int64_t t = i % time;
      mask.set(i, t % apart == 0 && (t < 98'300 || t > 98'310));
      rewards.set(i, t % apart == 0 ? (t % (apart * 5'000) == apart * 700 ? 1e30 : std::sin(i * 0.37)) : kNaN);
    }
    for_each_isa([&] {
      for (double gamma : {0.0, 0.5, 0.94, -0.9}) {
        if (current_isa()->device && gamma != 0.94) continue;  // an emulation is slow
        run_once(Kernel::discounted_return, {&rewards, &mask, &returns, &no_moments}, {gamma});
        for (int64_t row = 0; row < 2; ++row) {
          double expected = 0;
          for (int64_t t = time - 1; t >= 0; --t) {
            const int64_t i = row * time + t;
            if (mask[i] != 0) expected = rewards[i] + gamma * expected;
            CHECK_CLOSE(returns[i], mask[i] != 0 ? expected : 0, 1e-5, 1e-5);
          }
        }
      }
    });
  }
}

// Where the discount is above 1, its powers overflow before anything else does: what is 0 stays 0, and small numbers near the end are right.
TEST(recurrences_that_grow) {
  for (int64_t time : {70, 70'000}) {
    Tensor rewards(DType::f32, {1, time}), mask(DType::u8, {1, time}), returns(rewards), values(rewards), no_moments(DType::f64, {0, 3});
    Tensor no_ends(DType::u8, {0, 0}), none(DType::f32, {0, 0});
    for (int64_t i = 0; i < time; ++i) mask.set(i, 1), rewards.set(i, 0), values.set(i, 0);
    for_each_isa([&] {
      if (current_isa()->device) return;
      for (double gamma : {1.1, 2.0, -3.0, 1000.0, 1e30}) {
        run_once(Kernel::discounted_return, {&rewards, &mask, &returns, &no_moments}, {gamma});
        for (int64_t i = 0; i < time; ++i) CHECK(returns[i] == 0);
        run_once(Kernel::gae, {&rewards, &values, &mask, &no_ends, &none, &returns, &none, &no_moments}, {gamma, 1});
        for (int64_t i = 0; i < time; ++i) CHECK(returns[i] == 0);
        Tensor last = rewards;
        last.set(time - 1, 1);
        run_once(Kernel::discounted_return, {&last, &mask, &returns, &no_moments}, {gamma});
        for (int64_t k = 0; k < 12; ++k) {
          const double expected = std::pow(gamma, static_cast<double>(k));
          if (std::fabs(expected) < 1e38) CHECK_CLOSE(returns[time - 1 - k], expected, 1e-5, 0);
          else CHECK(std::isinf(returns[time - 1 - k]));
        }
      }
    });
  }
}

TEST(vtrace_values) {
  const double gamma = 0.98, lambda = 0.9, clip_rho = 1.1, clip_c = 1, clip_pg = 0.9;
  for_each_isa([&] {
    for_each_case([&](const Sample& c) {
      Batch batch(c);
      Tensor ours = batch.rewards, theirs = batch.values, bootstrap = normal(c.dtype, {c.rows}, c.layout);
      for (int64_t i = 0; i < c.rows * c.time; ++i) {
        if (batch.mask[i] != 0) ours.set(i, -2 + 0.5 * std::sin(i * 0.9)), theirs.set(i, -2 + 0.4 * std::cos(i * 0.6));
      }
      Tensor targets(c.dtype, {c.rows, c.time}, c.layout), advantages(targets);
      run(Kernel::vtrace, {&ours, &theirs, &batch.rewards, &batch.values, &batch.mask, &bootstrap, &targets, &advantages},
          {gamma, lambda, clip_rho, clip_c, clip_pg});
      for (int64_t row = 0; row < c.rows; ++row) {
        double distance = 0, next = bootstrap[row], next_target = bootstrap[row];
        for (int64_t t = c.time - 1; t >= 0; --t) {
          const int64_t i = row * c.time + t;
          if (batch.mask[i] == 0) {
            expect(c, targets, i, 0, "target");
            expect(c, advantages, i, 0, "advantage");
            continue;
          }
          const double r = batch.rewards[i], v = batch.values[i], w = std::exp(ours[i] - theirs[i]);
          distance = std::fmin(clip_rho, w) * (r + gamma * next - v) + gamma * lambda * std::fmin(clip_c, w) * distance;
          expect(c, targets, i, v + distance, "target");
          expect(c, advantages, i, std::fmin(clip_pg, w) * (r + gamma * next_target - v), "advantage");
          next = v, next_target = v + distance;
        }
      }
    });
  });
  Tensor x(DType::f32, {2, 3}), other(DType::f32, {2, 4}), mask(DType::u8, {2, 3}), last(DType::f32, {2}), longer(DType::f32, {3});
  const auto vtrace = [](std::vector<Tensor*> views) { run_once(Kernel::vtrace, views, {1, 1, 1, 1, 1}); };
  for_each_isa([&] {
    CHECK_THROWS(vtrace({&x, &other, &x, &x, &mask, &last, &x, &x}), "vtrace: behaviour_log_probs: expected shape [2,3], got [2,4]");
    CHECK_THROWS(vtrace({&x, &x, &x, &x, &mask, &longer, &x, &x}), "vtrace: bootstrap: expected shape [2], got [3]");
    CHECK_THROWS(vtrace({&x, &x, &x, &x, &x, &last, &x, &x}), "vtrace: mask: expected uint8 or bool, got float32");
    CHECK_THROWS(vtrace({&x, &x, &x, &x, &mask, &last, &x, &other}), "vtrace: advantages: expected shape [2,3], got [2,4]");
  });
}

}  // namespace
}  // namespace test
