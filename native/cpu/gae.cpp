// Generalised advantage estimation and discounted returns over masks with holes; formulas in recurrences.h.
#include "../core/kernels.h"
#include "recurrence_rows.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
struct Gae {
  enum In { rewards, values, bootstrap };
  enum Out { advantages, returns };
  using TileOf = Tile<T, 3, 2>;
  static constexpr bool kForward = false, kShortRows = true;
  struct State {
    double y;
    T next;  // the value of the next valid step
  };

  typename TileOf::Views views;
  TensorView moments;
  int64_t rows, time;
  T gamma;
  Decay decay;

  const typename TileOf::Views& arrays() const { return views; }
  State start(int64_t) const { return {0, 0}; }
  State start_of_segment(int64_t row, int64_t, int64_t stop) const { return {0, next_valid(views.in[values], views.mask, row, stop, T(0))}; }

  static constexpr bool kHasEnds = true;
  struct Lanes {
    f32x8 y = {}, next = {};
  };
  template <bool kWithEnds>
  VANTAGE_METHOD void step(Lanes& lanes, const f32x8 (&in)[3], const i32x8& valid, const i32x8& ends, f32x8 (&out)[2]) const {
    f32x8 y = lanes.y, next = lanes.next, discount, factor, difference;
    fill_with(discount, static_cast<float>(gamma));
    fill_with(factor, decay.first);
    if constexpr (kWithEnds) {
      y = ends == 0 ? y : f32x8{};
      next = ends == 0 ? next : (ends == recurrences::kTruncated ? in[bootstrap] : f32x8{});
    }
    recurrences::gae_difference(difference, in[rewards], in[values], next, discount);
    recurrences::affine_step(y, factor, difference);
    lanes.y = valid != 0 ? y : lanes.y;
    lanes.next = valid != 0 ? in[values] : lanes.next;
    out[advantages] = y;
    out[returns] = y + in[values];
  }

  template <bool kEnds, bool kWrite, bool kReturns, bool kCopy>
  struct Steps {
    static constexpr bool kCuts = kEnds;
    const T *rewards, *values, *bootstrap;
    const uint8_t* ends;
    T *advantages, *returns, *copy, gamma, next;
    bool past_caches;

    template <class V>
    VANTAGE_METHOD void difference(V& b, V& value, int64_t i) {
      V reward, following, discount;
      fetch(reward, rewards + i);
      fetch(value, values + i);
      shift_in(following, value, next);
      next = values[i];
      if constexpr (kEnds) end_values(following, ends + i, bootstrap + i);
      fill_with(discount, gamma);
      recurrences::gae_difference(b, reward, value, following, discount);
    }
    template <class V>
    VANTAGE_METHOD void map(V& open, V& b, int64_t i) {
      V value;
      difference(b, value, i);
      open_steps(open, ends + i);
    }
    template <class V>
    VANTAGE_METHOD void put(int64_t i, const V& advantage) {
      V value;
      load_at(value, values + i);
      put(i, advantage, value);
    }
    template <class V>
    VANTAGE_METHOD void put(int64_t i, const V& advantage, const V& value) {
      if constexpr (kWrite) put_at<kCopy>(advantages, i, advantage, past_caches, copy);
      if constexpr (kReturns) {
        const V sum = advantage + value;
        put_at(returns + i, sum, past_caches);
      }
    }
  };

  // The bootstrap values of a tile with ends. They are loaded by masks, and a load of nothing from a page that the processor has no translation of at hand takes it a
  // hundred nanoseconds, each time (Zen 5): where nothing is truncated, and they are not looked at, other values stand in; else they are asked for.
  const T* bootstrap_of(const TileOf& tile) const {
    if (!has(tile.ends, tile.count, recurrences::kTruncated)) return tile.in[values];
    for (int64_t i = 0; i < tile.count; i += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(tile.in[bootstrap] + i);
    return tile.in[bootstrap];
  }

  template <bool kEnds, bool kWrite, bool kReturns, bool kCopy>
  VANTAGE_APART void scan_tile(TileOf& tile, State& state, double& product) const {
    const T* const given = kEnds ? bootstrap_of(tile) : nullptr;
    const Steps<kEnds, kWrite, kReturns, kCopy> steps{tile.in[rewards],     tile.in[values],   given,     tile.ends,
                                                      tile.out[advantages], tile.out[returns], tile.copy, gamma,     state.next, tile.past_caches};
    if constexpr (kEnds) scan_lanes<T, false>(steps, tile.count, decay.one, state.y, product);
    else if constexpr (kWrite) scan_constant<T>(steps, tile.count, decay, state.y);
    else sum_constant<T>(steps, tile.count, decay, state.y), product *= decay.power(tile.count);
    state.next = tile.in[values][0];
  }
  template <bool kEnds, bool kWrite, bool kReturns>
  void scan_tile(TileOf& tile, State& state, double& product) const {
    if constexpr (kWrite && TileOf::kCopies) if (tile.copy) return scan_tile<kEnds, kWrite, kReturns, true>(tile, state, product);
    scan_tile<kEnds, kWrite, kReturns, false>(tile, state, product);
  }
  template <bool kWrite>
  void scan(TileOf& tile, State& state, double& product) const {
    if (tile.count == 0) return;
    const bool wanted = kWrite && views.out[returns].data;
    if (tile.ends) wanted ? scan_tile<true, kWrite, kWrite>(tile, state, product) : scan_tile<true, kWrite, false>(tile, state, product);
    else wanted ? scan_tile<false, kWrite, kWrite>(tile, state, product) : scan_tile<false, kWrite, false>(tile, state, product);
  }
};

template <class T>
struct DiscountedReturn {
  using TileOf = Tile<T, 1, 1>;
  static constexpr bool kForward = false, kShortRows = true;
  struct State {
    double y;
  };

