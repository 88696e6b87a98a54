// A program's index space as a thread walks it: where its elements are, and what a program asks of it.
#pragma once
#include "team.h"

namespace vantage::cuda {

VANTAGE_DEVICE int quotient(int a, int b) { return static_cast<int>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b)); }
VANTAGE_DEVICE long long quotient(long long a, long long b) {
  const unsigned long long x = static_cast<unsigned long long>(a), y = static_cast<unsigned long long>(b);
  if ((x | y) >> 32 == 0) return static_cast<uint32_t>(x) / static_cast<uint32_t>(y);
  return static_cast<long long>(x / y);
}

// `items` elements as they are stored, read or written at once.
template <class S, int items>
struct alignas(sizeof(S) * items < 16 ? sizeof(S) * items : 16) Pack {
  S at[items];
};

// A thread's elements of a view.
struct Piece {
  char* base;
  long long at, stride;  // in elements
  DType dtype;
  Access access;
  long long left;  // elements from the first one to the end of the row: `items` of them or more, or fewer, or none
  bool aligned;  // all of them may be moved at once
};

template <class S, class T, int items, class X>
VANTAGE_DEVICE void fetch(X& x, const Piece& p) {
  const S* from = reinterpret_cast<const S*>(p.base) + p.at;
  if (p.access == Access::fixed) {
    const T value = p.left > 0 ? loaded<T>(*from) : T{};
#pragma unroll
    for (int k = 0; k < items; ++k) x[k] = value;
    return;
  }
  if (p.access != Access::strided && p.left >= items && p.aligned) {
    const bool backward = p.access == Access::backward;
    const Pack<S, items> pack = *reinterpret_cast<const Pack<S, items>*>(backward ? from - (items - 1) : from);
#pragma unroll
    for (int k = 0; k < items; ++k) x[k] = loaded<T>(backward ? pack.at[items - 1 - k] : pack.at[k]);
    return;
  }
#pragma unroll
  for (int k = 0; k < items; ++k) x[k] = k < p.left ? loaded<T>(from[k * p.stride]) : T{};
}

template <class S, class T, int items, class X>
VANTAGE_DEVICE void store(const X& x, const Piece& p) {
  S* to = reinterpret_cast<S*>(p.base) + p.at;
  if ((p.access == Access::unit || p.access == Access::backward) && p.left >= items && p.aligned) {
    const bool backward = p.access == Access::backward;
    Pack<S, items> pack;
#pragma unroll
    for (int k = 0; k < items; ++k) put(backward ? pack.at[items - 1 - k] : pack.at[k], x[k]);
    *reinterpret_cast<Pack<S, items>*>(backward ? to - (items - 1) : to) = pack;
    return;
  }
#pragma unroll
  for (int k = 0; k < items; ++k) {
    if (k < p.left) put(to[k * p.stride], x[k]);
  }
}

template <class T, int items, class X>
VANTAGE_DEVICE void load_piece(X& x, const Piece& p) {
  switch (p.dtype) {
    case DType::f64: return fetch<double, T, items>(x, p);
    case DType::bf16: return fetch<Bfloat16, T, items>(x, p);
    case DType::i32: return fetch<int32_t, T, items>(x, p);
    case DType::u8: return fetch<uint8_t, T, items>(x, p);
    case DType::boolean: return fetch<Boolean, T, items>(x, p);
    default: return fetch<float, T, items>(x, p);
  }
}
template <class T, int items, class X>
VANTAGE_DEVICE void store_piece(const X& x, const Piece& p) {
  switch (p.dtype) {
    case DType::f64: return store<double, T, items>(x, p);
    case DType::bf16: return store<Bfloat16, T, items>(x, p);
    case DType::i32: return store<int32_t, T, items>(x, p);
    case DType::u8: return store<uint8_t, T, items>(x, p);
    case DType::boolean: return store<Boolean, T, items>(x, p);
    default: return store<float, T, items>(x, p);
  }
}

VANTAGE_DEVICE void wait_for(const unsigned* flag, unsigned set) {
  while (*static_cast<const volatile unsigned*>(flag) != set) __nanosleep(20);
  __threadfence();
}
VANTAGE_DEVICE void announce(unsigned* flag, unsigned set) {
  __threadfence();
  *static_cast<volatile unsigned*>(flag) = set;
}

// Where a thread stands, and what a program asks of it. A body (the interpreter's or a generated one) calls load, leave, scan and the like.
template <class Body, Walk walk, int team, int items>
struct Context {
  static constexpr int kItems = items;
  static constexpr int kDims = Body::kDims, kUnroll = Body::kUnroll;
  using Index = typename Body::Index;

  const Body& body;
  const Geometry& geometry;
  typename Body::Slots slots;
  Index index[kDims] = {};
  // Elements from the chunk's first one to the end of the row. It is not cut to what the chunk holds: of `min(max(left, 0), items) == items` ptxas (CUDA
  // 13.0, sm_90) makes an instruction that answers yes where fewer are left.
  Index left = 0;
  bool whole = false;  // all of them do, and every view's are aligned
  bool first = false;  // the chunk begins at the first element of the row, for the whole team
  Index row = 0, part = 0;

