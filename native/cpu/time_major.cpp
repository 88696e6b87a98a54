// Blocks of a program that goes along time with its rows side by side.
#include "converting.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <int blocks, bool stream, class T>
VANTAGE_INLINE void store_blocks(T* const (&rows)[8], const T* in, int64_t t, int64_t width, int64_t ahead) {
  using V = typename Vector8<T>::type;
  V x[blocks][8];
#pragma GCC unroll 2
  for (int k = 0; k < blocks; ++k) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) load_vector(x[k][i], in + (8 * k + i) * width);
    transpose8(x[k]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    if constexpr (!stream) prefetch(rows[i], t + ahead);
    for (int k = 0; k < blocks; ++k) {
      if constexpr (stream) stream_vector(rows[i] + t + 8 * k, (f32x8)x[k][i]);
      else store_vector(rows[i] + t + 8 * k, x[k][i]);
    }
  }
}

// Whether the rows stand side by side in memory, and a time is a piece of it.
template <class S>
bool side_by_side(const TimeMajor& from) {
  for (int64_t r = 1; r < from.width; ++r) {
    if (static_cast<const S*>(from.rows[r]) != static_cast<const S*>(from.rows[r - 1]) + 1) return false;
  }
  return true;
}

template <class S, class T>
void load_time_major(void* to, const TimeMajor& from) {
  T* __restrict out = static_cast<T*>(to);
  const int64_t width = from.width, n = from.n, stride = from.stride;
  if constexpr (kVectorLoad<S, T>) {
    if (stride != 1 && stride != 0 && side_by_side<S>(from)) {
      for (int64_t t = 0; t < n; ++t) {
        const S* const row = static_cast<const S*>(from.rows[0]) + (from.first + t) * stride;
        prefetch(row, from.ahead * stride);
        for (int64_t r = 0; r < width; r += 8) {
          typename Vector8<T>::type x;
          load8<S>(x, row + r);
          store_vector(out + t * width + r, x);
        }
      }
      return;
    }
  }
  for (int64_t r = 0; r < width; r += 8) {
    const S* rows[8];
    for (int i = 0; i < 8; ++i) rows[i] = static_cast<const S*>(from.rows[r + i]) + from.first * stride;
    int64_t t = 0;
    if (stride == 0) {
      T values[8];
      for (int i = 0; i < 8; ++i) values[i] = read<T>(rows[i][0]);
      for (; t < n; ++t) __builtin_memcpy(out + t * width + r, values, sizeof values);
      continue;
    }
    if constexpr (kVectorLoad<S, T>) {
      if (stride == 1) {
        for (; t + 16 <= n; t += 16) load_blocks<2, S>(out + t * width + r, rows, t, width, from.ahead);
        for (; t + 8 <= n; t += 8) load_blocks<1, S>(out + t * width + r, rows, t, width, from.ahead);
      }
    }
    for (; t < n; ++t) {
      for (int i = 0; i < 8; ++i) out[t * width + r + i] = read<T>(rows[i][t * stride]);
    }
  }
}

template <class S, class T>
void store_time_major(const TimeMajor& to, const void* from) {
  const T* __restrict in = static_cast<const T*>(from);
  const int64_t width = to.width, n = to.n, stride = to.stride;
  for (int64_t r = 0; r < to.stored; r += 8) {
    const int64_t count = to.stored - r < 8 ? to.stored - r : 8;
    S* rows[8];
    for (int64_t i = 0; i < count; ++i) rows[i] = static_cast<S*>(to.rows[r + i]) + to.first * stride;
    int64_t t = 0;
    if constexpr (sizeof(T) == 4 && __is_same(S, T)) {
      if (stride == 1 && count == 8) {
        uintptr_t bits = to.stream ? 0 : 1;
        for (int i = 0; i < 8; ++i) bits |= reinterpret_cast<uintptr_t>(rows[i]);
        if (bits % sizeof(f32x8) == 0) {
          for (; t + 16 <= n; t += 16) store_blocks<2, true>(rows, in + t * width + r, t, width, to.ahead);
        }
        for (; t + 16 <= n; t += 16) store_blocks<2, false>(rows, in + t * width + r, t, width, to.ahead);
        for (; t + 8 <= n; t += 8) store_blocks<1, false>(rows, in + t * width + r, t, width, to.ahead);
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = t; j < n; ++j) rows[i][j * stride] = Write<S>::from(in[j * width + r + i]);
    }
  }
}

}  // namespace

bool all_true(const TimeMajor& from) {
  Zeros zeros;
  for (int64_t r = 0; r < from.width; ++r) {
    const uint8_t* row = static_cast<const uint8_t*>(from.rows[r]) + from.first;
    for (int64_t t = 0; t < from.n; t += 64) prefetch(row, t + from.ahead);
    Zeros::look(zeros, row, from.n);
  }
  return !zeros.any();
}

LoadTimeMajor load_time_major_function(DType from, RegisterType to) {
  static constexpr LoadTimeMajor table[kRegisterTypes][kDTypes] = VANTAGE_BY_TYPE(load_time_major);
  return table[static_cast<int>(to)][static_cast<int>(from)];
}
StoreTimeMajor store_time_major_function(RegisterType from, DType to) {
  static constexpr StoreTimeMajor table[kRegisterTypes][kDTypes] = VANTAGE_BY_TYPE(store_time_major);
  return table[static_cast<int>(from)][static_cast<int>(to)];
}

}  // namespace vantage::cpu::VANTAGE_ISA
