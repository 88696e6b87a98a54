// The kernels of programs, for any body.
#pragma once
#include "walk.h"

namespace vantage::cuda {

template <class Body, int items>
VANTAGE_DEVICE void walk_elements(const Body& body, const Geometry& g) {
  using Index = typename Body::Index;
  Context<Body, Walk::elements, 1, items> c(body, g);
  const Index of_row = static_cast<Index>(g.chunks), chunks = static_cast<Index>(g.rows * g.chunks), step = static_cast<Index>(gridDim.x) * kThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; i < chunks; i += step) {
    const Index row = body.first_dim() == Body::kDims - 1 ? 0 : quotient(i, of_row);
    c.locate(0, Body::kDims - 1, row);
    c.place(i - row * of_row);
    c.run(g.whole && c.full());
  }
}

// The chunks of a row that a team takes side by side, from `done` on.
template <class C>
VANTAGE_DEVICE void take_chunks(C& c, typename C::Index done, int member, int team, bool exists) {
  using Index = typename C::Index;
  const Geometry& g = c.geometry;
  const Index chunk = done + member, inner = c.body.outer() == C::kDims - 1 ? 0 : quotient(chunk, static_cast<Index>(g.chunks));
  const bool inside = exists && inner < static_cast<Index>(g.inner);
  c.locate(c.body.outer(), C::kDims - 1, inside ? inner : 0);
  c.place(inside ? chunk - inner * static_cast<Index>(g.chunks) : static_cast<Index>(g.chunks));
  c.first = done == 0;
  // Threads that compute together take the same way: where a scan is, the whole team does, and its chunks follow one another.
  bool is_whole = g.whole;
  if (c.body.outer() == C::kDims - 1 && team >= 32) is_whole = is_whole && exists && (done + team) * C::kItems <= static_cast<Index>(g.columns);
  else if (team > 1) is_whole = is_whole && __all_sync(0xffffffffu, c.full());
  else is_whole = is_whole && c.full();
  c.run(is_whole);
}

template <class Body, int team, int items>
VANTAGE_DEVICE void walk_rows(const Body& body, const Geometry& g) {
  using Index = typename Body::Index;
  Context<Body, Walk::rows, team, items> c(body, g);
  constexpr int kTeams = kThreads / team;
  const int member = threadIdx.x % team;
  const Index rows = static_cast<Index>(g.rows), chunks = static_cast<Index>(g.inner * g.chunks);
  for (Index block = blockIdx.x; block * kTeams < rows; block += gridDim.x) {
    const Index row = block * kTeams + static_cast<int>(threadIdx.x) / team;
    const bool exists = row < rows;  // a row that does not is walked without elements: its threads take part in what the warp does
    c.locate(0, body.outer(), exists ? row : 0);
    c.reset_folds();
    for (Index done = 0; done < chunks; done += team) take_chunks(c, done, member, team, exists);
#pragma unroll Body::kUnroll
    for (int k = 0; k < body.outputs(); ++k) {
      const OutputInfo out = body.output(k);
      if (out.reduction == Reduction::store) continue;
      const Slot total = team_total<team>(c.slots[out.fold], out.reduction, out.type == RegisterType::i32);
      if (member == 0 && exists) c.leave_total(out, total, 0);
    }
  }
}

// Whether this block is the last of `parts` to come here. What the others wrote before is visible to it.
VANTAGE_DEVICE bool is_last(unsigned* ticket, long long parts) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(ticket, 1u) == static_cast<unsigned>(parts - 1);
    if (last) *ticket = 0;
    __threadfence();
  }
  __syncthreads();
  const bool result = last;
  __syncthreads();
  return result;
}

VANTAGE_DEVICE Slot partial_of(const Slot* at) {
  Slot slot;
  slot.whole = *reinterpret_cast<const volatile long long*>(at);
  return slot;
}

