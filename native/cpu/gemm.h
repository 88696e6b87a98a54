// Matrix product of one thread: panels packed to fit the caches, a micro-kernel whose accumulators fill the registers
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#pragma once
#include "scratch.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {

// The micro-kernel computes kTileRows × kTileCols<T> elements: two vectors a row.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
template <class T>
constexpr int kTileCols = 2 * kLanes<T>;

// Block sizes: a packed block of b (kBlockDepth × kBlockCols) and one of a share the L2 cache, a panel of b stays in L1.
constexpr int64_t kBlockRows = 192;
constexpr int64_t kBlockDepth = 256;
template <class T>
constexpr int64_t kBlockCols = 16 * kTileCols<T>;

// A matrix in memory, with any strides (in elements).
struct Matrix {
  const void* data;
  DType dtype;
  int64_t row, col;

  template <class T>
  VANTAGE_INLINE const T* at(int64_t i, int64_t j) const { return static_cast<const T*>(data) + i * row + j * col; }
  template <class T>
  VANTAGE_INLINE T* writable(int64_t i, int64_t j) const { return static_cast<T*>(const_cast<void*>(data)) + i * row + j * col; }
  VANTAGE_INLINE Matrix transposed() const { return {data, dtype, col, row}; }
};

// c[Rows, cols] = (or +=) a[Rows, depth] · b[depth, cols]; a is packed (columns of kTileRows) or read in place with its strides.
template <class T, int Rows, bool kPacked>
void multiply_tile(const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row, int64_t depth, T* c, int64_t c_row, int cols, bool add) {
  constexpr int L = kLanes<T>;
  if (kPacked) a_row = 1, a_col = kTileRows;
  Vector<T> sums[Rows][2] = {};
  // Rows are addressed from every third pointer, which the addressing modes of x86 (base + 1 or 2 × index) make free.
  const T* thirds[(Rows + 2) / 3];
#pragma GCC unroll 16
  for (int i = 0; i < (Rows + 2) / 3; ++i) thirds[i] = a + 3 * i * a_row;
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; ++k) {
    const Vector<T> b0 = load(b), b1 = load(b + L);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const T x = thirds[i / 3][(i % 3) * a_row];
      sums[i][0] += x * b0;
      sums[i][1] += x * b1;
    }
#pragma GCC unroll 16
    for (int i = 0; i < (Rows + 2) / 3; ++i) thirds[i] += a_col;
    b += b_row;
  }
  if (cols == 2 * L) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      T* row = c + i * c_row;
      store(row, add ? load(row) + sums[i][0] : sums[i][0]);
      store(row + L, add ? load(row + L) + sums[i][1] : sums[i][1]);
    }
    return;
  }
  T tile[Rows][2 * L];
  __builtin_memcpy(tile, sums, sizeof tile);
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < cols; ++j) c[i * c_row + j] = add ? c[i * c_row + j] + tile[i][j] : tile[i][j];
  }
}

template <class T, bool kPacked, int Rows = kTileRows>
VANTAGE_INLINE void multiply_rows(int rows, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row, int64_t depth, T* c,
                                  int64_t c_row, int cols, bool add) {
  if constexpr (Rows > 0) {
    if (rows == Rows) return multiply_tile<T, Rows, kPacked>(a, a_row, a_col, b, b_row, depth, c, c_row, cols, add);
    multiply_rows<T, kPacked, Rows - 1>(rows, a, a_row, a_col, b, b_row, depth, c, c_row, cols, add);
  }
}

// to[k·width + i] = from[i·row + k·col] for i < width, 4 × 4 elements at a time where `from` is contiguous along k.
template <class From, class T>
VANTAGE_INLINE void pack_panel(const From* from, int64_t row, int64_t col, int count, int width, int64_t depth, T* to) {
  if (row == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int i = 0; i < count; ++i) to[k * width + i] = convert<T>(from[k * col + i]);
    }
  } else {
    int i = 0;
    if constexpr (sizeof(From) == 4 && sizeof(T) == 4) {
      typedef float Four __attribute__((vector_size(16)));
      for (; col == 1 && i + 4 <= count; i += 4) {
        const From* line = from + i * row;
        int64_t k = 0;
        for (; k + 4 <= depth; k += 4) {
          Four r0, r1, r2, r3;
          __builtin_memcpy(&r0, line + k, 16);
          __builtin_memcpy(&r1, line + row + k, 16);
          __builtin_memcpy(&r2, line + 2 * row + k, 16);
          __builtin_memcpy(&r3, line + 3 * row + k, 16);
          const Four a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
          const Four c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
          const Four out[4] = {__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
                               __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
          for (int j = 0; j < 4; ++j) __builtin_memcpy(to + (k + j) * width + i, &out[j], 16);
        }
        for (; k < depth; ++k) {
          for (int j = 0; j < 4; ++j) to[k * width + i + j] = line[j * row + k];
        }
      }
    }
    for (; i < count; ++i) {
      for (int64_t k = 0; k < depth; ++k) to[k * width + i] = convert<T>(from[i * row + k * col]);
    }
  }
  if (count < width) {
    for (int64_t k = 0; k < depth; ++k) __builtin_memset(to + k * width + count, 0, static_cast<size_t>(width - count) * sizeof(T));
  }
}

