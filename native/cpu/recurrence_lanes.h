// Recurrences over short rows: eight rows side by side, one a lane, stepped through together. Blocks of eight rows and eight steps are transposed in
// registers, so that memory is read and written along its rows. A masked step leaves its lane as it is.
//
// A recurrence that can be run so has, beside what recurrence_rows.h asks for:
//   kHasEnds; Lanes {…}, the state of eight rows, zero before their last step;
//   step<kEnds>(lanes, in, valid, ends, out), one step of each row: `in` are the inputs, `ends` is read where kEnds; what is computed where `valid` is 0
//   does not count, but must leave the lane's state alone
#pragma once
#include "../core/moments.h"
#include "recurrence_tile.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kShortRow = 48;
constexpr int kRowsOfGroup = 8;

// Eight rows of eight bytes become eight steps of eight bytes.
VANTAGE_INLINE void transpose_bytes(uint8_t* steps, const uint64_t (&rows)[8]) {
  u8x16 pairs[4], fours[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const u8x16 two = (u8x16)u64x2{rows[2 * i], rows[2 * i + 1]};
    pairs[i] = __builtin_shufflevector(two, two, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    typedef uint16_t u16 __attribute__((vector_size(16)));
    const u16 a = (u16)pairs[2 * i], b = (u16)pairs[2 * i + 1];
    fours[i] = (u8x16)__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    fours[i + 2] = (u8x16)__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const i32x4 a = (i32x4)fours[2 * i], b = (i32x4)fours[2 * i + 1];
    store_vector(steps + 32 * i, __builtin_shufflevector(a, b, 0, 4, 1, 5));
    store_vector(steps + 32 * i + 16, __builtin_shufflevector(a, b, 2, 6, 3, 7));
  }
}

// The moments of the valid steps of eight rows: sums over the distance from each row's first one.
struct LaneMoments {
  i32x8 count = {};
  f32x8 shift = {};
  f64x4 sums[2] = {}, squares[2] = {};

  VANTAGE_METHOD void add(const f32x8& x, const i32x8& valid) {
    shift = valid != 0 && count == 0 ? x : shift;
    count -= valid != 0;
    const f32x8 kept = valid != 0 ? x : shift;
    f64x4 distance[2], shifts[2];
    widen_halves(distance[0], distance[1], kept);
    widen_halves(shifts[0], shifts[1], shift);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      distance[half] -= shifts[half];
      sums[half] += distance[half];
      squares[half] += distance[half] * distance[half];
    }
  }
  Moments of_row(int row) const {
    if (count[row] == 0) return {};
    return moments_of(static_cast<double>(count[row]), static_cast<double>(shift[row]), sums[row / 4][row % 4], squares[row / 4][row % 4]);
  }
};

// Rows [first, first + rows), no more than eight, of all times.
template <class R>
class RowGroup {
  using TileOf = typename R::TileOf;
  static constexpr int kInputs = TileOf::kInputs, kOutputs = TileOf::kOutputs;

 public:
  RowGroup(const R& r, const typename TileOf::Views& views) : r_(r), views_(views), time_(r.time) {}

  template <bool kEnds, bool kMoments>
  void run(int64_t first, int64_t rows) {
    span_ = {first, rows, 0, time_};
    float* out[kOutputs];
    int64_t pitch[kOutputs];
    for (int k = 0; k < kOutputs; ++k) {
      const TensorView& view = views_.out[k];
      // A vector of eight steps may reach beyond its row only in memory of our own.
      const bool direct = view.data && !views_.stream && rows == kRowsOfGroup && view.strides[1] == 1 && time_ % 8 == 0;
      out[k] = direct ? place<float>(view, span_) : results_[k];
      pitch[k] = direct ? view.strides[0] : time_;
    }
    typename R::Lanes lanes;
    LaneMoments moments;
    for (int64_t t = (time_ - 1) / 8 * 8; t >= 0; t -= 8) block<kEnds, kMoments>(t, lanes, moments, out, pitch);
    for (int k = 0; k < kOutputs; ++k) {
      const TensorView& view = views_.out[k];
      if (!view.data || out[k] != results_[k]) continue;
      if (!along(view, span_)) scatter_span(view, span_, results_[k]);
      else if (views_.stream) stream_row(place<float>(view, span_), results_[k], span_.size());
      else __builtin_memcpy(place<float>(view, span_), results_[k], static_cast<size_t>(span_.size()) * sizeof(float));
    }
    if constexpr (kMoments) {
      for (int row = 0; row < rows; ++row) write_moments(r_.moments, first + row, moments.of_row(row));
    }
  }

 private:
  const R& r_;
  const typename TileOf::Views& views_;
  const int64_t time_;
  Span span_;
  alignas(64) float results_[kOutputs][kRowsOfGroup * kShortRow + 8];

  // Whether eight elements from t on can be read of each of eight rows. Those beyond the row are not used, but have to be there.
  bool readable(const TensorView& view, int64_t t) const {
    if (span_.rows < kRowsOfGroup || view.strides[1] != 1) return false;
    return t + 8 <= time_ || (view.strides[0] == time_ && (span_.rows_from + span_.rows - 1) * time_ + t + 8 <= r_.rows * time_);
  }