  typename TileOf::Views views;
  TensorView moments;
  int64_t rows, time;
  Decay decay;

  const typename TileOf::Views& arrays() const { return views; }
  State start(int64_t) const { return {0}; }
  State start_of_segment(int64_t, int64_t, int64_t) const { return {0}; }

  static constexpr bool kHasEnds = false;
  struct Lanes {
    f32x8 y = {};
  };
  template <bool kWithEnds>
  VANTAGE_METHOD void step(Lanes& lanes, const f32x8 (&in)[1], const i32x8& valid, const i32x8&, f32x8 (&out)[1]) const {
    f32x8 factor;
    fill_with(factor, decay.first);
    out[0] = lanes.y;
    recurrences::affine_step(out[0], factor, in[0]);
    lanes.y = valid != 0 ? out[0] : lanes.y;
  }

  template <bool kWrite, bool kCopy>
  struct Steps {
    const T* rewards;
    T *returns, *copy;
    bool past_caches;
    template <class V>
    VANTAGE_METHOD void difference(V& b, V&, int64_t i) { fetch(b, rewards + i); }
    template <class V>
    VANTAGE_METHOD void put(int64_t i, const V& sum, const V&) {
      if constexpr (kWrite) put_at<kCopy>(returns, i, sum, past_caches, copy);
    }
  };
  template <bool kWrite, bool kCopy>
  VANTAGE_APART void scan_tile(TileOf& tile, State& state, double& product) const {
    const Steps<kWrite, kCopy> steps{tile.in[0], tile.out[0], tile.copy, tile.past_caches};
    if constexpr (kWrite) return scan_constant<T>(steps, tile.count, decay, state.y);
    sum_constant<T>(steps, tile.count, decay, state.y);
    product *= decay.power(tile.count);
  }
  template <bool kWrite>
  void scan(TileOf& tile, State& state, double& product) const {
    if constexpr (kWrite && TileOf::kCopies) if (tile.copy) return scan_tile<kWrite, true>(tile, state, product);
    scan_tile<kWrite, false>(tile, state, product);
  }
};

template <class T>
void run_gae(const KernelCall& call) {
  const TensorView *v = call.views, ends = optional(v[3]), returns = optional(v[6]);
  const int64_t rows = v[0].shape[0], time = v[0].shape[1], bytes = rows * time * static_cast<int64_t>((returns.data ? 4 : 3) * sizeof(T) + 1);
  Gae<T> gae{{{v[0], v[1], ends.data ? v[4] : absent(v[4])}, {v[5], returns}, v[2], ends, worth_streaming(bytes)},
             optional(v[7]), rows, time, static_cast<T>(call.scalars[0]), Decay(call.scalars[0] * call.scalars[1])};
  run_recurrence(gae);
}

template <class T>
void run_discounted_return(const KernelCall& call) {
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], time = v[0].shape[1], bytes = rows * time * static_cast<int64_t>(2 * sizeof(T) + 1);
  DiscountedReturn<T> problem{{{v[0]}, {v[2]}, v[1], absent(v[1]), worth_streaming(bytes)}, optional(v[3]), rows, time, Decay(call.scalars[0])};
  run_recurrence(problem);
}

}  // namespace

void gae(const KernelCall& call) { call.views[0].dtype == DType::f64 ? run_gae<double>(call) : run_gae<float>(call); }

void discounted_return(const KernelCall& call) {
  call.views[0].dtype == DType::f64 ? run_discounted_return<double>(call) : run_discounted_return<float>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