// The block's totals of all folds, each in thread 0's slots. Two barriers for all of them.
template <class C>
VANTAGE_DEVICE void block_totals(C& c) {
  __shared__ long long shared[kMaxFolds][kWarps];
#pragma unroll C::kUnroll
  for (int k = 0; k < c.body.outputs(); ++k) {
    const OutputInfo out = c.body.output(k);
    if (out.reduction == Reduction::store) continue;
    const Slot total = team_total<32>(c.slots[out.fold], out.reduction, out.type == RegisterType::i32);
    if (threadIdx.x % 32 == 0) shared[out.fold][threadIdx.x / 32] = total.whole;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
#pragma unroll C::kUnroll
    for (int k = 0; k < c.body.outputs(); ++k) {
      const OutputInfo out = c.body.output(k);
      if (out.reduction == Reduction::store) continue;
      Slot total;
      total.whole = shared[out.fold][0];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) {
        Slot other;
        other.whole = shared[out.fold][w];
        total = combined(total, other, out.reduction, out.type == RegisterType::i32);
      }
      c.slots[out.fold] = total;
    }
  }
  __syncthreads();
}

// A part of a row; parts are numbered through all rows, the first of each row first.
template <class Body, int items>
VANTAGE_DEVICE void take_part(const Body& body, const Geometry& g, typename Body::Index place) {
  using Index = typename Body::Index;
  Context<Body, Walk::wide, kThreads, items> c(body, g);
  const Index rows = static_cast<Index>(g.rows);
  c.part = quotient(place, rows);
  c.row = place - c.part * rows;
  c.locate(0, body.outer(), c.row);
  c.reset_folds();
  const Index chunks = static_cast<Index>(g.inner * g.chunks), length = static_cast<Index>(g.length) * kThreads, begin = c.part * length;
  const Index end = begin + length < chunks ? begin + length : chunks;
  for (Index done = begin; done < end; done += kThreads) take_chunks(c, done, threadIdx.x, kThreads, true);
  const int folds = body.folds();
  if (folds == 0) return;
  Slot* const partials = g.partials + c.row * g.parts * folds;
  block_totals(c);
  if (threadIdx.x == 0) {
    for (int f = 0; f < folds; ++f) partials[c.part * static_cast<long long>(folds) + f] = c.slots[f];
  }
  if (!is_last(g.tickets + c.row, g.parts)) return;
  c.reset_folds();
  for (long long p = threadIdx.x; p < g.parts; p += kThreads) {
#pragma unroll Body::kUnroll
    for (int k = 0; k < body.outputs(); ++k) {
      const OutputInfo out = body.output(k);
      if (out.reduction == Reduction::store) continue;
      c.slots[out.fold] = combined(c.slots[out.fold], partial_of(partials + p * folds + out.fold), out.reduction, out.type == RegisterType::i32);
    }
  }
  block_totals(c);
  if (threadIdx.x != 0) return;
#pragma unroll Body::kUnroll
  for (int k = 0; k < body.outputs(); ++k) {
    const OutputInfo out = body.output(k);
    if (out.reduction != Reduction::store) c.leave_total(out, c.slots[out.fold], 0);
  }
}

// A block takes its place by a ticket: the parts before its own are then running or done, whatever the order in which blocks start. With `goes_on` there may
// be fewer blocks than parts: a block that is done takes another ticket, up to one that is nobody's.
template <class Body, int items, bool goes_on = false>
VANTAGE_DEVICE void walk_wide(const Body& body, const Geometry& g) {
  __shared__ unsigned ticket;
  const auto next = [&] {
    if (threadIdx.x == 0) ticket = atomicAdd(g.counter, 1u) - g.counted;
    __syncthreads();
    return ticket;
  };
  if constexpr (!goes_on) {
    take_part<Body, items>(body, g, static_cast<typename Body::Index>(next()));
  } else {
    const long long parts = g.rows * g.parts;
    for (long long place = next(); place < parts; place = next()) {
      take_part<Body, items>(body, g, static_cast<typename Body::Index>(place));
      if (gridDim.x == parts) return;
      __syncthreads();  // the ticket, and what the part left in shared memory, have been read
    }
  }
}

// Of the block's threads with the same place among the lanes: the total, in the first of them.
template <int items>
VANTAGE_DEVICE void lane_totals(Slot (&totals)[items], int lanes, Reduction reduction, bool whole) {
  __shared__ long long shared[items][kThreads];
#pragma unroll
  for (int k = 0; k < items; ++k) shared[k][threadIdx.x] = totals[k].whole;
  for (int half = kThreads / 2; half >= lanes; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
#pragma unroll
      for (int k = 0; k < items; ++k) {
        Slot other;
        other.whole = shared[k][threadIdx.x + half];
        totals[k] = combined(totals[k], other, reduction, whole);
        shared[k][threadIdx.x] = totals[k].whole;
      }
    }
  }
  __syncthreads();
}

