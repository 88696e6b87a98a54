#include "convert.h"

#include <cstring>

#include "../core/math.h"
#include "finite.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Element types of memory that C++ has no type for.
struct Bfloat16 {
  uint16_t bits;
};
struct Bool {
  uint8_t value;
};

template <class T, class S>
VANTAGE_INLINE T read(S x) {
  if constexpr (sizeof(T) == 4 && __is_same(T, int32_t)) return math::to_int32(x);
  else return static_cast<T>(x);
}
template <class T>
VANTAGE_INLINE T read(Bfloat16 x) {
  return read<T>(math::from_bfloat16(x.bits));
}
template <class T>
VANTAGE_INLINE T read(Bool x) {
  return static_cast<T>(x.value != 0);
}

// What leaves a register (or an int64 total) for memory. Integers saturate.
template <class S>
struct Write {
  template <class T>
  VANTAGE_INLINE S from(T x) {
    return static_cast<S>(x);
  }
};
template <>
struct Write<int32_t> {
  VANTAGE_INLINE int32_t from(float x) { return math::to_int32(x); }
  VANTAGE_INLINE int32_t from(double x) { return math::to_int32(x); }
  VANTAGE_INLINE int32_t from(int32_t x) { return x; }
  VANTAGE_INLINE int32_t from(int64_t x) { return static_cast<int32_t>(x < -2147483648ll ? -2147483648ll : x > 2147483647ll ? 2147483647ll : x); }
};
template <>
struct Write<uint8_t> {
  template <class T>
  VANTAGE_INLINE uint8_t from(T x) {
    const T limited = x > T(255) ? T(255) : x;
    return static_cast<uint8_t>(static_cast<int32_t>(limited > T(0) ? limited : T(0)));  // NaN fails the comparison
  }
};
template <>
struct Write<Bool> {
  template <class T>
  VANTAGE_INLINE Bool from(T x) {
    return {static_cast<uint8_t>(x != T(0))};
  }
};
template <>
struct Write<Bfloat16> {
  template <class T>
  VANTAGE_INLINE Bfloat16 from(T x) {
    return {math::to_bfloat16(static_cast<float>(x))};
  }
};

// ---- Eight rows and their columns ---------------------------------------------------------------------------------------------------

template <class T>
struct Vector8;
template <>
struct Vector8<float> {
  using type = f32x8;
};
template <>
struct Vector8<int32_t> {
  using type = i32x8;
};

// An address: it may lie outside of the array.
template <class S>
VANTAGE_INLINE void prefetch(const S* base, int64_t index) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(base) + index * sizeof(S)), 0, 3);
}

// Eight elements of memory as a vector of the register type.
template <class S, class V>
VANTAGE_INLINE void load8(V& to, const S* from) {
  if constexpr (__is_same(S, Bfloat16)) {
    u16x8 bits;
    load_vector(bits, from);
    const i32x8 wide = __builtin_convertvector(bits, i32x8) << 16;
    to = __builtin_convertvector((f32x8)wide, V);
  } else if constexpr (__is_same(S, Bool)) {
    i32x8 wide;
    load_bytes(wide, from);
    to = __builtin_convertvector((wide != 0) & 1, V);
  } else if constexpr (__is_same(S, uint8_t)) {
    i32x8 wide;
    load_bytes(wide, from);
    to = __builtin_convertvector(wide, V);
  } else {
    load_vector(to, from);
  }
}

// Whether load8 takes this pair: 32-bit registers, and no float that would need saturating.
template <class S, class T>
constexpr bool kVectorLoad = sizeof(T) == 4 && (__is_same(S, T) || __is_same(S, uint8_t) || __is_same(S, Bool) ||
                                                (__is_same(S, Bfloat16) && __is_same(T, float)));

// Eight rows and 8·blocks times. Two blocks at once are a whole cache line of each row: rows that are a multiple of 4 KiB apart share a
// set of the first-level cache, and a line that is left half read is gone when its other half is wanted.
template <int blocks, class S, class T>
VANTAGE_INLINE void load_blocks(T* out, const S* const (&rows)[8], int64_t t, int64_t width, int64_t ahead) {
  typename Vector8<T>::type x[blocks][8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    prefetch(rows[i], t + ahead);
    for (int k = 0; k < blocks; ++k) load8<S>(x[k][i], rows[i] + t + 8 * k);
  }
#pragma GCC unroll 2
  for (int k = 0; k < blocks; ++k) {
    transpose8(x[k]);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) store_vector(out + (8 * k + i) * width, x[k][i]);
  }
}

