// The moments of what a mask keeps of each row, and the whitening of an array by those of all rows.
#include "../core/kernels.h"
#include "recurrence_rows.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kRowsOfSum = 1024;

int64_t rows_of_task(int64_t time) { return time >= kTaskSteps ? 1 : kTaskSteps / (time + 1) + 1; }

// One row of moments for each row of x.
template <class T>
void moments_of_rows(const TensorView& x, const TensorView& mask, const TensorView& moments) {
  using TileOf = Tile<T, 1, 1>;
  typename TileOf::Views views = {{x}, {absent(x)}, mask, absent(x)};
  views.mask_ahead = kMaskAhead;
  const int64_t rows = x.shape[0], time = x.shape[1], group = rows_of_task(time);
  parallel_for((rows + group - 1) / group, rows * time * 2, [&](int64_t task) {
    TileOf tile(views);
    for (int64_t row = task * group; row < rows && row < (task + 1) * group; ++row) {
      Moments total;
      for (int64_t t = 0; t < time; t += kTile) {
        tile.open(row, t, time - t < kTile ? time : t + kTile);
        combine(total, moments_along<true, true>(tile.in[0], tile.count));
      }
      write_moments(moments, row, total);
    }
  });
}

// The rows [first, last) of moments as one set.
Moments joined(const TensorView& moments, int64_t first, int64_t last) {
  const double* const at = moments.as<const double>();
  const int64_t step = moments.strides[0], column = moments.strides[1];
  Moments total;
  double sum = 0;
  for (int64_t row = first; row < last; ++row) {
    total.count += at[row * step];
    sum += at[row * step] * at[row * step + column];
  }
  if (total.count == 0) return {};
  total.mean = sum / total.count;
  for (int64_t row = first; row < last; ++row) {
    const double distance = at[row * step + column] - total.mean;
    total.spread += at[row * step + 2 * column] + at[row * step] * distance * distance;
  }
  return total;
}

Moments joined(const TensorView& moments) {
  const int64_t rows = moments.shape[0], parts = (rows + kRowsOfSum - 1) / kRowsOfSum;
  Moments* const part = scratch<Moments>(Scratch::accumulators, static_cast<size_t>(parts));
  parallel_for(parts, rows * 4, [&](int64_t i) { part[i] = joined(moments, i * kRowsOfSum, (i + 1) * kRowsOfSum < rows ? (i + 1) * kRowsOfSum : rows); });
  Moments total;
  for (int64_t i = 0; i < parts; ++i) combine(total, part[i]);
  return total;
}

// (x − mean)·factor + offset where the mask is not 0, in double: a common offset of the x costs no digits.
struct Whitening {
  double mean, factor, offset;
};

template <class T>
void whiten_span(T* to, const T* x, const uint8_t* mask, int64_t n, const Whitening& w) {
  int64_t i = 0;
  if constexpr (sizeof(T) == 4) {
    const f64x4 mean = f64x4{} + w.mean, factor = f64x4{} + w.factor, offset = f64x4{} + w.offset;
    for (; i + 8 <= n; i += 8) {
      f32x8 v;
      i32x8 valid;
      fetch<true>(v, x + i);
      widen_bytes(valid, mask + i);
      f64x4 low, high;
      f32x8 result;
      widen_halves(low, high, v);
      narrow_halves(result, (low - mean) * factor + offset, (high - mean) * factor + offset);
      store_vector(to + i, valid != 0 ? result : f32x8{});
    }
  }
  for (; i < n; ++i) to[i] = mask[i] ? static_cast<T>((static_cast<double>(x[i]) - w.mean) * w.factor + w.offset) : T(0);
}

template <class T>
void apply(const TensorView& x, const TensorView& mask, const TensorView& out, const Whitening& w) {
  const int64_t rows = x.shape[0], time = x.shape[1], group = rows_of_task(time), tasks = (rows + group - 1) / group;
  const bool stream = worth_streaming(rows * time * static_cast<int64_t>(2 * sizeof(T) + 1));
  parallel_for(tasks, rows * time * 2, [&](int64_t task) {
    alignas(64) T numbers[kTile], results[kTile];
    alignas(64) uint8_t bytes[kTile];
    // The rows that the moments were taken of last come first: some are still in the cache.
    const int64_t first = (tasks - 1 - task) * group;
    for (int64_t row = first; row < rows && row < first + group; ++row) {
      for (int64_t t = 0; t < time; t += kTile) {
        const Span span = {row, 1, t, time - t < kTile ? time : t + kTile};
        if (!along(x, span)) gather_span(numbers, x, span);
        if (!along(mask, span)) gather_span(bytes, mask, span);
        const bool straight = along(out, span);
        whiten_span(straight && !stream ? place<T>(out, span) : results, along(x, span) ? place<const T>(x, span) : numbers,
                    along(mask, span) ? place<const uint8_t>(mask, span) : bytes, span.size(), w);
        if (!straight) scatter_span(out, span, results);
        else if (stream) stream_row(place<T>(out, span), results, span.size());
      }
    }
    if (stream) finish_stream();
  });
}

template <class T>
void run_whiten(const KernelCall& call) {
  const TensorView &x = call.views[0], &mask = call.views[1];
  TensorView moments = optional(call.views[2]);
  const int mode = static_cast<int>(call.attributes[0]);
  if (!moments.data) {
    moments.shape[0] = x.shape[0];
    moments.strides[0] = 3, moments.strides[1] = 1;
    moments.data = scratch<double>(Scratch::partials, static_cast<size_t>(x.shape[0] * 3));
    moments_of_rows<T>(x, mask, moments);
  }
  const Moments all = joined(moments);
  apply<T>(x, mask, call.views[3], {all.mean, whitening_factor(all, call.scalars[1], call.scalars[0], (mode & 2) != 0), mode & 1 ? all.mean : 0});
}

}  // namespace

void masked_moments(const KernelCall& call) {
  const TensorView &x = call.views[0], &mask = call.views[1], &moments = call.views[2];
  x.dtype == DType::f64 ? moments_of_rows<double>(x, mask, moments) : moments_of_rows<float>(x, mask, moments);
}

void whiten(const KernelCall& call) { call.views[0].dtype == DType::f64 ? run_whiten<double>(call) : run_whiten<float>(call); }

}  // namespace vantage::cpu::VANTAGE_ISA