  VANTAGE_DEVICE Context(const Body& body, const Geometry& geometry) : body(body), geometry(geometry), slots(body) {}

  // The program, on this chunk. Where the chunk is whole, it is run by code that asks nothing of the kind again.
  VANTAGE_DEVICE void run(bool is_whole) {
    if constexpr (Body::kTwice) {
      if (is_whole) {
        whole = true;
        body.run(*this);
        return;
      }
    }
    whole = false;
    body.run(*this);
  }
  VANTAGE_DEVICE bool exists(int k) const { return whole || k < left; }
  VANTAGE_DEVICE bool full() const { return left >= items; }

  // ---- Position ----------------------------------------------------------------------------------------------------------------

  // Sets the index along the dimensions [begin, end) from a flat one.
  VANTAGE_DEVICE void locate(int begin, int end, Index flat) {
#pragma unroll
    for (int d = kDims - 1; d >= 0; --d) {
      if (d < begin || d >= end || d < body.first_dim()) continue;
      const Index above = d == begin ? 0 : quotient(flat, body.shape(d));
      index[d] = flat - above * body.shape(d);
      flat = above;
    }
  }
  VANTAGE_DEVICE void place(Index chunk) {
    left = static_cast<Index>(geometry.columns) - chunk * items;
    index[kDims - 1] = chunk * items;
  }
  VANTAGE_DEVICE Index offset(int view, Access access) const {
    Index total = access == Access::unit       ? index[kDims - 1]
                  : access == Access::backward ? -index[kDims - 1]
                  : access == Access::fixed    ? 0
                                               : index[kDims - 1] * body.stride(view, kDims - 1);
#pragma unroll
    for (int d = 0; d < kDims - 1; ++d) {
      if (d >= body.first_dim()) total += index[d] * body.stride(view, d);
    }
    return total;
  }

  // ---- Memory ------------------------------------------------------------------------------------------------------------------

  VANTAGE_DEVICE Piece piece(int view, DType dtype, Access access) const {
    const long long stride = access == Access::strided ? body.stride(view, kDims - 1) : access == Access::backward ? -1 : 1;
    return {body.base(view), offset(view, access), stride, dtype, access, whole ? items : static_cast<long long>(left), whole || body.aligned(view)};
  }
  template <class T, class X>
  VANTAGE_DEVICE void load(X& x, int view, DType dtype, Access access) const {
    load_piece<T, items>(x, piece(view, dtype, access));
  }
  // An output: stored, or folded into the thread's totals.
  template <class T, class X>
  VANTAGE_DEVICE void leave(int which, const X& x) {
    const OutputInfo out = body.output(which);
    if (out.reduction == Reduction::store) store_piece<T, items>(x, piece(out.view, out.dtype, out.access));
    else leave_fold<T>(out, x);
  }
  template <class T, class X>
  VANTAGE_DEVICE void leave_fold(const OutputInfo& out, const X& x) {
    if constexpr (walk == Walk::columns) {
#pragma unroll
      for (int k = 0; k < items; ++k) {
        if (exists(k)) fold<T>(slots[out.fold * items + k], x[k], out.reduction);
      }
    } else if (out.reduction == Reduction::maximum || out.reduction == Reduction::minimum) {
      // The extreme one of the chunk as it is: what is converted then is one number.
      T extreme = lowest<T>(out.reduction);
#pragma unroll
      for (int k = 0; k < items; ++k) {
        if (exists(k)) extreme = folded(extreme, static_cast<T>(x[k]), out.reduction);
      }
      fold<T>(slots[out.fold], extreme, out.reduction);
    } else {
#pragma unroll
      for (int k = 0; k < items; ++k) {
        if (exists(k)) fold<T>(slots[out.fold], x[k], out.reduction);
      }
    }
  }
  // A sum of truth values: those of a chunk add up in one register.
  template <class X>
  VANTAGE_DEVICE void leave_bits(int which, const X& x) {
    const OutputInfo out = body.output(which);
    if constexpr (walk == Walk::columns) return leave_fold<int32_t>(out, x);
    int32_t sum = 0;
#pragma unroll
    for (int k = 0; k < items; ++k) sum += exists(k) ? x[k] : 0;
    slots[out.fold].whole += sum;
  }
  // The total of an output, `item` elements behind the present position.
  VANTAGE_DEVICE void leave_total(const OutputInfo& out, Slot total, int item) const {
    const bool whole = out.type == RegisterType::i32;
    const double x = whole ? static_cast<double>(total.whole) : total.real;
    const long long at = static_cast<long long>(offset(out.view, Access::strided)) + item * body.stride(out.view, kDims - 1);
    char* base = body.base(out.view);
    switch (out.dtype) {
      case DType::f64: return put(reinterpret_cast<double*>(base)[at], x);
      case DType::bf16: return put(reinterpret_cast<Bfloat16*>(base)[at], x);
      case DType::i32: return put(reinterpret_cast<int32_t*>(base)[at], x);
      case DType::u8: return put(reinterpret_cast<uint8_t*>(base)[at], x);
      case DType::boolean: return put(reinterpret_cast<Boolean*>(base)[at], x);
      default: return put(reinterpret_cast<float*>(base)[at], x);
    }
  }
  VANTAGE_DEVICE void reset_folds() {
#pragma unroll Body::kUnroll
    for (int k = 0; k < body.outputs(); ++k) {
      const OutputInfo out = body.output(k);
      if (out.reduction == Reduction::store) continue;
      constexpr int copies = walk == Walk::columns ? items : 1;
#pragma unroll
      for (int i = 0; i < copies; ++i) slots[out.fold * copies + i] = identity(out.reduction, out.type == RegisterType::i32);
    }
  }