  VANTAGE_METHOD void load(f32x8 (&x)[8], const TensorView& view, int64_t t) const {
    if (!view.data) return;
    if (readable(view, t)) {
      const float* from = view.as<const float>() + span_.rows_from * view.strides[0] + t;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        // The next group: against the order of the steps, and in pieces, the hardware does not see what comes.
        __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(from) + (kRowsOfGroup + i) * view.strides[0] * intptr_t{sizeof(float)}));
        load_vector(x[i], from + i * view.strides[0]);
      }
    } else {
      for (int i = 0; i < 8; ++i) {
        x[i] = f32x8{};
        for (int step = 0; i < span_.rows && step < 8 && t + step < time_; ++step) {
          x[i][step] = view.as<const float>()[(span_.rows_from + i) * view.strides[0] + (t + step) * view.strides[1]];
        }
      }
    }
    transpose8(x);
  }

  // 0 beyond the rows and their ends.
  VANTAGE_METHOD void load_bytes_of(uint8_t* steps, const TensorView& view, int64_t t) const {
    uint64_t rows[8] = {};
    if (readable(view, t)) {
      const uint8_t* from = view.as<const uint8_t>() + span_.rows_from * view.strides[0] + t;
      const uint64_t kept = t + 8 <= time_ ? ~uint64_t{0} : (uint64_t{1} << 8 * (time_ - t)) - 1;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        __builtin_memcpy(&rows[i], from + i * view.strides[0], 8);
        rows[i] &= kept;
      }
    } else {
      for (int i = 0; i < span_.rows; ++i) {
        for (int step = 0; step < 8 && t + step < time_; ++step) {
          const uint64_t byte = view.as<const uint8_t>()[(span_.rows_from + i) * view.strides[0] + (t + step) * view.strides[1]];
          rows[i] |= byte << 8 * step;
        }
      }
    }
    transpose_bytes(steps, rows);
  }

  // Eight steps, the last one first.
  template <bool kEnds, bool kMoments>
  VANTAGE_METHOD void block(int64_t t, typename R::Lanes& lanes, LaneMoments& moments, float* const (&out)[kOutputs], const int64_t (&pitch)[kOutputs]) const {
    f32x8 in[kInputs][8], result[kOutputs][8];
    alignas(64) uint8_t mask[64], ends[64];
#pragma GCC unroll 8
    for (int k = 0; k < kInputs; ++k) load(in[k], views_.in[k], t);
    load_bytes_of(mask, views_.mask, t);
    if constexpr (kEnds) load_bytes_of(ends, views_.ends, t);
#pragma GCC unroll 8
    for (int step = 7; step >= 0; --step) {
      f32x8 now[kInputs], y[kOutputs];
      i32x8 valid, end = {};
      for (int k = 0; k < kInputs; ++k) now[k] = in[k][step];
      widen_bytes(valid, mask + 8 * step);
      if constexpr (kEnds) widen_bytes(end, ends + 8 * step);
      r_.template step<kEnds>(lanes, now, valid, end, y);
      if constexpr (kMoments) moments.add(y[0], valid);
      for (int k = 0; k < kOutputs; ++k) result[k][step] = valid != 0 ? y[k] : f32x8{};
    }
#pragma GCC unroll 8
    for (int k = 0; k < kOutputs; ++k) {
      if (!views_.out[k].data) continue;
      transpose8(result[k]);
      // The rows in order: what a vector writes beyond its row is overwritten by the next row, or by an earlier step of it.
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) store_vector(out[k] + i * pitch[k] + t, result[k][i]);
    }
  }
};

template <class R, bool kEnds, bool kMoments>
void scan_short_rows(const R& r, const typename R::TileOf::Views& views, int64_t steps_of_task) {
  const int64_t rows_of_task = steps_of_task / r.time / kRowsOfGroup * kRowsOfGroup;
  parallel_for((r.rows + rows_of_task - 1) / rows_of_task, r.rows * r.time * 4, [&](int64_t task) {
    RowGroup<R> group(r, views);
    const int64_t last = (task + 1) * rows_of_task < r.rows ? (task + 1) * rows_of_task : r.rows;
    for (int64_t row = task * rows_of_task; row < last; row += kRowsOfGroup) {
      group.template run<kEnds, kMoments>(row, last - row < kRowsOfGroup ? last - row : kRowsOfGroup);
    }
    if (views.stream) finish_stream();
  });
}

template <class R>
void scan_short_rows(const R& r, const typename R::TileOf::Views& views, int64_t steps_of_task) {
  if constexpr (R::kHasEnds) {
    if (views.ends.data) {
      if (r.moments.data) return scan_short_rows<R, true, true>(r, views, steps_of_task);
      return scan_short_rows<R, true, false>(r, views, steps_of_task);
    }
  }
  if (r.moments.data) return scan_short_rows<R, false, true>(r, views, steps_of_task);
  scan_short_rows<R, false, false>(r, views, steps_of_task);
}

}  // namespace vantage::cpu::VANTAGE_ISA
