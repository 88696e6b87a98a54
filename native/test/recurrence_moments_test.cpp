// The moments that recurrences give beside their first output, against plain loops over that output.
#include <cmath>

#include "recurrences.h"

namespace test {
namespace {

// Around the lengths of blocks and tiles.
std::vector<int64_t> lengths() {
  std::vector<int64_t> all;
  for (int64_t time = 1; time <= 66; ++time) all.push_back(time);
  for (int64_t near : {96, 128, 512, 1024}) all.insert(all.end(), {near - 1, near, near + 1, near + 16});
  all.insert(all.end(), {300, 576, 777, 1536, 2000});
  if (!current_isa()->device) return all;
  return {1, 7, 48, 65, 300, 1025};
}

// Stores as usual, and past the caches: of outputs that begin lines, and of others.
template <class Body>
void for_each_store(const Body& body) {
  for (int64_t cache : {int64_t{-1}, int64_t{0}}) {
    for (bool on_line : {false, true}) {
      if (cache == 0 ? current_isa()->device != nullptr : on_line) continue;
      cpu::set_cache_size(cache);
      body(on_line);
    }
  }
  cpu::set_cache_size(-1);
}

void expect_moments_of_gae(Batch& batch, bool on_line, double gamma, double lambda) {
  const std::vector<int64_t> shape = {batch.mask.view.shape[0], batch.mask.view.shape[1]};
  const DType dtype = batch.rewards.view.dtype;
  for (bool wanted : {true, false}) {  // the returns
    Tensor advantages(dtype, shape), returns(dtype, shape), moments(DType::f64, {shape[0], 3}), none(dtype, {0, 0}), no_moments(DType::f64, {0, 3});
    if (on_line) advantages.start_on_line(), returns.start_on_line();
    const auto gae = [&](Tensor& of) {
      run(Kernel::gae, {&batch.rewards, &batch.values, &batch.mask, &batch.ends, &batch.bootstrap, &advantages, wanted ? &returns : &none, &of}, {gamma, lambda});
    };
    gae(moments);
    for (int64_t row = 0; row < shape[0]; ++row) expect_moments(moments, row, advantages, batch.mask);
    const std::vector<char> first = advantages.storage, second = returns.storage;
    gae(no_moments);
    CHECK(advantages.storage == first && returns.storage == second);
  }
}

TEST(moments_of_gae) {
  for_each_isa([] {
    for_each_store([](bool on_line) {
      for (int64_t time : lengths()) {
        for (Holes holes : {Holes::none, Holes::some, Holes::padded}) {
          for (int ends : {0, 50}) {
            Batch batch({DType::f32, 9, time, Layout::contiguous, holes, ends});
            expect_moments_of_gae(batch, on_line, 0.99, 0.95);
          }
        }
      }
      for (int ends : {0, 50}) {
        Batch batch({DType::f64, 9, 700, Layout::contiguous, Holes::some, ends}), in_segments({DType::f32, 2, 70016, Layout::contiguous, Holes::none, ends});
        expect_moments_of_gae(batch, on_line, 0.99, 0.95);
        expect_moments_of_gae(in_segments, on_line, 0.99, 0.95);
      }
    });
  });
}

// A common offset costs no digits: numbers that are all the same have no spread at all.
TEST(moments_of_equal_numbers) {
  for_each_isa([] {
    for_each_store([](bool on_line) {
      for (DType dtype : {DType::f32, DType::f64}) {
        for (int64_t time : lengths()) {
          for (Holes holes : {Holes::none, Holes::some}) {
            Batch batch({dtype, 9, time, Layout::contiguous, holes});
            Tensor returns(dtype, {9, time}), moments(DType::f64, {9, 3});
            if (on_line) returns.start_on_line();
            for (int64_t i = 0; i < 9 * time; ++i) batch.rewards.set(i, 1e6 / 3 * (1 + i / time % 3));
            run(Kernel::discounted_return, {&batch.rewards, &batch.mask, &returns, &moments}, {0});
            for (int64_t row = 0; row < 9; ++row) {
              expect_moments(moments, row, returns, batch.mask);
              if (moments[row * 3] != 0) CHECK(moments[row * 3 + 1] == batch.rewards[row * time]);
              CHECK(moments[row * 3 + 2] == 0);
            }
          }
        }
      }
    });
  });
}

// Sums inside a block leave float32 where those along the row do not. Such blocks are done anew, and their steps count once.
TEST(moments_of_blocks_that_overflow) {
  for_each_isa([] {
    for_each_store([](bool on_line) {
      for (int64_t time : {100, 704, 1300}) {
        for (int64_t at : {time - 30, time / 2 / 4 * 4 + 4, int64_t{20}}) {
          for (int ends : {0, 1'000'000}) {  // the first step of all alone
            Batch batch({DType::f32, 9, time, Layout::contiguous, Holes::none, ends});
            for (int64_t i = 0; i < 9 * time; ++i) {
              const int64_t t = i % time;
              batch.values.set(i, 0);
              if (t == at) batch.rewards.set(i, 3e38);
              if (t < at && t >= at - 4) batch.rewards.set(i, -1.1e38);
            }
            expect_moments_of_gae(batch, on_line, 1, 1);
          }
        }
      }
    });
  });
}

}  // namespace
}  // namespace test
