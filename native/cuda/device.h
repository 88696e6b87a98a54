// What the kernels share on the device: rows of strided arrays read four elements at a time, and moments over a warp or a block.
#pragma once
#include <cstdint>
#include <initializer_list>

#include "../core/moments.h"
#include "../core/recurrences.h"
#include "../core/tensor_view.h"
#include "launch.h"

namespace vantage::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// bfloat16 in memory; computed in float.
struct bf16 {
  uint16_t bits;
};

template <class S>
struct Computed {
  using Type = S;
};
template <>
struct Computed<bf16> {
  using Type = float;
};
template <class S>
using ComputedIn = typename Computed<S>::Type;

__device__ __forceinline__ float load_as_computed(float x) { return x; }
__device__ __forceinline__ double load_as_computed(double x) { return x; }
__device__ __forceinline__ int32_t load_as_computed(int32_t x) { return x; }
__device__ __forceinline__ float load_as_computed(bf16 x) { return math::from_bfloat16(x.bits); }

template <class S, class X>
__device__ __forceinline__ S store_as(X x) {
  if constexpr (sizeof(S) == 2) return S{math::to_bfloat16(static_cast<float>(x))};
  else return static_cast<S>(x);
}

// ---- Arrays -------------------------------------------------------------------------------------------------------------

// A [B, T] array.
template <class S>
struct Rows {
  S* data;
  int64_t row, step;  // strides in elements

  __device__ __forceinline__ S& at(int64_t r, int64_t t) const { return data[r * row + t * step]; }
};

template <class S>
Rows<S> rows_of(const TensorView& view) {
  return {view.as<S>(), view.strides[0], view.strides[1]};
}
// Of an argument that may be left out: without data then.
template <class S>
Rows<S> optional_rows(const TensorView& view) {
  return view.size() > 0 ? rows_of<S>(view) : Rows<S>{};
}

// A [B] array.
template <class T>
struct Column {
  T* data;
  int64_t step;

  __device__ __forceinline__ T& operator[](int64_t row) const { return data[row * step]; }
};
template <class T>
Column<T> column(const TensorView& view) {
  return {view.as<T>(), view.strides[0]};
}

// A matrix of any floating dtype, for kernels where the choice at each element costs little.
struct AnyMatrix {
  void* data;
  DType dtype;
  int64_t row, step;

  template <class T>
  __device__ __forceinline__ T read(int64_t r, int64_t i) const {
    const int64_t at = r * row + i * step;
    switch (dtype) {
      case DType::f64: return static_cast<T>(static_cast<const double*>(data)[at]);
      case DType::bf16: return static_cast<T>(load_as_computed(static_cast<const bf16*>(data)[at]));
      default: return static_cast<T>(static_cast<const float*>(data)[at]);
    }
  }
  template <class T>
  __device__ __forceinline__ void write(int64_t r, int64_t i, T x) const {
    const int64_t at = r * row + i * step;
    switch (dtype) {
      case DType::f64: static_cast<double*>(data)[at] = static_cast<double>(x); break;
      case DType::bf16: static_cast<bf16*>(data)[at] = store_as<bf16>(x); break;
      default: static_cast<float*>(data)[at] = static_cast<float>(x); break;
    }
  }
};
inline AnyMatrix matrix_of(const TensorView& view) { return {view.data, view.dtype, view.strides[0], view.strides[1]}; }

