// How the rows of a recurrence are shared out. How one is cut depends on the shape alone, so that the bits of the results do not depend on the threads.
//
//   rows of usual length   one after the other, tile by tile, several rows a task
//   short rows             side by side in vectors (recurrence_lanes.h)
//   few and long rows      in segments: a first pass over a segment composes its steps into one affine map and writes nothing; its carry then is
//                          that of the segment before it through this map; the second pass finds the inputs in the cache. Where the coefficient is a
//                          constant, the first pass goes over the steps that reach the segment's begin
//
// A recurrence R has:  TileOf, State {double y; …}, kForward, kShortRows; arrays(); rows, time;
//   State start(row), the state before the first step; State start_of_segment(row, start, stop), where y is 0;
//   scan<kWrite>(tile, state, product), all steps of a tile; product is multiplied by their a
//   moments, a view or none, of output 0; scan<true> puts this into tile.copy too, where there is one
#pragma once
#include "recurrence_block.h"
#include "recurrence_lanes.h"
#include "recurrence_tile.h"
#include "scratch.h"
#include "thread_pool.h"

namespace vantage::cpu::VANTAGE_ISA {

constexpr int64_t kTaskSteps = 16384;  // of a task, and of a segment: its inputs stay in L2 between the passes
constexpr int64_t kLongSegment = 32768;  // where the first pass needs a small part of them
constexpr int64_t kFewRows = 8;
constexpr int64_t kTasksOfThread = 32;  // and no more, where rows are many
constexpr int64_t kMaskAhead = 8 * kTile;

// Sums over the distance from the first number: no digits are lost to a common offset. Where not kForward that is the last one, and the others follow back to x[0]:
// the order in which a recurrence put them, as what it put first is there while the rest is under way. kFetch: x comes from memory.
template <bool kForward, bool kFetch, class T>
Moments moments_along(const T* x, int64_t n) {
  if (n == 0) return {};
  const auto next = [&](int64_t done, int64_t count) { return x + (kForward ? done : n - done - count); };
  const double shift = static_cast<double>(*next(0, 1));
  double sum = 0, squares = 0;
  int64_t done = 0;
  if constexpr (sizeof(T) == 4) {
    constexpr int kFloats = sizeof(FloatsToWiden) / sizeof(float), kChains = 4;  // additions to one vector wait for one another
    const WideDoubles shifts = shift - WideDoubles{};
    WideDoubles sums[kChains] = {}, square_sums[kChains] = {};
    const auto take = [&](int chain) __attribute__((always_inline)) {
      const float* const from = next(done, kFloats);
      FloatsToWiden floats;
      WideDoubles distances;
      if constexpr (kFetch) prefetch_ahead<kForward>(from, 2 * kTile * sizeof(T));  // two tiles: one is through before memory answers
      load_vector(floats, from);
      widen(distances, floats);
      distances -= shifts;
      sums[chain] += distances;
      square_sums[chain] += distances * distances;
      done += kFloats;
    };
    while (done + kChains * kFloats <= n) {
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; ++chain) take(chain);
    }
    while (done + kFloats <= n) take(0);
    sum = sum_of_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
    squares = sum_of_lanes((square_sums[0] + square_sums[1]) + (square_sums[2] + square_sums[3]));
  }
  for (; done < n; ++done) {
    const double distance = static_cast<double>(*next(done, 1)) - shift;
    sum += distance;
    squares += distance * distance;
  }
  return moments_of(static_cast<double>(n), shift, sum, squares);
}

// Columns [start, stop) of one row.
template <bool kWrite, class R, class TileOf>
void scan_span(const R& r, TileOf& tile, int64_t row, int64_t start, int64_t stop, typename R::State& state, double& product, Moments& moments) {
  const int64_t tiles = (stop - start + kTile - 1) / kTile;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t from = start + (R::kForward ? i : tiles - 1 - i) * kTile;
    tile.open(row, from, stop - from < kTile ? stop : from + kTile);
    r.template scan<kWrite>(tile, state, product);
    if constexpr (kWrite) {
      if (r.moments.data) combine(moments, moments_along<R::kForward, false>(tile.first_output(), tile.count));
      tile.close();
    }
  }
}

// What a segment hands to the next one.
struct Link {
  double y;
  Moments moments;
  uint32_t ready;
};

// Behind so many valid steps nothing is left of what came in to a row.
template <class R>
int64_t reach_of(const R& r) {
  if constexpr (requires { r.decay.reach(); } && sizeof(typename R::TileOf::Element) == 4) return r.decay.reach();
  return INT64_MAX;
}

