// Philox against the vectors published with Random123, its distributions, and the statistics of sample.
#include <algorithm>
#include <limits>

#include "../core/philox.h"
#include "kernels_test.h"

namespace test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// kat_vectors of Random123, "philox4x32 10".
TEST(philox_published_vectors) {
  const auto check = [](uint32_t key_low, uint32_t key_high, uint64_t low, uint64_t high, const uint32_t (&expected)[4]) {
    const PhiloxBlock block = philox(key_low, key_high, low, high);
    for (int i = 0; i < 4; ++i) CHECK_THAT(block.words[i] == expected[i], "word %d: expected %08x, got %08x", i, expected[i], block.words[i]);
  };
  check(0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  check(0xffffffff, 0xffffffff, ~uint64_t{0}, ~uint64_t{0}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  check(0xa4093822, 0x299f31d0, 0x85a308d3243f6a88, 0x0370734413198a2e, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(philox_elements) {
  for_each_isa([&] {
    for (int64_t n : {0, 1, 3, 4, 5, 255, 257, 40001}) {
      Tensor bits(DType::i32, {n}), uniform(DType::f32, {n}), normal(DType::f32, {n}), wide(DType::f64, {n});
      const std::vector<double> key = {0xdeadbeef, 77, 4294967290.0};  // the counter passes 2^32
      run(Kernel::philox, {&bits}, key, 0);
      run(Kernel::philox, {&uniform}, key, 1);
      run(Kernel::philox, {&normal}, key, 2);
      run(Kernel::philox, {&wide}, key, 2);
      for (int64_t i = 0; i < n; ++i) {
        const PhiloxBlock block = philox(0xdeadbeef, 77, 4294967290u + static_cast<uint64_t>(i / 4));
        CHECK(bits[i] == static_cast<int32_t>(block.words[i % 4]));
        CHECK(uniform[i] == (block.words[i % 4] >> 8) / 16777216.0);
        const uint32_t *pair = block.words + i % 4 / 2 * 2;
        const double radius = std::sqrt(-2 * std::log(1 - (pair[0] >> 8) / 16777216.0)), angle = 2 * M_PI * ((pair[1] >> 8) / 16777216.0);
        CHECK_CLOSE(normal[i], radius * (i % 2 ? std::sin(angle) : std::cos(angle)), 1e-5, 2e-6);
        CHECK(wide[i] == normal[i]);
      }
    }
  });
}

TEST(philox_statistics) {
  for_each_isa([&] {
    constexpr int64_t n = 1 << 18;
    Tensor uniform(DType::f32, {n}), normal(DType::f32, {n});
    run(Kernel::philox, {&uniform}, {1, 2, 0}, 1);
    run(Kernel::philox, {&normal}, {3, 4, 0}, 2);
    double bins[64] = {}, mean = 0, square = 0, fourth = 0, chi = 0;
    for (int64_t i = 0; i < n; ++i) {
      ++bins[static_cast<int>(uniform[i] * 64)];
      mean += normal[i], square += normal[i] * normal[i], fourth += std::pow(normal[i], 4);
    }
    for (double count : bins) chi += (count - n / 64.0) * (count - n / 64.0) / (n / 64.0);
    CHECK_THAT(chi < 103, "chi-square %g over 63 degrees of freedom", chi);  // p = 0.001
    CHECK_CLOSE(mean / n, 0, 0, 4 / std::sqrt(n));
    CHECK_CLOSE(square / n, 1, 0, 4 * std::sqrt(2.0 / n));
    CHECK_CLOSE(fourth / n, 3, 0, 4 * std::sqrt(96.0 / n));
  });
}

TEST(philox_errors) {
  Tensor out(DType::f32, {4}), bits(DType::i32, {4});
  for_each_isa([&] {
    CHECK_THROWS(run_once(Kernel::philox, {&out}, {0, 0, 0}, 0), "philox: out: expected int32, got float32");
    CHECK_THROWS(run_once(Kernel::philox, {&bits}, {0, 0, 0}, 1), "philox: out: expected float32 or float64, got int32");
    CHECK_THROWS(run_once(Kernel::philox, {&out}, {-1, 0, 0}, 1), "philox: key_low: expected an integer");
  });
}

struct Settings {
  double temperature, top_p, min_p, top_k;
};

// The distribution that is left, by sorting.
std::vector<double> reference(const std::vector<double>& logits, const Settings& s) {
  const size_t n = logits.size();
  std::vector<double> p(n);
  std::vector<size_t> order(n);
  const double max = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (size_t i = 0; i < n; ++i) total += p[i] = std::exp((logits[i] - max) / s.temperature), order[i] = i;
  for (double& x : p) x /= total;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  std::vector<double> kept(n);
  double cumulative = 0, mass = 0;
  for (size_t rank = 0; rank < n; ++rank) {
    const double x = p[order[rank]];
    const bool in = (s.top_k <= 0 || rank < s.top_k) && (rank == 0 || s.top_p >= 1 || cumulative < s.top_p) && x >= s.min_p * p[order[0]];
    cumulative += x;
    if (in) kept[order[rank]] = x, mass += x;
  }
  for (double& x : kept) x /= mass;
  return kept;
}

TEST(sample_distribution) {
  constexpr int64_t kRows = 40000;
  const std::vector<double> logits = {1.0, -0.5, 2.0, 0.25, -kInfinity, 2.0, 0.25, -3.0, 1.5};
  const int64_t n = static_cast<int64_t>(logits.size());
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    Tensor x(dtype, {kRows, n}, Layout::gaps), ids(DType::i32, {kRows}), log_probs(dtype == DType::f64 ? dtype : DType::f32, {kRows});
    for (int64_t i = 0; i < x.size(); ++i) x.set(i, logits[i % n]);
    for (const Settings& s : {Settings{1, 1, 0, 0}, {0.5, 1, 0, -1}, {2, 0.8, 0, 0}, {1, 1, 0.2, 0}, {1, 1, 0, 3}, {1, 1, 0, 1}, {1.5, 0.9, 0.1, 5},
                              {1, 0, 0, 0}, {1, 1, 0, 6}, {1, 0.3, 0, 0}, {1, 1, 2, 0}, {1, 1, 0, 100}}) {
      const std::vector<double> expected = reference(logits, {s.temperature, s.top_p, std::min(s.min_p, 1.0), s.top_k});
      const std::vector<double> whole = reference(logits, {s.temperature, 1, 0, 0});
      for_each_isa([&] {
        // A device may be an emulation, which is slow.
        const int64_t rows = current_isa()->device ? 400 : kRows;
        for (Tensor* t : {&x, &ids, &log_probs}) t->view.shape[0] = rows;
        run(Kernel::sample, {&x, &ids, &log_probs}, {s.temperature, s.top_p, s.min_p, s.top_k, 5, 6, 1000});
        std::vector<double> counts(n);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t id = static_cast<int64_t>(ids[r]);
          ++counts[id];
          CHECK_CLOSE(log_probs[r], std::log(whole[id]), 1e-5, 1e-5);
        }
        double chi = 0;
        for (int64_t i = 0; i < n; ++i) {
          if (expected[i] == 0) CHECK_THAT(counts[i] == 0, "token %d was cut but drawn %g times", (int)i, counts[i]);
          else chi += std::pow(counts[i] - rows * expected[i], 2) / (rows * expected[i]);
        }
        CHECK_THAT(chi < 27.9, "chi-square %g (temperature %g, top_p %g, min_p %g, top_k %g)", chi, s.temperature, s.top_p, s.min_p, s.top_k);
      });
    }
  }
}

// Large vocabularies: what is drawn is always in the set that sorting gives, and every token of a small set is met.
TEST(sample_large_vocabulary) {
  Tensor x = normal(DType::f32, {300, 5000}, Layout::contiguous, 2), ids(DType::i32, {300}), log_probs(DType::f32, {300});
  for (int64_t i = 5000; i < x.size(); ++i) x.set(i, x[i % 5000]);
  std::vector<double> row;
  for (int64_t i = 0; i < 5000; ++i) row.push_back(x[i]);
  for (const Settings& s : {Settings{1, 0.5, 0, 0}, {0.7, 1, 0, 40}, {1, 0.95, 0.01, 200}}) {
    const std::vector<double> expected = reference(row, s);
    for_each_isa([&] {
      const int64_t rows = current_isa()->device ? 30 : 300;
      for (Tensor* t : {&x, &ids, &log_probs}) t->view.shape[0] = rows;
      run(Kernel::sample, {&x, &ids, &log_probs}, {s.temperature, s.top_p, s.min_p, s.top_k, 1, 2, 3});
      for (int64_t r = 0; r < rows; ++r) CHECK(expected[static_cast<int64_t>(ids[r])] > 0);
    });
  }
}

TEST(sample_rows_are_independent) {
  Tensor x = normal(DType::f32, {50, 300}), one(DType::f32, {1, 300}), ids(DType::i32, {50}), id(DType::i32, {1});
  Tensor log_probs(DType::f32, {50}), log_prob(DType::f32, {1});
  for_each_isa([&] {
    run(Kernel::sample, {&x, &ids, &log_probs}, {0.9, 0.95, 0, 50, 11, 12, 100});
    for (int64_t r = 0; r < 50; ++r) {
      for (int64_t i = 0; i < 300; ++i) one.set(i, x[r * 300 + i]);
      run(Kernel::sample, {&one, &id, &log_prob}, {0.9, 0.95, 0, 50, 11, 12, 100.0 + static_cast<double>(r)});
      CHECK(id[0] == ids[r] && log_prob[0] == log_probs[r]);
    }
  });
}

TEST(sample_greedy_and_errors) {
  Tensor x = normal(DType::f32, {2, 20}), ids(DType::i32, {2}), log_probs(DType::f32, {2}), empty(DType::f32, {2, 0});
  x.set(4, 9), x.set(11, 9), x.set(20, 12);
  for_each_isa([&] {
    run(Kernel::sample, {&x, &ids, &log_probs}, {0, 0.5, 0.5, 3, 0, 0, 0});
    CHECK(ids[0] == 4 && ids[1] == 0);
    double total = 0;
    for (int64_t i = 0; i < 20; ++i) total += std::exp(x[i] - 9);
    CHECK_CLOSE(log_probs[0], -std::log(total), 1e-6, 1e-6);
    for (double temperature : {-1.0, 1e-40, 1e40, std::nan("")}) {
      CHECK_THROWS(run_once(Kernel::sample, {&x, &ids, &log_probs}, {temperature, 1, 0, 0, 0, 0, 0}), "sample: temperature: expected a number from 1e-30 to 1e30, or 0");
    }
    CHECK_THROWS(run_once(Kernel::sample, {&x, &ids, &log_probs}, {1, 1, 0, 0.5, 0, 0, 0}), "sample: top_k: expected an integer");
    CHECK_THROWS(run_once(Kernel::sample, {&empty, &ids, &log_probs}, {1, 1, 0, 0, 0, 0, 0}), "at least one token");
    Tensor bad = x;
    bad.set(27, std::nan(""));
    CHECK_THROWS(run_once(Kernel::sample, {&bad, &ids, &log_probs}, {1, 1, 0, 0, 0, 0, 0}), "sample: logits: expected numbers, got NaN in row 1");
  });
}

}  // namespace
}  // namespace test
