// y_t = a_t·y + b_t along rows, in either direction.
#include "../core/kernel_arguments.h"
#include "scan_segments.h"

namespace vantage::cuda {
namespace {

template <class S, bool reverse>
struct AffineScan {
  using Type = ComputedIn<S>;
  static constexpr bool kReverse = reverse, kNext = false, kMoments = false, kCuts = false, kConstant = false;

  struct Chunk {
    S a[4], b[4];  // b becomes y
    uint32_t valid;
  };

  Rows<S> a, b;
  const S* start;
  int64_t start_step;
  Rows<S> out;

  __device__ __forceinline__ void load(Chunk& c, const Four& at) const {
    cuda::load(c.a, a, at);
    cuda::load(c.b, b, at);
    c.valid = 0x01010101u;
    if (at.whole) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) c.valid &= at.holds(i) ? ~0u : ~(0xffu << (8 * i));
  }
  __device__ __forceinline__ void prepare(Chunk&, const Four&) const {}
  __device__ __forceinline__ double factor(const Chunk& c, int i) const { return static_cast<double>(load_as_computed(c.a[i])); }
  __device__ __forceinline__ double addend(const Chunk& c, int i) const { return static_cast<double>(load_as_computed(c.b[i])); }
  __device__ __forceinline__ void finish(Chunk& c, int i, double& state) const {
    recurrences::affine_step(state, factor(c, i), addend(c, i));
    c.b[i] = store_as<S>(state);
  }
  __device__ __forceinline__ void clear(Chunk&, int) const {}
  __device__ __forceinline__ void store(const Chunk& c, const Four& at) const { cuda::store(out, at, c.b); }
  __device__ __forceinline__ double initial(int64_t row) const { return static_cast<double>(load_as_computed(start[row * start_step])); }
};

template <class S, bool reverse>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const AffineScan<S, reverse> f = {rows_of<S>(v[0]), rows_of<S>(v[1]), v[2].as<const S>(), v[2].strides[0], rows_of<S>(v[3])};
  scan_rows("affine_scan", f, fours_of(v[0], {v + 1, v + 3}));
}

template <class S>
void run_either(const KernelCall& call) {
  call.attributes[0] != 0 ? run<S, true>(call) : run<S, false>(call);
}

}  // namespace

void affine_scan(const KernelCall& call) {
  check_arguments(call);
  switch (call.views[0].dtype) {
    case DType::f64: return run_either<double>(call);
    case DType::bf16: return run_either<bf16>(call);
    default: return run_either<float>(call);
  }
}

}  // namespace vantage::cuda