// Four neighbouring elements, in as few accesses as there can be: 16 bytes each (4 and 8 for the narrow types). What passes by once is not kept in the
// caches in place of what comes again.
__device__ __forceinline__ void load4(float (&x)[4], const float* from) {
  const float4 v = __ldcs(reinterpret_cast<const float4*>(from));
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
__device__ __forceinline__ void load4(double (&x)[4], const double* from) {
  const double2 low = __ldcs(reinterpret_cast<const double2*>(from)), high = __ldcs(reinterpret_cast<const double2*>(from) + 1);
  x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
}
__device__ __forceinline__ void load4(bf16 (&x)[4], const bf16* from) {
  const ushort4 v = __ldcs(reinterpret_cast<const ushort4*>(from));
  x[0] = {v.x}, x[1] = {v.y}, x[2] = {v.z}, x[3] = {v.w};
}
__device__ __forceinline__ void store4(float* to, const float (&x)[4]) { __stcs(reinterpret_cast<float4*>(to), make_float4(x[0], x[1], x[2], x[3])); }
__device__ __forceinline__ void store4(double* to, const double (&x)[4]) {
  __stcs(reinterpret_cast<double2*>(to), make_double2(x[0], x[1]));
  __stcs(reinterpret_cast<double2*>(to) + 1, make_double2(x[2], x[3]));
}
__device__ __forceinline__ void store4(bf16* to, const bf16 (&x)[4]) {
  __stcs(reinterpret_cast<ushort4*>(to), make_ushort4(x[0].bits, x[1].bits, x[2].bits, x[3].bits));
}

// Where four neighbouring elements of a row are: `whole` if all of them are in the row and aligned, else each that is in it is read alone.
struct Four {
  int64_t row, t, time;
  bool whole;

  __device__ __forceinline__ bool holds(int i) const { return t + i >= 0 && t + i < time; }
};

// The first element of a whole four, whose elements are neighbours.
template <class S>
__device__ __forceinline__ S* first_of(const Rows<S>& rows, const Four& at) {
  return rows.data + at.row * rows.row + at.t;
}

template <class S, class From>
__device__ __forceinline__ void load(S (&x)[4], const Rows<From>& from, const Four& at) {
  if (at.whole) return load4(x, first_of(from, at));
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = at.holds(i) ? from.at(at.row, at.t + i) : S{};
}
template <class S>
__device__ __forceinline__ void store(const Rows<S>& to, const Four& at, const S (&x)[4]) {
  if (at.whole) return store4(first_of(to, at), x);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (at.holds(i)) to.at(at.row, at.t + i) = x[i];
  }
}

// Four bytes, the first in the lowest bits; 0 outside of the row.
__device__ __forceinline__ uint32_t load_bytes(const Rows<uint8_t>& from, const Four& at) {
  if (at.whole) return __ldcs(reinterpret_cast<const uint32_t*>(first_of(from, at)));
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) word |= at.holds(i) ? uint32_t{from.at(at.row, at.t + i)} << (8 * i) : 0;
  return word;
}
__device__ __forceinline__ uint32_t byte_of(uint32_t word, int i) { return word >> (8 * i) & 0xff; }
__device__ __forceinline__ bool has_byte(uint32_t word, int i) { return (word & 0xffu << (8 * i)) != 0; }
__device__ __forceinline__ bool has_all_bytes(uint32_t word) { return ((word - 0x01010101u) & ~word & 0x80808080u) == 0; }
// 1 in each byte that is not 0.
__device__ __forceinline__ uint32_t ones_of(uint32_t word) { return (((word & 0x7f7f7f7fu) + 0x7f7f7f7fu) | word) >> 7 & 0x01010101u; }

// How arrays of equal shape are read in fours: where they all lie along memory and rows start alike, fours begin at the same multiples of four elements in
// each, so that a row may start anywhere. `phase` is the row stride modulo 4.
struct Fours {
  int64_t rows, time;
  int phase;
  bool along;

  __device__ __forceinline__ int lead(int64_t row) const { return static_cast<int>(row * phase & 3); }  // how far before the row its first four begins
  __device__ __forceinline__ int64_t count(int64_t row) const { return (time + lead(row) + 3) >> 2; }
  __host__ __device__ int64_t most() const { return (time + (phase == 0 ? 3 : 6)) >> 2; }  // that a row has
  __device__ __forceinline__ Four at(int64_t row, int64_t index) const {
    const int64_t t = index * 4 - lead(row);
    return {row, t, time, along && t >= 0 && t + 4 <= time};
  }
  // Whether `fours` of them from the index on are whole, and the one at an index where that is known.
  __device__ __forceinline__ bool whole(int64_t row, int64_t index, int64_t fours) const {
    const int64_t t = index * 4 - lead(row);
    return along && t >= 0 && t + 4 * fours <= time;
  }
  __device__ __forceinline__ Four whole_at(int64_t row, int64_t index) const { return {row, index * 4 - lead(row), time, true}; }
  // Outside of the row: nothing is read or written. (It differs from others in one number: each further one would be a register of every four.)
  __device__ __forceinline__ Four nowhere(int64_t row) const { return {row, time, time, false}; }
};

