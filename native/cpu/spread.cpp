// The fold of a spread: Σ(x − mean)² of float32 in the pass that computes x, whose mean is not known before.
#include "reduce_functions.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Σ(x − mean)² of float32. Of n totals the counts come first, then the sums, then the spreads so far; the lanes hold one of each.
struct Spread {
  using Wide = WideDoubles;
  using Narrow = FloatsToWiden;
  typedef float Floats __attribute__((vector_size(sizeof(Wide))));

  struct Part {
    double count, sum, spread;
  };
  // Lanes by turns: additions wait for those before them, and half as long for every other one.
  static constexpr int kTwice = 2;

  static void reset(void* totals, int64_t n) { __builtin_memset(totals, 0, n * kTotalRoom); }

  // A number among the others, or close to their mean: that of every other 32 of them.
  VANTAGE_INLINE float near(const float* in, int64_t n) {
    f32x8 some[4] = {};
    float sum = 0;
    int64_t i = 0, count = 0;
    for (; i + 32 <= n; i += 64, count += 32) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        f32x8 x;
        load_vector(x, in + i + 8 * k);
        some[k] += x;
      }
    }
    const f32x8 all = (some[0] + some[1]) + (some[2] + some[3]);
    for (int lane = 0; lane < 8; ++lane) sum += all[lane];
    for (; i < n; ++i, ++count) sum += in[i];
    const float mean = sum / static_cast<float>(count);
    return mean - mean == 0 ? mean : in[0];
  }

  // Where float32 does not hold the squares.
  static double spread_in_double(const float* in, int64_t n, double mean) {
    double rest = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double difference = static_cast<double>(in[i]) - mean;
      rest += difference, squares += difference * difference;
    }
    return about(rest, squares, static_cast<double>(n));
  }

  // The squares are those of differences from `shift`, which float32 holds well enough as long as it is no farther from the numbers than they are from others of the
  // row; they are added up in float32, a few at a time.
  VANTAGE_INLINE Part part_of(const float* in, int64_t n, float shift) {
    constexpr int64_t kTogether = 256;
    constexpr int kWide = kLanes / static_cast<int>(sizeof(Wide) / 8), kFloats = kLanes / static_cast<int>(sizeof(Floats) / 4);
    Wide sums[kTwice][kWide] = {}, squares[kTwice][kWide] = {};
    int64_t i = 0;
    while (i + kLanes <= n) {
      const int64_t stop = i + kTogether < n ? i + kTogether : n;
      Floats together[kTwice][kFloats] = {};
      const auto take = [&](Wide (&to)[kWide], Floats (&squares_to)[kFloats]) __attribute__((always_inline)) {
        __builtin_prefetch(in + i + 1024);
#pragma GCC unroll 4
        for (int k = 0; k < kWide; ++k) {
          Narrow x;
          Wide wide;
          load_vector(x, in + i + kLanes / kWide * k);
          widen(wide, x);
          to[k] += wide;
        }
#pragma GCC unroll 2
        for (int k = 0; k < kFloats; ++k) {
          Floats x;
          load_vector(x, in + i + kLanes / kFloats * k);
          x -= shift;
          squares_to[k] += x * x;
        }
        i += kLanes;
      };
      while (i + kTwice * kLanes <= stop) {
#pragma GCC unroll 2
        for (int turn = 0; turn < kTwice; ++turn) take(sums[turn], together[turn]);
      }
      if (i + kLanes <= stop) take(sums[0], together[0]);
#pragma GCC unroll 2
      for (int turn = 0; turn < kTwice; ++turn) {
        Narrow parts[kWide];
        __builtin_memcpy(parts, together[turn], sizeof parts);
        for (int k = 0; k < kWide; ++k) {
          Wide wide;
          widen(wide, parts[k]);
          squares[turn][k] += wide;
        }
      }
    }
    double sum[kLanes], square[kLanes];
    for (int k = 0; k < kWide; ++k) sums[0][k] += sums[1][k], squares[0][k] += squares[1][k];
    __builtin_memcpy(sum, sums[0], sizeof sum);
    __builtin_memcpy(square, squares[0], sizeof square);
    for (int lane = 0; i < n; ++i, ++lane) {
      const float difference = in[i] - shift;
      sum[lane] += static_cast<double>(in[i]);
      square[lane] += static_cast<double>(difference) * static_cast<double>(difference);
    }
    const double count = static_cast<double>(n), all = sum_of_lanes(sum);
    const double spread = about(all - static_cast<double>(shift) * count, sum_of_lanes(square), count);
    return {count, all, spread - spread == 0 || all - all != 0 ? spread : spread_in_double(in, n, all / count)};
  }

  // Σ(x − mean)² from sums over d = x − shift. What rounding leaves below 0 is 0; a NaN stays.
  VANTAGE_INLINE double about(double sum, double squares, double count) {
    const double spread = squares - sum * sum / count;
    return spread < 0 ? 0 : spread;
  }

  // Chan, Golub and LeVeque, as in core/moments.h, but with sums, which an infinity does not make a NaN.
  VANTAGE_INLINE void add(double* totals, int64_t n, int64_t i, const Part& other) {
    double &count = totals[i], &sum = totals[n + i], &spread = totals[2 * n + i];
    if (other.count == 0) return;
    if (count > 0) {
      const double difference = other.sum / other.count - sum / count;
      spread += difference * difference * count * other.count / (count + other.count);
    }
    count += other.count, sum += other.sum, spread += other.spread;
  }

  static void lanes(void* lanes, const void* elements, int64_t n) {
    double* const so_far = static_cast<double*>(lanes);
    const float* const in = static_cast<const float*>(elements);
    const float mean = static_cast<float>(so_far[1] / so_far[0]);
    add(so_far, 1, 0, part_of(in, n, mean - mean == 0 ? mean : near(in, n)));
  }

  // One by one, as they were stored: wider loads would wait for the memory.
  static void combine(void* total, const void* lanes) {
    for (int i = 0; i < 3; ++i) static_cast<volatile double*>(total)[i] = static_cast<const volatile double*>(lanes)[i];
  }

  static void rows(void* totals, const void* elements, int64_t rows, int64_t n) {
    const float* in = static_cast<const float*>(elements);
    for (int64_t r = 0; r < rows; ++r) static_cast<double*>(totals)[r] = part_of(in + r * n, n, near(in + r * n, n)).spread;
  }

  static void columns(void* totals, const void* elements, int64_t n, int64_t width) {
    const float* in = static_cast<const float*>(elements);
    for (int64_t i = 0; i < width; ++i) {
      const double shift = in[i];
      double sum = 0, rest = 0, squares = 0;
      for (int64_t at = i; at < n; at += width) {
        const double x = in[at], difference = x - shift;
        sum += x, rest += difference, squares += difference * difference;
      }
      const double count = static_cast<double>((n - i + width - 1) / width);
      add(static_cast<double*>(totals), width, i, {count, sum, about(rest, squares, count)});
    }
  }

  static void merge(void* totals, const void* others, int64_t n) {
    const double* const other = static_cast<const double*>(others);
    for (int64_t i = 0; i < n; ++i) add(static_cast<double*>(totals), n, i, {other[i], other[n + i], other[2 * n + i]});
  }

  static constexpr Fold table = {reset, lanes, combine, rows, columns, merge};
};

}  // namespace

const Fold& fold_of_spreads() { return Spread::table; }

void finish_spread(void* results, const void* totals, int64_t n) {
  __builtin_memcpy(results, static_cast<const double*>(totals) + 2 * n, static_cast<size_t>(n) * kTotalBytes);
}

void finish_sum_of_spread(void* results, const void* totals, int64_t n) {
  __builtin_memcpy(results, static_cast<const double*>(totals) + n, static_cast<size_t>(n) * kTotalBytes);
}

}  // namespace vantage::cpu::VANTAGE_ISA
