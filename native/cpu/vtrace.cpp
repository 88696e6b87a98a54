// V-trace targets and advantages over masks with holes; formulas in recurrences.h.
#include "../core/kernels.h"
#include "recurrence_rows.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
struct Vtrace {
  enum In { target_log_probs, behaviour_log_probs, rewards, values };
  enum Out { targets, advantages };
  using TileOf = Tile<T, 4, 2>;
  static constexpr bool kForward = false, kShortRows = false;
  struct State {
    double y;  // v − V
    T next;    // the value of the next valid step
  };
  struct Clips {
    T gamma, rho, c, pg_rho;
  };

  typename TileOf::Views views;
  TensorView bootstrap, moments;
  int64_t rows, time;
  Clips clips;
  double decay;  // γλ

  const typename TileOf::Views& arrays() const { return views; }
  State start(int64_t row) const { return {0, bootstrap.as<const T>()[row * bootstrap.strides[0]]}; }
  State start_of_segment(int64_t row, int64_t, int64_t stop) const { return {0, next_valid(views.in[values], views.mask, row, stop, start(row).next)}; }

  template <bool kWrite>
  struct Steps {
    static constexpr bool kCuts = false;
    const T *rewards, *values, *weights;
    T *targets, *advantages;
    Clips clips;
    T next, target;  // of the step after
    bool past_caches;

    template <class V>
    VANTAGE_METHOD void map(V& a, V& b, int64_t i) {
      V reward, value, following, weight, rho, gamma, limit;
      fetch(reward, rewards + i);
      fetch(value, values + i);
      load_at(weight, weights + i);
      shift_in(following, value, next);
      next = values[i];
      fill_with(gamma, clips.gamma);
      fill_with(limit, clips.rho);
      recurrences::vtrace_clip(rho, weight, limit);
      fill_with(limit, clips.c);
      recurrences::vtrace_clip(a, weight, limit);
      recurrences::vtrace_difference(b, reward, value, following, rho, gamma);
    }
    template <class V>
    VANTAGE_METHOD void put(int64_t i, const V& y) {
      if constexpr (kWrite) {
        V reward, value, following, weight, rho, gamma, limit, advantage;
        load_at(reward, rewards + i);
        load_at(value, values + i);
        load_at(weight, weights + i);
        fill_with(gamma, clips.gamma);
        fill_with(limit, clips.pg_rho);
        recurrences::vtrace_clip(rho, weight, limit);
        const V sum = value + y;
        shift_in(following, sum, target);
        target = first_of(sum);
        recurrences::vtrace_advantage(advantage, reward, value, following, rho, gamma);
        put_at(targets + i, sum, past_caches);
        put_at(advantages + i, advantage, past_caches);
      }
    }
  };

  template <bool kWrite>
  VANTAGE_APART void scan(TileOf& tile, State& state, double& product) const {
    if (tile.count == 0) return;
    alignas(64) T weights[kTile];
    const T *ours = tile.in[target_log_probs], *theirs = tile.in[behaviour_log_probs];
    const auto weigh = [&](int64_t i) { weights[i] = math::exp(ours[i] - theirs[i]); };
    constexpr int64_t kLine = 64 / sizeof(T);
    const int64_t whole = tile.count / kLine * kLine;
    for (int64_t i = whole; i < tile.count; ++i) weigh(i);
    for (int64_t line = whole - kLine; line >= 0; line -= kLine) {
      for (const T* from : {ours, theirs}) prefetch_ahead<kForward>(from + line, kTile * sizeof(T));
      for (int64_t i = 0; i < kLine; ++i) weigh(line + i);
    }
    const Steps<kWrite> steps{tile.in[rewards],     tile.in[values], weights,    tile.out[targets],
                              tile.out[advantages], clips,           state.next, state.next + static_cast<T>(state.y), tile.past_caches};
    scan_lanes<T, false>(steps, tile.count, decay, state.y, product);
    state.next = tile.in[values][0];
  }
};

template <class T>
void run_vtrace(const KernelCall& call) {
  const TensorView* v = call.views;
  const double* s = call.scalars;
  const int64_t rows = v[0].shape[0], time = v[0].shape[1], bytes = rows * time * static_cast<int64_t>(6 * sizeof(T) + 1);
  const TensorView none = absent(v[4]);
  Vtrace<T> vtrace{{{v[0], v[1], v[2], v[3]}, {v[6], v[7]}, v[4], none, worth_streaming(bytes)},
                   v[5], none, rows, time,
                   {static_cast<T>(s[0]), static_cast<T>(s[2]), static_cast<T>(s[3]), static_cast<T>(s[4])}, s[0] * s[1]};
  run_recurrence(vtrace);
}

}  // namespace

void vtrace(const KernelCall& call) { call.views[0].dtype == DType::f64 ? run_vtrace<double>(call) : run_vtrace<float>(call); }

}  // namespace vantage::cpu::VANTAGE_ISA
