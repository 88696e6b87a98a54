// The discounted return, G = r + γ·G_next.
#include "../core/kernel_arguments.h"
#include "scan_segments.h"

namespace vantage::cuda {
namespace {

template <class T>
struct DiscountedReturn {
  using Type = T;
  static constexpr bool kReverse = true, kNext = false, kMoments = true, kCuts = false, kConstant = true;

  struct Chunk {
    T r[4];  // becomes the return
    uint32_t valid;
  };

  Rows<T> rewards;
  Rows<uint8_t> mask;
  Rows<T> returns;
  Powers powers;         // of γ
  Rows<double> moments;  // moments.data may be null

  __device__ __forceinline__ void load(Chunk& c, const Four& at) const {
    cuda::load(c.r, rewards, at);
    c.valid = load_bytes(mask, at);
  }
  __device__ __forceinline__ void prepare(Chunk&, const Four&) const {}
  __device__ __forceinline__ double addend(const Chunk& c, int i) const { return static_cast<double>(c.r[i]); }
  __device__ __forceinline__ void finish(Chunk& c, int i, double& state) const {
    recurrences::affine_step(state, powers.step, addend(c, i));
    c.r[i] = static_cast<T>(state);
  }
  __device__ __forceinline__ void clear(Chunk& c, int i) const { c.r[i] = 0; }
  __device__ __forceinline__ const T (&observed(const Chunk& c) const)[4] { return c.r; }
  __device__ __forceinline__ void store(const Chunk& c, const Four& at) const { cuda::store(returns, at, c.r); }
  __device__ __forceinline__ double initial(int64_t) const { return 0; }
};

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const DiscountedReturn<T> f = {rows_of<T>(v[0]), rows_of<uint8_t>(v[1]), rows_of<T>(v[2]), Powers(call.scalars[0]),
                                 optional_rows<double>(v[3])};
  scan_rows("discounted_return", f, fours_of(v[0], {v + 1, v + 2}));
}

}  // namespace

void discounted_return(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