// Packs lines × depth elements of a matrix (lines are its rows) into panels of Width lines.
template <class T, class From, int Width>
void pack_as(const Matrix& m, int64_t i0, int64_t k0, int64_t lines, int64_t depth, T* to) {
  for (int64_t i = 0; i < lines; i += Width, to += Width * depth) {
    const From* from = m.at<From>(i0 + i, k0);
    const int count = static_cast<int>(smaller<int64_t>(Width, lines - i));
    if (count == Width) {
      pack_panel(from, m.row, m.col, Width, Width, depth, to);
    } else {
      pack_panel(from, m.row, m.col, count, Width, depth, to);
    }
  }
}

template <class T, int Width>
void pack(const Matrix& m, int64_t i0, int64_t k0, int64_t lines, int64_t depth, T* to) {
  if (m.dtype == DType::f32) pack_as<T, float, Width>(m, i0, k0, lines, depth, to);
  if (m.dtype == DType::f64) pack_as<T, double, Width>(m, i0, k0, lines, depth, to);
  if (m.dtype == DType::bf16) pack_as<T, bf16, Width>(m, i0, k0, lines, depth, to);
}

// One packed block of b against `rows` rows of a.
template <class T>
void multiply_block(const Matrix& a, int64_t m0, int64_t k0, int64_t rows, int64_t cols, int64_t depth, const T* b, int64_t b_panel, int64_t b_row,
                    T* c, int64_t c_row, bool add) {
  // Rows of a are read in place where that is as fast as packing them: few pages, or few panels of b to repeat the reading for.
  const bool in_place = a.dtype == dtype_of<T>() && a.col == 1 &&
                        (a.row * static_cast<int64_t>(sizeof(T)) <= 2048 || rows <= kTileRows || cols <= 2 * kTileCols<T>);
  T* packed = nullptr;
  if (!in_place) {
    packed = scratch<T>(Scratch::pack_a, ceil_div(rows, kTileRows) * kTileRows * depth);
    pack<T, kTileRows>(a, m0, k0, rows, depth, packed);
  }
  for (int64_t j = 0; j < cols; j += kTileCols<T>, b += b_panel) {
    const int width = static_cast<int>(smaller<int64_t>(kTileCols<T>, cols - j));
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const int height = static_cast<int>(smaller<int64_t>(kTileRows, rows - i));
      T* tile = c + i * c_row + j;
      if (in_place) {
        multiply_rows<T, false>(height, a.at<T>(m0 + i, k0), a.row, 1, b, b_row, depth, tile, c_row, width, add);
      } else {
        multiply_rows<T, true>(height, packed + i * depth, 1, kTileRows, b, b_row, depth, tile, c_row, width, add);
      }
    }
  }
}

// c[M,N] (unit column stride) = (or +=) a[M,K] · b[K,N], in float32 or float64. The order of the sums depends on the shapes alone.
template <class T>
void gemm(int64_t M, int64_t N, int64_t K, const Matrix& a, const Matrix& b, T* c, int64_t c_row, bool add) {
  // With few rows packing b would cost as much as the product.
  const bool direct = b.dtype == dtype_of<T>() && b.col == 1 && M <= 2 * kTileRows;
  for (int64_t n0 = 0; n0 < N; n0 += kBlockCols<T>) {
    const int64_t cols = smaller(kBlockCols<T>, N - n0);
    const int64_t whole = direct ? cols / kTileCols<T> * kTileCols<T> : 0;
    for (int64_t k0 = 0; k0 == 0 || k0 < K; k0 += kBlockDepth) {
      const int64_t depth = smaller(kBlockDepth, K - k0);
      const bool accumulate = add || k0 > 0;
      T* packed = nullptr;
      if (whole < cols) {
        packed = scratch<T>(Scratch::pack_b, ceil_div(cols - whole, kTileCols<T>) * kTileCols<T> * depth);
        pack<T, kTileCols<T>>(b.transposed(), n0 + whole, k0, cols - whole, depth, packed);
      }
      for (int64_t m0 = 0; m0 < M; m0 += kBlockRows) {
        const int64_t rows = smaller(kBlockRows, M - m0);
        T* block = c + m0 * c_row + n0;
        if (whole > 0) {
          multiply_block<T>(a, m0, k0, rows, whole, depth, b.at<T>(k0, n0), kTileCols<T>, b.row, block, c_row, accumulate);
        }
        if (whole < cols) {
          multiply_block<T>(a, m0, k0, rows, cols - whole, depth, packed, kTileCols<T> * depth, kTileCols<T>, block + whole, c_row, accumulate);
        }
      }
    }
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
