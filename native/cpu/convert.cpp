#include "convert.h"

#include <cstring>

#include "converting.h"
#include "finite.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

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
  const int64_t done = row_stride == 1 && (stride > 1 || stride < -1) && rows > 1 ? load_crossing(out, static_cast<const S*>(from), rows, n, stride) : 0;
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

}  // namespace vantage::cpu::VANTAGE_ISA
