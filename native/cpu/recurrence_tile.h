// A piece of a row, prepared for a recurrence: what the mask keeps of each input lies side by side, whatever the strides and the holes are, and the
// results go back to their places, with 0 in the holes. Where nothing has to be moved, inputs and outputs are used where they lie.
#pragma once
#include "../core/moments.h"
#include "../core/tensor_view.h"
#include "mask_bytes.h"
#include "recurrence_block.h"
#include "stream.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kTile = 512;

// ---- Holes ----------------------------------------------------------------------------------------------------------------------------

// For each set of valid lanes: which lanes they are, and which of the valid ones each lane is (0 for the others).
struct HoleTables {
  alignas(64) uint8_t chosen[256][8];
  alignas(64) uint8_t rank[256][8];
};
constexpr HoleTables hole_tables() {
  HoleTables tables{};
  for (int set = 0; set < 256; ++set) {
    uint8_t count = 0;
    for (uint8_t lane = 0; lane < 8; ++lane) {
      if ((set >> lane & 1) == 0) continue;
      tables.chosen[set][count] = lane;
      tables.rank[set][lane] = count++;
    }
  }
  return tables;
}
constexpr HoleTables kHoles = hole_tables();

// Bit i: byte i is not 0.
VANTAGE_INLINE unsigned bits_of_bytes(const uint8_t* bytes) {
  uint64_t x;
  __builtin_memcpy(&x, bytes, 8);
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
  x = ((((x & kLow) + kLow) | x) & ~kLow) >> 7;
  return static_cast<unsigned>(x * 0x0102040810204080 >> 56);
}

// Where the valid positions of n are: a set for each whole eight of them, and the bytes themselves. Returns how many there are.
struct Valid {
  const uint8_t* bytes;
  const uint8_t* sets;
  int64_t n;
};
inline int64_t find_sets(uint8_t* sets, const uint8_t* mask, int64_t n) {
  int64_t i = 0, count = 0;
#if defined(__AVX512BW__)
  for (; i + 64 <= n; i += 64) {
    const __m512i bytes = _mm512_loadu_si512(mask + i);
    const uint64_t set = _mm512_test_epi8_mask(bytes, bytes);
    __builtin_memcpy(sets + i / 8, &set, sizeof set);
    count += __builtin_popcountll(set);
  }
#endif
  for (; i + 8 <= n; i += 8) {
    const unsigned set = bits_of_bytes(mask + i);
    sets[i / 8] = static_cast<uint8_t>(set);
    count += __builtin_popcount(set);
  }
  for (; i < n; ++i) count += mask[i] != 0;
  return count;
}

#if defined(__AVX512F__)
VANTAGE_INLINE __mmask16 sixteen_of(const Valid& valid, int64_t i) {
  __mmask16 set;
  __builtin_memcpy(&set, valid.sets + i / 8, sizeof set);
  return set;
}
#endif

// What is valid, side by side; `to` may be `from`.
template <class T>
void pack(T* to, const T* from, const Valid& valid) {
  int64_t i = 0, kept = 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    for (; i + 16 <= valid.n; i += 16) {
      const __mmask16 set = sixteen_of(valid, i);
      prefetch_ahead<false>(from + i, kTile * sizeof(T));
      _mm512_storeu_ps(to + kept, _mm512_maskz_compress_ps(set, _mm512_loadu_ps(from + i)));
      kept += __builtin_popcount(set);
    }
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    for (; i + 8 <= valid.n; i += 8) {
      const unsigned set = valid.sets[i / 8];
      i32x8 lanes;
      f32x8 x;
      widen_bytes(lanes, kHoles.chosen[set]);
      prefetch_ahead<false>(from + i, kTile * sizeof(T));
      load_vector(x, from + i);
      choose_lanes(x, x, lanes);
      store_vector(to + kept, x);
      kept += __builtin_popcount(set);
    }
  }
#endif
  for (; i < valid.n; ++i) {
    to[kept] = from[i];
    kept += valid.bytes[i] != 0;
  }
}

// The way back: `from` holds `kept` elements; `to`, which may be `from`, gets n.
template <class T>
void unpack(T* to, const T* from, const Valid& valid, int64_t kept) {
#if defined(__AVX512F__)
  constexpr int64_t kWidth = 16;
#else
  constexpr int64_t kWidth = 8;
#endif
  int64_t i = valid.n;
  const int64_t vectors = sizeof(T) == 4 ? i / kWidth * kWidth : 0;
  for (; i > vectors; --i) {
    kept -= valid.bytes[i - 1] != 0;
    to[i - 1] = valid.bytes[i - 1] ? from[kept] : T(0);
  }
  if constexpr (sizeof(T) == 4) {
    for (i -= kWidth; i >= 0; i -= kWidth) {
#if defined(__AVX512F__)
      const __mmask16 set = sixteen_of(valid, i);
      kept -= __builtin_popcount(set);
      _mm512_storeu_ps(to + i, _mm512_maskz_expand_ps(set, _mm512_loadu_ps(from + kept)));
#else
      const unsigned set = valid.sets[i / 8];
      kept -= __builtin_popcount(set);
#if defined(__AVX2__)
      i32x8 lanes, bytes;
      f32x8 x;
      widen_bytes(lanes, kHoles.rank[set]);
      widen_bytes(bytes, valid.bytes + i);
      load_vector(x, from + kept);
      choose_lanes(x, x, lanes);
      store_vector(to + i, bytes != 0 ? x : f32x8{});
#else
      for (int lane = 7; lane >= 0; --lane) to[i + lane] = valid.bytes[i + lane] ? from[kept + kHoles.rank[set][lane]] : T(0);
#endif
#endif
    }
  }
}