// ---- Dense and strided blocks -----------------------------------------------------------------------------------------------

// Rows that lie side by side in memory, each of its columns along it: eight columns at a time, by lines of memory. The block below comes next. Returns how
// many columns are loaded.
template <class S, class T>
VANTAGE_INLINE int64_t load_crossing(T* out, const S* in, int64_t rows, int64_t n, int64_t stride) {
  int64_t column = 0;
  if constexpr (kVectorLoad<S, T>) {
    for (; column + 8 <= n; column += 8) {
      const S* columns[8];
      for (int i = 0; i < 8; ++i) columns[i] = in + (column + i) * stride;
      T* const to = out + column;
      int64_t row = 0;
      for (; row + 16 <= rows; row += 16) load_blocks<2, S>(to + row * n, columns, row, n, rows);
      for (; row + 8 <= rows; row += 8) load_blocks<1, S>(to + row * n, columns, row, n, rows);
      for (; row < rows; ++row) {
        for (int i = 0; i < 8; ++i) to[row * n + i] = read<T>(columns[i][row]);
      }
    }
  }
  return column;
}

template <class S, class T>
void load(void* to, const void* from, int64_t rows, int64_t n, int64_t row_stride, int64_t stride) {
  T* __restrict out = static_cast<T*>(to);
  if (n == 1) {
    n = rows;
    stride = row_stride;
    rows = 1;
  } else if (stride == 1 && row_stride == n) {
    n *= rows;
    rows = 1;
  }
  const int64_t done = row_stride == 1 && stride != 1 && stride != 0 && rows > 1 ? load_crossing(out, static_cast<const S*>(from), rows, n, stride) : 0;
  for (int64_t r = 0; r < rows; ++r, out += n) {
    const S* __restrict in = static_cast<const S*>(from) + r * row_stride;
    if (stride == 1) {
      for (int64_t i = 0; i < n; ++i) out[i] = read<T>(in[i]);
    } else if (stride == -1) {
      for (int64_t i = 0; i < n; ++i) out[i] = read<T>(in[-i]);
    } else if (stride == 0) {
      const T value = read<T>(in[0]);
      for (int64_t i = 0; i < n; ++i) out[i] = value;
    } else {
      for (int64_t i = done; i < n; ++i) out[i] = read<T>(in[i * stride]);
    }
  }
}

template <class S, class T>
void store(void* to, const void* from, int64_t rows, int64_t n, int64_t row_stride, int64_t stride) {
  const T* __restrict in = static_cast<const T*>(from);
  if (n == 1) {
    n = rows;
    stride = row_stride;
    rows = 1;
  } else if (stride == 1 && row_stride == n) {
    n *= rows;
    rows = 1;
  }
  for (int64_t r = 0; r < rows; ++r, in += n) {
    S* __restrict out = static_cast<S*>(to) + r * row_stride;
    if (stride == 1) {
      for (int64_t i = 0; i < n; ++i) out[i] = Write<S>::from(in[i]);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i * stride] = Write<S>::from(in[i]);
    }
  }
}

template <class S, class T>
void store_totals(void* to, const void* totals, int64_t n, int64_t stride) {
  store<S, T>(to, totals, 1, n, 0, stride);
}

// ---- Time-major blocks ----------------------------------------------------------------------------------------------------------

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

// Collects which bytes are 0.
struct Zeros {
  typedef int8_t Bytes __attribute__((vector_size(16)));
  Bytes found = {};
  bool in_rest = false;

  VANTAGE_INLINE void look(Zeros& zeros, const uint8_t* from, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      Bytes x;
      load_vector(x, from + i);
      zeros.found |= x == 0;
    }
    for (; i < n; ++i) zeros.in_rest |= from[i] == 0;
  }
  bool any() const {
    const u64x2 bits = (u64x2)found;
    return in_rest || (bits[0] | bits[1]) != 0;
  }
};

