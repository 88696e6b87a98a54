// Rows that stay on chip between two passes over them. A block holds its part of a row in shared memory as it lies in the device's; every thread copies, and
// reads again, vectors of its own, so that nothing needs a barrier, and asks for the next row's as soon as it is done with a row's.
#pragma once
#include "vectors.h"

namespace vantage::cuda {

// 16 bytes from the device's memory to a block's, in the background where the hardware can.
__device__ __forceinline__ void copy_ahead(void* to, const void* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from) : "memory");
#else
  *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
#endif
}
// Closes a group of copies.
__device__ __forceinline__ void end_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits for all groups of this thread but the last `kOpen`.
template <int kOpen>
__device__ __forceinline__ void await_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
#endif
}

// Rows lie along memory.
template <class S, int kThreads>
class HeldRow {
 public:
  static constexpr int kWidth = static_cast<int>(16 / sizeof(S));
  static constexpr int kStages = 4;  // in which a row arrives: the first pass begins with the first

  // A part of a row: `count` whole vectors from element `start` on, and what lies beside them, less than a vector on each side and a thread's or nobody's.
  struct Place {
    int row, start, count, leading, trailing;
    S before, after;

    __device__ __forceinline__ int stop() const { return start + count * kWidth; }
    __device__ __forceinline__ bool has_before() const { return static_cast<int>(threadIdx.x) < leading; }
    __device__ __forceinline__ bool has_after() const { return static_cast<int>(threadIdx.x) < trailing; }
    __device__ __forceinline__ int place_before() const { return start - leading + static_cast<int>(threadIdx.x); }
    __device__ __forceinline__ int place_after() const { return stop() + static_cast<int>(threadIdx.x); }
  };

  // `memory`: of the block, for as many vectors as a part has; `vectors`: that number.
  __device__ __forceinline__ HeldRow(void* memory, int vectors)
      : slots_(static_cast<Vector<S>*>(memory)), rounds_((vectors + kThreads * kStages - 1) / (kThreads * kStages)) {}

  // The place of a part whose vectors are then fetched stage by stage.
  __device__ __forceinline__ Place find(const Vectors<const S>& rows, int64_t row, int64_t first, int64_t last) const {
    const Span span = span_of(rows, row, first, last);
    Place place = {static_cast<int>(row), static_cast<int>(span.start), static_cast<int>(span.count), static_cast<int>(span.start - span.first),
                   static_cast<int>(span.last - span.stop(kWidth)), S{}, S{}};
    if (place.has_before()) place.before = rows.at(row, place.place_before());
    if (place.has_after()) place.after = rows.at(row, place.place_after());
    return place;
  }
  __device__ __forceinline__ void fetch(const Vectors<const S>& rows, const Place& place) const {
    for (int stage = 0; stage < kStages; ++stage) {
      for_own(stage, [&](int v) { fetch(rows, place, v); });
      end_copies();
    }
  }

  // Calls use(read) for each vector of this thread, read(i) its elements, then one(x) for what it has beside them.
  template <class Use, class One>
  __device__ __forceinline__ void first_pass(const Place& place, const Use& use, const One& one) const {
    await_copies<3>();
    read_stage(place, 0, use);
    await_copies<2>();
    read_stage(place, 1, use);
    await_copies<1>();
    read_stage(place, 2, use);
    await_copies<0>();
    read_stage(place, 3, use);
    if (place.has_before()) one(load_as_computed(place.before));
    if (place.has_after()) one(load_as_computed(place.after));
  }

  // Writes f(x), and g(x) for the element `special` if it is one of them, to the same places of `to`, which may be the memory that the row was read from, and
  // fetches the next row (of no elements where there is none).
  template <class F, class G>
  __device__ __forceinline__ void last_pass(const Place& place, const Vectors<S>& to, const F& f, int64_t special, const G& g, const Vectors<const S>& rows,
                                            const Place& next) const {
    const bool owner = owns(place, special);
    const S kept = owner ? held(place, static_cast<int>(special)) : S{};
    const bool whole = to.step == 1 && place.count > 0 && to.to_boundary(place.row, place.start) == 0;
    S* const target = &to.at(place.row, place.count > 0 ? place.start : 0);
    for (int stage = 0; stage < kStages; ++stage) {
      for_own(stage, [&](int v) {
        if (v < place.count) {
          ComputedIn<S> x[kWidth];
          unpack(x, slots_[v]);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) x[i] = f(x[i]);
          const Vector<S> y = pack<S>(x);
          if (whole) {
            store_vector(target + v * kWidth, y);
          } else {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) to.at(place.row, place.start + v * kWidth + i) = y.x[i];
          }
        }
        fetch(rows, next, v);
      });
      end_copies();
    }
    if (place.has_before()) to.at(place.row, place.place_before()) = store_as<S>(f(load_as_computed(place.before)));
    if (place.has_after()) to.at(place.row, place.place_after()) = store_as<S>(f(load_as_computed(place.after)));
    if (owner) to.at(place.row, special) = store_as<S>(g(load_as_computed(kept)));
  }

 private:
  Vector<S>* slots_;
  int rounds_;  // of a stage

  template <class Use>
  __device__ __forceinline__ void for_own(int stage, const Use& use) const {
    for (int round = 0; round < rounds_; ++round) use((stage * rounds_ + round) * kThreads + static_cast<int>(threadIdx.x));
  }
  // Whether an element is this thread's.
  __device__ __forceinline__ bool owns(const Place& place, int64_t i) const {
    if (i < place.start - place.leading || i >= place.stop() + place.trailing) return false;
    const int thread = static_cast<int>(threadIdx.x);
    if (i < place.start) return i == place.place_before();
    return i < place.stop() ? static_cast<int>(i - place.start) / kWidth % kThreads == thread : i == place.place_after();
  }
  __device__ __forceinline__ S held(const Place& place, int i) const {
    if (i < place.start) return place.before;
    return i < place.stop() ? slots_[(i - place.start) / kWidth].x[(i - place.start) % kWidth] : place.after;
  }
  template <class Use>
  __device__ __forceinline__ void read_stage(const Place& place, int stage, const Use& use) const {
    for_own(stage, [&](int v) {
      if (v >= place.count) return;
      ComputedIn<S> x[kWidth];
      unpack(x, slots_[v]);
      use([&](int i) { return x[i]; });
    });
  }
  __device__ __forceinline__ void fetch(const Vectors<const S>& rows, const Place& place, int v) const {
    if (v < place.count) copy_ahead(slots_ + v, &rows.at(place.row, place.start) + v * kWidth);
  }
};

}  // namespace vantage::cuda