  // ---- Recurrences -------------------------------------------------------------------------------------------------------------

  // Scan number `which` of the program: out becomes s_t = a_t·s_{t-1} + b_t, or s_{t-1}; s before the first element is initial[0] there.
  template <class T, class A, class B, class C, class X>
  VANTAGE_DEVICE void scan(int which, const A& a, const B& b, const C& initial, X& out, bool previous) {
    double state = 0;
    double& carry = slots[body.first_carry() + which].real;
    if constexpr (team == 1) {
      state = first ? static_cast<double>(initial[0]) : carry;
    } else {
      const Affine map = composed_items<items>(a, b);
      const double begin = static_cast<double>(initial[0]);
      if constexpr (team <= 32) {
        if (first) carry = __shfl_sync(0xffffffffu, begin, 0, team);
        const Affine inclusive = composed_lanes<team>(map);
        const Affine before = shuffled_up(inclusive, 1, team);
        state = threadIdx.x % team == 0 ? carry : applied(before, carry);
      } else {
        const Composition block = composed_block(map, begin);
        double enters;
        if constexpr (walk == Walk::wide) enters = enter_part(which, block);
        else enters = first ? block.initial : carry;
        state = threadIdx.x == 0 ? enters : applied(block.before, enters);
        carry = applied(block.all, enters);
      }
    }
#pragma unroll
    for (int k = 0; k < items; ++k) {
      const double next = a[k] == 0 ? static_cast<double>(b[k]) : __builtin_fma(static_cast<double>(a[k]), state, static_cast<double>(b[k]));
      out[k] = number<T>(previous ? state : next);
      state = next;
    }
    if constexpr (team == 1) carry = state;
    else if constexpr (team <= 32) carry = __shfl_sync(0xffffffffu, state, team - 1, team);
  }

  // The state that enters this block's part of a row. Every block announces its map as soon as it knows it, and puts the maps of the parts before
  // its own together by itself, in the order of a fixed tree: nobody waits for a neighbour that waits for its own.
  VANTAGE_DEVICE double enter_part(int which, const Composition& block) const {
    const Geometry& g = geometry;
    const long long line = which * g.rows + row, group = static_cast<long long>(part) / kGroup, groups = (g.parts + kGroup - 1) / kGroup;
    const long long scans = body.scans();
    unsigned* const state_flags = g.flags + scans * g.rows * g.parts;
    // The first part knows what it begins with: its map is a constant.
    const Affine own = part == 0 ? Affine{-0.0, applied(block.all, block.initial)} : block.all;
    const long long mine = line * g.parts + part;
    if (threadIdx.x == 0) {
      volatile double* to = &g.maps[mine].factor;
      to[0] = own.factor;
      to[1] = own.term;
      announce(g.flags + mine, g.set);
    }
    const long long other = group * kGroup + threadIdx.x;
    Affine before = {1, 0};
    if (other < part) {
      wait_for(g.flags + line * g.parts + other, g.set);
      const volatile double* from = &g.maps[line * g.parts + other].factor;
      before = {from[0], from[1]};
    }
    double enters = 0;
    if (threadIdx.x == 0 && group > 0) {
      wait_for(state_flags + line * groups + group, g.set);
      enters = *static_cast<const volatile double*>(g.states + line * groups + group);
    }
    const Composition all = composed_block(before, enters);
    const double result = part == 0 ? block.initial : applied(all.all, all.initial);
    if (threadIdx.x == 0 && part % kGroup == kGroup - 1 && group + 1 < groups) {
      *static_cast<volatile double*>(g.states + line * groups + group + 1) = applied(block.all, result);
      announce(state_flags + line * groups + group + 1, g.set);
    }
    return result;
  }

  // State number `which` of a loop before element k of the chunk.
  template <class T>
  VANTAGE_DEVICE T state(int which, int k, T initial) {
    if (first && k == 0) return initial;
    const Slot slot = slots[body.first_carry() + body.scans() + which];
    if constexpr (Is<T>::whole) return static_cast<T>(slot.whole);
    else return static_cast<T>(slot.real);
  }
  template <class T>
  VANTAGE_DEVICE void set_state(int which, T value) {
    Slot& slot = slots[body.first_carry() + body.scans() + which];
    if constexpr (Is<T>::whole) slot.whole = value;
    else slot.real = static_cast<double>(value);
  }
};

}  // namespace vantage::cuda
