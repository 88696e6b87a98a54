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
constexpr int64_t kAhead = 128;  // columns that are asked for early: too many streams for the hardware's own prefetching

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
      recurrences::affine_step(advantage, p.decay, static_cast<double>(difference));
      next = value;
      a = static_cast<T>(advantage);
      g = a + value;
    }
    *element<T>(p.advantages, row, t) = a;
    *element<T>(p.returns, row, t) = g;
  }
}

template <class T>
VANTAGE_INLINE const T* row_at(const TensorView& view, int64_t row, int64_t t) {
  const T* from = view.as<const T>() + row * view.strides[0] + t;
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) - kAhead * sizeof(T)), 0, 2);
  return from;
}

VANTAGE_INLINE void load_block(f32x8 (&x)[kBlock], const TensorView& view, int64_t row, int64_t t) {
  f32x8 low[8], high[8];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    const float* from = row_at<float>(view, row + i, t);
    load_vector(low[i], from);
    load_vector(high[i], from + 8);
  }
  transpose8(low);
  transpose8(high);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    x[i] = low[i];
    x[8 + i] = high[i];
  }
}

typedef int8_t s8x16 __attribute__((vector_size(16)));
typedef int16_t s16x8 __attribute__((vector_size(16)));

// Sixteen bytes that are 0 or -1, as 32-bit elements. A byte twice is the same number in 16 bits; GCC takes a vector of eight bytes apart.
VANTAGE_INLINE void widen(i32x8& low, i32x8& high, const s8x16& bytes) {
  low = __builtin_convertvector((s16x8)__builtin_shufflevector(bytes, bytes, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), i32x8);
  high = __builtin_convertvector((s16x8)__builtin_shufflevector(bytes, bytes, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), i32x8);
}

// Sixteen columns of eight rows of the mask, -1 where it is not 0, else 0. Returns whether there is no 0: then nothing has to be chosen.
VANTAGE_INLINE bool read_mask(s8x16 (&rows)[kRows], const TensorView& view, int64_t row, int64_t t) {
  s8x16 all = ~s8x16{};
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    load_vector(rows[i], row_at<int8_t>(view, row + i, t));
    rows[i] = rows[i] != 0;
    all &= rows[i];
  }
  const u64x2 bits = (u64x2)all;
  return (bits[0] & bits[1]) == ~uint64_t{0};
}

// The mask by columns. The bytes are transposed before they are widened.
VANTAGE_INLINE void spread_mask(i32x8 (&x)[kBlock], const s8x16 (&rows)[kRows]) {
  s16x8 pairs[8];  // [2p] and [2p + 1]: rows 2p and 2p + 1 side by side, columns 0-7 and 8-15
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    pairs[2 * p] = (s16x8)__builtin_shufflevector(rows[2 * p], rows[2 * p + 1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    pairs[2 * p + 1] = (s16x8)__builtin_shufflevector(rows[2 * p], rows[2 * p + 1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 2
    for (int quarter = 0; quarter < 2; ++quarter) {
      i32x4 upper, lower;  // four columns of rows 0-3, and of rows 4-7
      if (quarter == 0) {
        upper = (i32x4)__builtin_shufflevector(pairs[half], pairs[2 + half], 0, 8, 1, 9, 2, 10, 3, 11);
        lower = (i32x4)__builtin_shufflevector(pairs[4 + half], pairs[6 + half], 0, 8, 1, 9, 2, 10, 3, 11);
      } else {
        upper = (i32x4)__builtin_shufflevector(pairs[half], pairs[2 + half], 4, 12, 5, 13, 6, 14, 7, 15);
        lower = (i32x4)__builtin_shufflevector(pairs[4 + half], pairs[6 + half], 4, 12, 5, 13, 6, 14, 7, 15);
      }
      const s8x16 two = (s8x16)__builtin_shufflevector(upper, lower, 0, 4, 1, 5);
      const s8x16 more = (s8x16)__builtin_shufflevector(upper, lower, 2, 6, 3, 7);
      const int column = 8 * half + 4 * quarter;
      widen(x[column], x[column + 1], two);
      widen(x[column + 2], x[column + 3], more);
    }
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

// What eight rows carry from step to step.
struct Carried {
  f64x4 low = {}, high = {};  // the advantages of rows 0-3 and 4-7
  f32x8 next = {};            // the values
};

// One block, last column first: r becomes the advantages, v the returns.
template <bool masked>
VANTAGE_INLINE void steps(f32x8 (&r)[kBlock], f32x8 (&v)[kBlock], const i32x8 (&m)[kBlock], Carried& carried, const f32x8& gamma, const f64x4& decay) {
  const f32x8 zero = {};
#pragma GCC unroll 16
  for (int i = kBlock - 1; i >= 0; --i) {
    f32x8 difference;
    recurrences::gae_difference(difference, r[i], v[i], carried.next, gamma);
    f64x4 low = carried.low, high = carried.high;
    recurrences::affine_step(low, decay, __builtin_convertvector(__builtin_shufflevector(difference, difference, 0, 1, 2, 3), f64x4));
    recurrences::affine_step(high, decay, __builtin_convertvector(__builtin_shufflevector(difference, difference, 4, 5, 6, 7), f64x4));
    if constexpr (masked) {
      const i64x4 valid_low = __builtin_convertvector(__builtin_shufflevector(m[i], m[i], 0, 1, 2, 3), i64x4);
      const i64x4 valid_high = __builtin_convertvector(__builtin_shufflevector(m[i], m[i], 4, 5, 6, 7), i64x4);
      carried.low = valid_low ? low : carried.low;
      carried.high = valid_high ? high : carried.high;
      carried.next = m[i] ? v[i] : carried.next;
    } else {
      carried = {low, high, v[i]};
    }
    const f32x8 advantage =
        __builtin_shufflevector(__builtin_convertvector(carried.low, f32x4), __builtin_convertvector(carried.high, f32x4), 0, 1, 2, 3, 4, 5, 6, 7);
    r[i] = masked ? (m[i] ? advantage : zero) : advantage;
    v[i] = masked ? (m[i] ? advantage + v[i] : zero) : advantage + v[i];
  }
}

// Eight rows of float32 that lie along memory.
void eight_rows(const Problem& p, int64_t row) {
  const f32x8 gamma = f32x8{} + static_cast<float>(p.gamma);
  const f64x4 decay = f64x4{} + p.decay;
  Carried carried;
  int64_t end = p.time;
  for (; end >= kBlock; end -= kBlock) {
    const int64_t t = end - kBlock;
    f32x8 r[kBlock], v[kBlock];
    s8x16 mask[kRows];
    i32x8 m[kBlock];
    load_block(r, p.rewards, row, t);
    load_block(v, p.values, row, t);
    if (read_mask(mask, p.mask, row, t)) {
      steps<false>(r, v, m, carried, gamma, decay);
    } else {
      spread_mask(m, mask);
      steps<true>(r, v, m, carried, gamma, decay);
    }
    store_block(p.advantages, row, t, r);
    store_block(p.returns, row, t, v);
  }
  const f64x4 &low = carried.low, &high = carried.high;
  const f32x8& next = carried.next;
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
