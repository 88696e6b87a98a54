// Generalised advantage estimation over masks with holes. Eight rows at a time: blocks of 16 columns are transposed in registers, so that a step back
// in time is a vector operation over the rows.
#include "../core/recurrences.h"
#include "../core/kernels.h"
#include "check.h"
#include "simd.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int kRows = 8;
constexpr int kBlock = 16;        // a cache line of float32: each line is read once and whole
constexpr int64_t kAhead = 128;   // columns that are asked for early: too many streams for the hardware's own prefetching

struct Problem {
  TensorView rewards, values, mask, advantages, returns;
  int64_t rows, time;
  double gamma, decay;
};

template <class T>
T* element(const TensorView& view, int64_t row, int64_t t) {
  return view.as<T>() + row * view.strides[0] + t * view.strides[1];
}

// Columns [0, end) of one row, last first, from the state given.
template <class T>
void scalar_row(const Problem& p, int64_t row, int64_t end, double advantage, T next) {
  const T gamma = static_cast<T>(p.gamma);
  for (int64_t t = end - 1; t >= 0; --t) {
    T a = 0, g = 0;
    if (*element<uint8_t>(p.mask, row, t)) {
      const T value = *element<T>(p.values, row, t);
      T difference;
      recurrences::gae_difference(difference, *element<T>(p.rewards, row, t), value, next, gamma);
      recurrences::gae_advantage(advantage, static_cast<double>(difference), p.decay);
      next = value;
      a = static_cast<T>(advantage);
      g = a + value;
    }
    *element<T>(p.advantages, row, t) = a;
    *element<T>(p.returns, row, t) = g;
  }
}

template <class V, class T>
VANTAGE_INLINE void load_block(V (&x)[kBlock], const TensorView& view, int64_t row, int64_t t) {
  V low[8], high[8];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    const T* from = view.as<const T>() + (row + i) * view.strides[0] + t;
    if constexpr (sizeof(T) == 1) {
      load_bytes(low[i], from);
      load_bytes(high[i], from + 8);
    } else {
      load_vector(low[i], from);
      load_vector(high[i], from + 8);
    }
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) - kAhead * sizeof(T)));
  }
  transpose8(low);
  transpose8(high);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    x[i] = low[i];
    x[8 + i] = high[i];
  }
}

VANTAGE_INLINE void store_block(const TensorView& view, int64_t row, int64_t t, const f32x8 (&x)[kBlock]) {
  f32x8 low[8], high[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    low[i] = x[i];
    high[i] = x[8 + i];
  }
  transpose8(low);
  transpose8(high);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    float* to = view.as<float>() + (row + i) * view.strides[0] + t;
    store_vector(to, low[i]);
    store_vector(to + 8, high[i]);
  }
}

// Eight rows of float32 that lie along memory.
void eight_rows(const Problem& p, int64_t row) {
  const float gamma_value = static_cast<float>(p.gamma);
  const f32x8 zero = {}, gamma = zero + gamma_value;
  const f64x4 decay = f64x4{} + p.decay;
  f64x4 low = {}, high = {};
  f32x8 next = {};
  int64_t end = p.time;
  for (; end >= kBlock; end -= kBlock) {
    const int64_t t = end - kBlock;
    f32x8 r[kBlock], v[kBlock];
    i32x8 m[kBlock];
    load_block<f32x8, float>(r, p.rewards, row, t);
    load_block<f32x8, float>(v, p.values, row, t);
    load_block<i32x8, uint8_t>(m, p.mask, row, t);
#pragma GCC unroll 16
    for (int i = kBlock - 1; i >= 0; --i) {
      const i32x8 valid = m[i] != 0;
      f32x8 difference;
      recurrences::gae_difference(difference, r[i], v[i], next, gamma);
      const i64x4 valid_low = __builtin_convertvector(__builtin_shufflevector(valid, valid, 0, 1, 2, 3), i64x4);
      const i64x4 valid_high = __builtin_convertvector(__builtin_shufflevector(valid, valid, 4, 5, 6, 7), i64x4);
      f64x4 new_low = low, new_high = high;
      recurrences::gae_advantage(new_low, __builtin_convertvector(__builtin_shufflevector(difference, difference, 0, 1, 2, 3), f64x4), decay);
      recurrences::gae_advantage(new_high, __builtin_convertvector(__builtin_shufflevector(difference, difference, 4, 5, 6, 7), f64x4), decay);
      low = valid_low ? new_low : low;
      high = valid_high ? new_high : high;
      next = valid ? v[i] : next;
      const f32x8 advantage = __builtin_shufflevector(__builtin_convertvector(low, f32x4), __builtin_convertvector(high, f32x4), 0, 1, 2, 3, 4, 5, 6, 7);
      r[i] = valid ? advantage : zero;
      v[i] = valid ? advantage + v[i] : zero;
    }
    store_block(p.advantages, row, t, r);
    store_block(p.returns, row, t, v);
  }
  for (int i = 0; i < kRows; ++i) scalar_row<float>(p, row + i, end, i < 4 ? low[i] : high[i - 4], next[i]);
}

}  // namespace

void gae(const KernelCall& call) {
  const Problem p = {call.views[0], call.views[1], call.views[2], call.views[3], call.views[4], call.views[0].shape[0],
                     call.views[0].shape[1], call.scalars[0], call.scalars[0] * call.scalars[1]};
  check_ndim("gae", "rewards", p.rewards, 2, 2);
  check_dtype("gae", "rewards", p.rewards, kComputed);
  check_dtype("gae", "mask", p.mask, bit(DType::u8) | bit(DType::boolean));
  check_shape_of("gae", "mask", p.mask, p.rewards);
  bool along = p.rewards.dtype == DType::f32 && p.rewards.strides[1] == 1 && p.mask.strides[1] == 1;
  const struct {
    const char* name;
    const TensorView& view;
  } arrays[] = {{"values", p.values}, {"advantages", p.advantages}, {"returns", p.returns}};
  for (const auto& array : arrays) {
    check_dtype("gae", array.name, array.view, bit(p.rewards.dtype));
    check_shape_of("gae", array.name, array.view, p.rewards);
    along = along && array.view.strides[1] == 1;
  }
  const int64_t groups = (p.rows + kRows - 1) / kRows;
  parallel_for(groups, p.rows * p.time * 4, [&](int64_t group) {
    const int64_t first = group * kRows, last = first + kRows < p.rows ? first + kRows : p.rows;
    if (along && last - first == kRows) return eight_rows(p, first);
    for (int64_t row = first; row < last; ++row) {
      if (p.rewards.dtype == DType::f64) scalar_row<double>(p, row, p.time, 0, 0);
      else scalar_row<float>(p, row, p.time, 0, 0);
    }
  });
}

}  // namespace vantage::cpu::VANTAGE_ISA