// The end of the part of a segment that its first pass goes over: what lies behind it does not reach the segment's begin.
template <class Views>
int64_t end_of_reach(int64_t reach, const Views& views, int64_t row, int64_t start, int64_t stop) {
  if (reach >= stop - start) return stop;
  const uint8_t* const valid = views.mask.template as<const uint8_t>() + row * views.mask.strides[0];
  const int64_t stride = views.mask.strides[1];
  for (int64_t t = start; t < stop; t += kTile) {
    const int64_t end = t + kTile < stop ? t + kTile : stop;
    int count = 0;
    if (stride == 1) for (int64_t i = t; i < end; ++i) count += valid[i] != 0;
    else for (int64_t i = t; i < end; ++i) count += valid[i * stride] != 0;
    reach -= count;
    if (reach <= 0) return end;
  }
  return stop;
}

template <class R, class TileOf>
void scan_segments(const R& r, const typename TileOf::Views& views) {
  const int64_t reach = reach_of(r), steps = reach < kLongSegment / 4 ? kLongSegment : kTaskSteps;
  const int64_t segments = (r.time + steps - 1) / steps;
  Link* const links = scratch<Link>(Scratch::partials, static_cast<size_t>(r.rows * segments));
  for (int64_t i = 0; i < r.rows * segments; ++i) links[i].ready = 0;
  // Tasks are taken in order: the segment that another one waits for is done or under way.
  parallel_for(r.rows * segments, r.rows * r.time * 4, [&](int64_t task) {
    const int64_t row = task % r.rows, segment = task / r.rows, done = segment * steps;
    const int64_t size = r.time - done < steps ? r.time - done : steps, start = R::kForward ? done : r.time - done - size;
    Link& link = links[task];
    TileOf tile(views);
    typename R::State first = r.start_of_segment(row, start, start + size);
    const int64_t end = segment + 1 < segments ? end_of_reach(reach, views, row, start, start + size) : start;
    typename R::State state = end < start + size ? r.start_of_segment(row, start, end) : first;
    double product = end < start + size ? 0 : 1;
    scan_span<false>(r, tile, row, start, end, state, product, link.moments);
    double carry = r.start(row).y;
    if (segment > 0) {
      const Link& before = links[task - r.rows];
      wait_for(before.ready);
      carry = before.y;
    }
    // A state of 0 stays out of the product, which overflows where coefficients are above 1.
    link.y = product == 0 || carry == 0 ? state.y : state.y + product * carry;
    __atomic_store_n(&link.ready, 1, __ATOMIC_RELEASE);
    first.y = carry;
    link.moments = {};
    scan_span<true>(r, tile, row, start, start + size, first, product, link.moments);
    if (views.stream) finish_stream();
  });
  if (!r.moments.data) return;
  for (int64_t row = 0; row < r.rows; ++row) {
    Moments moments;
    for (int64_t segment = 0; segment < segments; ++segment) combine(moments, links[segment * r.rows + row].moments);
    write_moments(r.moments, row, moments);
  }
}

template <class R>
void run_recurrence(const R& r) {
  using TileOf = typename R::TileOf;
  typename TileOf::Views views = r.arrays();
  if constexpr (R::kShortRows && sizeof(typename TileOf::Element) == 4) {
    if (r.time > 0 && r.time <= kShortRow) {
      views.stream = views.stream && streams_well(kRowsOfGroup * r.time * 4);
      return scan_short_rows(r, views, kTaskSteps);
    }
  }
  views.stream = views.stream && streams_well(r.time * static_cast<int64_t>(sizeof(typename TileOf::Element)));
  views.read_back = r.moments.data != nullptr;
  views.mask_ahead = R::kForward ? kMaskAhead : -kMaskAhead;
  if (r.rows < kFewRows && r.time >= 4 * kTaskSteps) return scan_segments<R, TileOf>(r, views);
  // What follows in memory is on its way already, but for the beginning of a task.
  const int64_t few = r.time >= kTaskSteps ? 1 : kTaskSteps / (r.time + 1) + 1, many = r.rows / (threads() * kTasksOfThread), rows_of_task = many > few ? many : few;
  parallel_for((r.rows + rows_of_task - 1) / rows_of_task, r.rows * r.time * 4, [&](int64_t task) {
    TileOf tile(views);
    const int64_t last = (task + 1) * rows_of_task < r.rows ? (task + 1) * rows_of_task : r.rows;
    // The way the steps go: to the hardware's prefetching, the rows are one stream.
    for (int64_t i = task * rows_of_task; i < last; ++i) {
      const int64_t row = R::kForward ? i : task * rows_of_task + last - 1 - i;
      typename R::State state = r.start(row);
      double product = 1;
      Moments moments;
      scan_span<true>(r, tile, row, 0, r.time, state, product, moments);
      if (r.moments.data) write_moments(r.moments, row, moments);
    }
    if (views.stream) finish_stream();
  });
}

}  // namespace vantage::cpu::VANTAGE_ISA