// look(from, bytes) sees each piece that is written: lines, and what lies before and behind them.
template <class Look>
VANTAGE_INLINE void stream(char* to, const char* from, int64_t bytes, const Look& look) {
  constexpr int64_t kLine = 64;
  const auto copy = [&](int64_t at, int64_t count) {
    __builtin_memcpy(to + at, from + at, static_cast<size_t>(count));
    look(from + at, count);
  };
  int64_t i = -static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) & (kLine - 1)) & (kLine - 1);
  if (i > bytes) i = bytes;
  copy(0, i);
  for (; i + kLine <= bytes; i += kLine) {
    stream_line(to + i, from + i);
    look(from + i, kLine);
  }
  copy(i, bytes - i);
}

}  // namespace

void stream_bytes(void* to, const void* from, int64_t bytes) {
  stream(static_cast<char*>(to), static_cast<const char*>(from), bytes, [](const char*, int64_t) {});
}

bool stream_finite(float* to, const float* from, int64_t n) {
  Finite finite;
  stream(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), n * 4, [&](const char* piece, int64_t bytes) __attribute__((always_inline)) {
    const float* const numbers = reinterpret_cast<const float*>(piece);
    const int64_t count = bytes / 4;
    if (count == 16) {
#pragma GCC unroll 2
      for (int k = 0; k < 16; k += kLanesOfWidest) {
        Widest x;
        load_vector(x, numbers + k);
        finite.look(x);
      }
    } else {
      for (int64_t k = 0; k < count; ++k) finite.look(numbers[k]);
    }
  });
  return finite.all_were();
}

Truth truth_of(const void* from, int64_t rows, int64_t n, int64_t row_stride) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  if (row_stride == n) n *= rows, rows = 1;
  // Equal bytes are the rule, and told faster than anything else.
  bool equal = true;
  for (int64_t r = 0; r < rows && equal; ++r) {
    const uint8_t* const row = bytes + r * row_stride;
    equal = row[0] == bytes[0] && std::memcmp(row, row + 1, static_cast<size_t>(n - 1)) == 0;
  }
  if (equal) return bytes[0] == 0 ? Truth::none : Truth::all;
  Zeros zeros;
  for (int64_t r = 0; r < rows; ++r) Zeros::look(zeros, bytes + r * row_stride, n);
  return zeros.any() ? Truth::some : Truth::all;
}

bool all_true(const TimeMajor& from) {
  Zeros zeros;
  for (int64_t r = 0; r < from.width; ++r) {
    const uint8_t* row = static_cast<const uint8_t*>(from.rows[r]) + from.first;
    for (int64_t t = 0; t < from.n; t += 64) prefetch(row, t + from.ahead);
    Zeros::look(zeros, row, from.n);
  }
  return !zeros.any();
}

// One row for each dtype in the order of their numbers.
#define VANTAGE_BY_DTYPE(function, type)                                                                                       \
  {                                                                                                                            \
    function<float, type>, function<double, type>, function<Bfloat16, type>, function<int32_t, type>, function<uint8_t, type>, \
        function<Bool, type>                                                                                                   \
  }
#define VANTAGE_BY_TYPE(function) \
  { VANTAGE_BY_DTYPE(function, float), VANTAGE_BY_DTYPE(function, double), VANTAGE_BY_DTYPE(function, int32_t) }

LoadFunction load_function(DType from, RegisterType to) {
  static constexpr LoadFunction table[kRegisterTypes][kDTypes] = VANTAGE_BY_TYPE(load);
  return table[static_cast<int>(to)][static_cast<int>(from)];
}
StoreFunction store_function(RegisterType from, DType to) {
  static constexpr StoreFunction table[kRegisterTypes][kDTypes] = VANTAGE_BY_TYPE(store);
  return table[static_cast<int>(from)][static_cast<int>(to)];
}
StoreTotals store_totals_function(RegisterType type, DType to) {
  static constexpr StoreTotals table[2][kDTypes] = {VANTAGE_BY_DTYPE(store_totals, double), VANTAGE_BY_DTYPE(store_totals, int64_t)};
  return table[type == RegisterType::i32][static_cast<int>(to)];
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