// ---- Rows of any layout ------------------------------------------------------------------------------------------------------------------

struct Span {
  int64_t rows_from, rows, start, stop;  // so many whole rows, or columns [start, stop) of one
  int64_t size() const { return rows * (stop - start); }
};

// Whether the span lies along memory.
VANTAGE_INLINE bool along(const TensorView& view, const Span& span) {
  return (view.strides[1] == 1 || span.stop - span.start == 1) && (span.rows == 1 || view.strides[0] == view.shape[1]);
}
template <class T>
VANTAGE_INLINE T* place(const TensorView& view, const Span& span) {
  return view.as<T>() + span.rows_from * view.strides[0] + span.start * view.strides[1];
}
template <class T>
void gather_span(T* to, const TensorView& view, const Span& span) {
  for (int64_t row = 0; row < span.rows; ++row) {
    const int64_t offset = (span.rows_from + row) * view.strides[0] + span.start * view.strides[1];
    if (view.dtype == DType::bf16) {
      const uint16_t* from = view.as<const uint16_t>() + offset;
      for (int64_t t = 0; t < span.stop - span.start; ++t) *to++ = static_cast<T>(math::from_bfloat16(from[t * view.strides[1]]));
    } else {
      const T* from = view.as<const T>() + offset;
      for (int64_t t = 0; t < span.stop - span.start; ++t) *to++ = from[t * view.strides[1]];
    }
  }
}
template <class T>
void scatter_span(const TensorView& view, const Span& span, const T* from) {
  for (int64_t row = 0; row < span.rows; ++row) {
    const int64_t offset = (span.rows_from + row) * view.strides[0] + span.start * view.strides[1];
    if (view.dtype == DType::bf16) {
      uint16_t* to = view.as<uint16_t>() + offset;
      for (int64_t t = 0; t < span.stop - span.start; ++t) to[t * view.strides[1]] = math::to_bfloat16(static_cast<float>(*from++));
    } else {
      T* to = view.as<T>() + offset;
      for (int64_t t = 0; t < span.stop - span.start; ++t) to[t * view.strides[1]] = *from++;
    }
  }
}

// An argument that was left out is one without data: its shape is [0,0], or [0,3] for moments.
static inline TensorView optional(TensorView view) {
  if (view.size() == 0) view.data = nullptr;
  return view;
}
static inline TensorView absent(TensorView view) {
  view.data = nullptr;
  return view;
}

// The first valid value of a row from column t on, or `none`.
template <class T>
T next_valid(const TensorView& values, const TensorView& mask, int64_t row, int64_t t, T none) {
  const int64_t time = values.shape[1];
  const uint8_t* const valid = mask.as<const uint8_t>() + row * mask.strides[0];
  while (mask.strides[1] == 1 && t + kTile <= time && !held(valid + t, kTile).any) t += kTile;
  while (t < time && !valid[t * mask.strides[1]]) ++t;
  return t < time ? values.as<const T>()[row * values.strides[0] + t * values.strides[1]] : none;
}

inline void write_moments(const TensorView& view, int64_t row, const Moments& m) {
  double* to = view.as<double>() + row * view.strides[0];
  to[0] = m.count;
  to[view.strides[1]] = m.mean;
  to[2 * view.strides[1]] = m.spread;
}

// ---- The tile ----------------------------------------------------------------------------------------------------------------------------

// The arrays of a recurrence. Those with no data are absent.
template <int kInputs, int kOutputs>
struct Arrays {
  TensorView in[kInputs], out[kOutputs], mask, ends;
  bool stream = false;     // outputs are written past the caches
  bool read_back = false;  // output 0 of a tile is read once more before it is closed
  int64_t mask_ahead = 0;  // from the mask of a tile to what is asked for of it
};

template <class T, int kInputs_, int kOutputs_>
class Tile {
 public:
  using Element = T;
  static constexpr int kInputs = kInputs_, kOutputs = kOutputs_;
  static constexpr bool kCopies = sizeof(T) == 4;  // whether there may be a copy
  using Views = Arrays<kInputs, kOutputs>;

  // Of the valid positions, `count`, side by side. ends is null where none of them has one.
  const T* in[kInputs];
  const uint8_t* ends;
  T* out[kOutputs];
  int64_t count;
  bool past_caches;  // put_at writes the outputs past the caches: they are where they belong, in whole lines (one that is written both ways is slow)
  T* copy;           // null, or what takes output 0 too: it is read back, but goes past the caches

