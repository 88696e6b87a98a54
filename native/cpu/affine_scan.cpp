// y = b + a·y_before along rows, with a coefficient for each step, in either direction.
#include "../core/kernels.h"
#include "recurrence_rows.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T, bool kReverse>
struct AffineScan {
  enum In { a, b };
  using TileOf = Tile<T, 2, 1>;
  static constexpr bool kForward = !kReverse, kShortRows = false;
  struct State {
    double y;
  };

  typename TileOf::Views views;
  TensorView initial, moments;
  int64_t rows, time;

  const typename TileOf::Views& arrays() const { return views; }
  State start(int64_t row) const {
    const int64_t offset = row * initial.strides[0];
    if (initial.dtype == DType::bf16) return {static_cast<double>(math::from_bfloat16(initial.as<const uint16_t>()[offset]))};
    return {static_cast<double>(initial.as<const T>()[offset])};
  }
  State start_of_segment(int64_t, int64_t, int64_t) const { return {0}; }

  template <bool kWrite>
  struct Steps {
    static constexpr bool kCuts = false;
    const T *factors, *terms;
    T* out;
    bool past_caches;
    template <class V>
    VANTAGE_METHOD void map(V& factor, V& term, int64_t i) {
      fetch<kForward>(factor, factors + i);
      fetch<kForward>(term, terms + i);
    }
    template <class V>
    VANTAGE_METHOD void put(int64_t i, const V& y) {
      if constexpr (kWrite) put_at(out + i, y, past_caches);
    }
  };
  template <bool kWrite>
  VANTAGE_APART void scan(TileOf& tile, State& state, double& product) const {
    const Steps<kWrite> steps{tile.in[a], tile.in[b], tile.out[0], tile.past_caches};
    scan_lanes<T, kForward>(steps, tile.count, 1, state.y, product);
  }
};

template <class T, bool kReverse>
void run_affine_scan(const KernelCall& call) {
  const TensorView* v = call.views;
  const int64_t rows = v[0].shape[0], time = v[0].shape[1], bytes = rows * time * 3 * static_cast<int64_t>(byte_size(v[0].dtype));
  const TensorView none = absent(v[0]);
  const AffineScan<T, kReverse> problem{{{v[0], v[1]}, {v[3]}, none, none, worth_streaming(bytes)}, v[2], none, rows, time};
  run_recurrence(problem);
}

}  // namespace

void affine_scan(const KernelCall& call) {
  const bool reverse = call.attributes[0] != 0;
  if (call.views[0].dtype == DType::f64) reverse ? run_affine_scan<double, true>(call) : run_affine_scan<double, false>(call);
  else reverse ? run_affine_scan<float, true>(call) : run_affine_scan<float, false>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