// The elements of a contiguous array as one row.
TensorView flat(const TensorView& view);

// Of the first array and all others that are not empty. [B,T] all of them.
Fours fours_of(const TensorView& first, std::initializer_list<const TensorView*> others);

// ---- Moments --------------------------------------------------------------------------------------------------------------

// Sums from which a thread's moments come: over the differences to the first number that it sees.
struct MomentSums {
  int count = 0;
  double shift = 0, sum = 0, squares = 0;

  // Those of four numbers whose byte in `valid` is not 0.
  template <class T>
  __device__ __forceinline__ void add(const T (&x)[4], uint32_t valid) {
    if (valid == 0) return;
    if (count == 0) {
#pragma unroll
      for (int i = 3; i >= 0; --i) shift = has_byte(valid, i) ? static_cast<double>(x[i]) : shift;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const double d = has_byte(valid, i) ? static_cast<double>(x[i]) - shift : 0;
      sum += d;
      squares += d * d;
    }
    count += __popc(ones_of(valid));
  }
  __device__ __forceinline__ Moments result() const { return moments_of(count, shift, sum, squares); }
};

// The sum over a team of lanes, in each of them.
template <int kLanes = 32>
__device__ __forceinline__ double lanes_sum(double x) {
#pragma unroll
  for (int d = kLanes / 2; d > 0; d /= 2) x += __shfl_xor_sync(kAllLanes, x, d, kLanes);
  return x;
}

// The moments of a team of lanes, in each of them: by sums over the distances of the lanes' means from that of the first one which has any. Joining them
// two by two would be a division in each round, whose time the next round waits for.
template <int kLanes>
__device__ __forceinline__ Moments team_moments(const Moments& m) {
  constexpr unsigned kTeam = kLanes == 32 ? kAllLanes : (1u << kLanes % 32) - 1;
  const unsigned some = __ballot_sync(kAllLanes, m.count > 0) >> (threadIdx.x % 32 / kLanes * kLanes) & kTeam;
  const double shift = __shfl_sync(kAllLanes, m.mean, some == 0 ? 0 : __ffs(static_cast<int>(some)) - 1, kLanes);
  const double distance = m.count > 0 ? m.mean - shift : 0, part = m.count * distance;
  const double count = lanes_sum<kLanes>(m.count), sum = lanes_sum<kLanes>(part), squares = lanes_sum<kLanes>(m.spread + part * distance);
  return moments_of(count, shift, sum, squares);
}

// The moments of a block of `kThreads`, in its first thread. `shared` has a place for each warp and may be used again after a barrier.
template <int kThreads>
__device__ __forceinline__ Moments block_moments(Moments m, double (*shared)[3]) {
  constexpr int kWarps = kThreads / 32;
  m = team_moments<32>(m);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) shared[warp][0] = m.count, shared[warp][1] = m.mean, shared[warp][2] = m.spread;
  __syncthreads();
  if (warp != 0) return m;
  const double* const from = shared[lane % kWarps];
  m.count = from[0], m.mean = from[1], m.spread = from[2];
  return team_moments<kWarps>(m);
}

// A row of moments f64 [B,3].
__device__ __forceinline__ Moments read_moments(const Rows<double>& from, int64_t row) {
  Moments m;
  m.count = from.at(row, 0), m.mean = from.at(row, 1), m.spread = from.at(row, 2);
  return m;
}
__device__ __forceinline__ void write_moments(const Rows<double>& to, int64_t row, const Moments& m) {
  to.at(row, 0) = m.count, to.at(row, 1) = m.mean, to.at(row, 2) = m.spread;
}

}  // namespace vantage::cuda