VANTAGE_DEVICE long long column_groups(const Geometry& g) { return (g.rows * g.inner * g.chunks + g.lanes - 1) / g.lanes; }

// A part of a group of columns; parts are numbered through all groups, the first of each group first.
template <class Body, int items>
VANTAGE_DEVICE void take_columns(const Body& body, const Geometry& g, long long place) {
  using Index = typename Body::Index;
  Context<Body, Walk::columns, 1, items> c(body, g);
  const int lanes = static_cast<int>(g.lanes), lane = threadIdx.x & (lanes - 1), line = threadIdx.x / lanes, lines = kThreads / lanes;
  const int kept = body.outer() + body.reduced();  // the first kept dimension
  const long long units = g.rows * g.inner * g.chunks, groups = column_groups(g);
  const long long part = quotient(place, groups), group = place - part * groups;
  const long long unit = group * lanes + lane;
  const bool exists = unit < units;
  {
    const Index of_row = static_cast<Index>(g.chunks), inner = static_cast<Index>(g.inner), mine = exists ? static_cast<Index>(unit) : 0;
    const Index above = quotient(mine, of_row), outer = quotient(above, inner);
    c.locate(0, body.outer(), outer);
    c.locate(kept, Body::kDims - 1, above - outer * inner);
    c.place(exists ? mine - above * of_row : of_row);
  }
  c.reset_folds();
  const long long begin = part * g.length, end = begin + g.length < g.reduced ? begin + g.length : g.reduced;
  for (long long r = begin + line; r < end; r += lines) {
    c.locate(body.outer(), kept, static_cast<Index>(r));
    c.run(g.whole && c.full());
  }
  const int folds = body.folds();
  const auto partial = [&](long long p, int fold, int k) { return g.partials + ((p * folds + fold) * items + k) * groups * lanes + unit; };
#pragma unroll Body::kUnroll
  for (int k = 0; k < body.outputs(); ++k) {
    const OutputInfo out = body.output(k);
    if (out.reduction == Reduction::store) continue;
    Slot totals[items];
#pragma unroll
    for (int i = 0; i < items; ++i) totals[i] = c.slots[out.fold * items + i];
    lane_totals<items>(totals, lanes, out.reduction, out.type == RegisterType::i32);
    if (line > 0) continue;
#pragma unroll
    for (int i = 0; i < items; ++i) {
      if (g.parts > 1) *partial(part, out.fold, i) = totals[i];
      else if (i < c.left) c.leave_total(out, totals[i], i);
    }
  }
  if (g.parts == 1 || folds == 0 || !is_last(g.tickets + group, g.parts)) return;
#pragma unroll Body::kUnroll
  for (int k = 0; k < body.outputs(); ++k) {
    const OutputInfo out = body.output(k);
    if (out.reduction == Reduction::store) continue;
    const bool whole = out.type == RegisterType::i32;
    Slot totals[items];
#pragma unroll
    for (int i = 0; i < items; ++i) {
      totals[i] = identity(out.reduction, whole);
      for (long long p = line; p < g.parts; p += lines) totals[i] = combined(totals[i], partial_of(partial(p, out.fold, i)), out.reduction, whole);
    }
    lane_totals<items>(totals, lanes, out.reduction, whole);
    if (line > 0) continue;
#pragma unroll
    for (int i = 0; i < items; ++i) {
      if (i < c.left) c.leave_total(out, totals[i], i);
    }
  }
}

// With `goes_on` there may be fewer blocks than parts.
template <class Body, int items, bool goes_on = false>
VANTAGE_DEVICE void walk_columns(const Body& body, const Geometry& g) {
  if constexpr (!goes_on) {
    take_columns<Body, items>(body, g, blockIdx.x);
  } else {
    const long long parts = column_groups(g) * g.parts;
    for (long long place = blockIdx.x; place < parts; place += gridDim.x) {
      take_columns<Body, items>(body, g, place);
      __syncthreads();  // what it left in shared memory has been read
    }
  }
}

}  // namespace vantage::cuda