  explicit Tile(const Views& views) : views_(views) {}

  // Columns [start, stop) of one row. Numbers, not a Span: one that was stored a moment ago would be loaded as a vector, behind all stores before it.
  void open(int64_t row, int64_t start, int64_t stop) {
    span_ = {row, 1, start, stop};
    find_valid();
    for (int k = 0; k < kInputs; ++k) {
      if (views_.in[k].data) in[k] = packed(views_.in[k], in_[k]);
      else in[k] = in_[k];
    }
    find_ends();
    past_caches = views_.stream && dense_ && sizeof(T) == 4 && count % kLineOfFloats == 0;
    for (const TensorView& view : views_.out) past_caches = past_caches && (!view.data || (straight(view) && on_line(place<T>(view, span_) + first_)));
    for (int k = 0; k < kOutputs; ++k) {
      const TensorView& view = views_.out[k];
      out[k] = view.data && dense_ && !staged() && straight(view) ? place<T>(view, span_) + first_ : out_[k] + first_;
    }
    copy = past_caches && views_.read_back ? out_[0] : nullptr;
  }
  // Output 0, to be read back.
  const T* first_output() const { return copy ? copy : out[0]; }

  // Writes the outputs.
  void close() {
    const int64_t size = span_.size();
    for (int k = 0; k < kOutputs; ++k) {
      const TensorView& view = views_.out[k];
      if (!view.data) continue;
      const bool in_place = straight(view) && !staged();
      T* const whole = in_place ? place<T>(view, span_) : out_[k];
      if (!dense_) unpack(whole + first_, out[k], holes_, count);
      if (past_caches) {
        stream_zeros(whole, first_);
        stream_zeros(whole + last_, size - last_);
      } else {
        for (int64_t i = 0; i < first_; ++i) whole[i] = 0;
        for (int64_t i = last_; i < size; ++i) whole[i] = 0;
      }
      if (in_place) continue;
      if (straight(view)) stream_row(place<T>(view, span_), whole, size);
      else scatter_span(view, span_, whole);
    }
  }

 private:
  const Views& views_;
  Span span_;
  int64_t first_, last_;  // outside of [first, last) nothing is valid
  bool dense_;            // inside all is
  const uint8_t* mask_;
  alignas(64) T in_[kInputs][kTile + 8];
  alignas(64) T out_[kOutputs][kTile + 8];
  alignas(64) uint8_t mask_bytes_[kTile + 8], end_bytes_[kTile + 8], sets_[kTile / 8];
  Valid holes_;

  bool straight(const TensorView& view) const { return view.dtype != DType::bf16 && along(view, span_); }
  static constexpr int64_t kLineOfFloats = 16;
  static bool on_line(const T* x) { return reinterpret_cast<uintptr_t>(x) % 64 == 0; }
  // Whether outputs are gathered here first, to be written past the caches in one go.
  bool staged() const { return views_.stream && !past_caches; }

  const uint8_t* bytes_of(const TensorView& view, uint8_t* buffer) const {
    if (along(view, span_)) return place<const uint8_t>(view, span_);
    gather_span(buffer, view, span_);
    return buffer;
  }

  void find_valid() {
    const int64_t size = span_.size();
    first_ = 0;
    last_ = count = size;
    dense_ = true;
    if (!views_.mask.data) return;
    mask_ = bytes_of(views_.mask, mask_bytes_);
    // Of the tiles that come: those that nothing is valid in are passed so soon that no hardware has it there.
    for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(mask_) + i + views_.mask_ahead));
    const Held valid = held(mask_, size);
    if (valid.all) return;
    if (!valid.any) {
      last_ = count = 0;
      return;
    }
    // Padding on either side of a row is the usual case.
    const Extent extent = extent_of(mask_, size);
    first_ = extent.from, last_ = extent.to, dense_ = extent.dense;
    count = dense_ ? last_ - first_ : find_sets(sets_, mask_ + first_, last_ - first_);
    holes_ = {mask_ + first_, sets_, last_ - first_};
  }

  const T* packed(const TensorView& view, T* buffer) {
    const T* from;
    if (view.dtype != DType::bf16 && along(view, span_)) {
      from = place<const T>(view, span_);
    } else {
      gather_span(buffer, view, span_);
      from = buffer;
    }
    if (dense_) return from + first_;
    pack(buffer, from + first_, holes_);
    return buffer;
  }

  void find_ends() {
    ends = nullptr;
    if (!views_.ends.data) return;
    const uint8_t* const from = bytes_of(views_.ends, end_bytes_);
    if (!held(from + first_, last_ - first_).any) return;
    ends = from + first_;
    if (dense_) return;
    pack(end_bytes_, from + first_, holes_);
    ends = end_bytes_;
  }
};

}  // namespace vantage::cpu::VANTAGE_ISA
