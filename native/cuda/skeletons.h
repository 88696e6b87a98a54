// The kernels of programs, for any body.
#pragma once
#include "walk.h"

namespace vantage::cuda {

template <class Body, int items>
VANTAGE_DEVICE void walk_elements(const Body& body, const Geometry& g) {
  Context<Body, Walk::elements, 1, items> c(body, g);
  const long long chunks = g.rows * g.chunks, step = static_cast<long long>(gridDim.x) * kThreads;
  for (long long i = static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x; i < chunks; i += step) {
    const long long row = body.first_dim() == Body::kDims - 1 ? 0 : quotient(i, g.chunks);
    c.locate(0, Body::kDims - 1, row);
    c.place(i - row * g.chunks);
    body.run(c);
  }
}

template <class Body, int team, int items>
VANTAGE_DEVICE void walk_rows(const Body& body, const Geometry& g) {
  Context<Body, Walk::rows, team, items> c(body, g);
  constexpr int kTeams = kThreads / team;
  const int member = threadIdx.x % team;
  const long long chunks = g.inner * g.chunks;
  for (long long block = blockIdx.x; block * kTeams < g.rows; block += gridDim.x) {
    const long long row = block * kTeams + threadIdx.x / team;
    const bool exists = row < g.rows;  // a row that does not is walked without elements: its threads take part in what the warp does
    c.locate(0, body.outer(), exists ? row : 0);
    c.reset_folds();
    for (long long done = 0; done < chunks; done += team) {
      const long long chunk = done + member;
      const long long inner = g.inner == 1 ? 0 : quotient(chunk, g.chunks);
      c.locate(body.outer(), Body::kDims - 1, inner < g.inner ? inner : 0);
      c.place(exists && inner < g.inner ? chunk - inner * g.chunks : g.chunks);
      c.first = done == 0;
      body.run(c);
    }
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

template <class Body, int items>
VANTAGE_DEVICE void walk_wide(const Body& body, const Geometry& g) {
  // A block takes its place by a ticket: the parts before its own are then running or done, whatever the order in which blocks start.
  __shared__ unsigned ticket;
  if (threadIdx.x == 0) ticket = atomicAdd(g.counter, 1u) - g.counted;
  __syncthreads();
  Context<Body, Walk::wide, kThreads, items> c(body, g);
  c.part = quotient(ticket, g.rows);
  c.row = ticket - c.part * g.rows;
  c.locate(0, body.outer(), c.row);
  c.reset_folds();
  const long long chunks = g.inner * g.chunks, begin = c.part * g.length * kThreads, end = begin + g.length * kThreads;
  for (long long done = begin; done < end && done < chunks; done += kThreads) {
    const long long chunk = done + threadIdx.x;
    const long long inner = g.inner == 1 ? 0 : quotient(chunk, g.chunks);
    c.locate(body.outer(), Body::kDims - 1, inner < g.inner ? inner : 0);
    c.place(inner < g.inner ? chunk - inner * g.chunks : g.chunks);
    c.first = done == 0;
    body.run(c);
  }
  const int folds = body.folds();
  if (folds == 0) return;
  Slot* const partials = g.partials + c.row * g.parts * folds;
#pragma unroll Body::kUnroll
  for (int k = 0; k < body.outputs(); ++k) {
    const OutputInfo out = body.output(k);
    if (out.reduction == Reduction::store) continue;
    const Slot total = team_total<kThreads>(c.slots[out.fold], out.reduction, out.type == RegisterType::i32);
    if (threadIdx.x == 0) partials[c.part * folds + out.fold] = total;
  }
  if (!is_last(g.tickets + c.row, g.parts)) return;
#pragma unroll Body::kUnroll
  for (int k = 0; k < body.outputs(); ++k) {
    const OutputInfo out = body.output(k);
    if (out.reduction == Reduction::store) continue;
    const bool whole = out.type == RegisterType::i32;
    Slot total = identity(out.reduction, whole);
    for (long long p = threadIdx.x; p < g.parts; p += kThreads) {
      total = combined(total, partial_of(partials + p * folds + out.fold), out.reduction, whole);
    }
    total = team_total<kThreads>(total, out.reduction, whole);
    if (threadIdx.x == 0) c.leave_total(out, total, 0);
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

template <class Body, int items>
VANTAGE_DEVICE void walk_columns(const Body& body, const Geometry& g) {
  Context<Body, Walk::columns, 1, items> c(body, g);
  const int lanes = static_cast<int>(g.lanes), lane = threadIdx.x & (lanes - 1), line = threadIdx.x / lanes, lines = kThreads / lanes;
  const int kept = body.outer() + body.reduced();  // the first kept dimension
  const long long units = g.rows * g.inner * g.chunks, groups = (units + lanes - 1) / lanes;
  const long long part = quotient(blockIdx.x, groups), group = blockIdx.x - part * groups;
  const long long unit = group * lanes + lane;
  const bool exists = unit < units;
  {
    const long long above = quotient(exists ? unit : 0, g.chunks), outer = quotient(above, g.inner);
    c.locate(0, body.outer(), outer);
    c.locate(kept, Body::kDims - 1, above - outer * g.inner);
    c.place(exists ? unit - above * g.chunks : g.chunks);
  }
  c.reset_folds();
  const long long begin = part * g.length, end = begin + g.length < g.reduced ? begin + g.length : g.reduced;
  for (long long r = begin + line; r < end; r += lines) {
    c.locate(body.outer(), kept, r);
    body.run(c);
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
      else if (i < c.count) c.leave_total(out, totals[i], i);
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
      if (i < c.count) c.leave_total(out, totals[i], i);
    }
  }
}

}  // namespace vantage::cuda
