// V-trace targets and advantages.
#include "../core/kernel_arguments.h"
#include "scan_segments.h"

namespace vantage::cuda {
namespace {

template <class T>
struct Vtrace {
  using Type = T;
  static constexpr bool kReverse = true, kNext = true, kMoments = false, kCuts = false, kConstant = false;

  // w = exp(log π − log μ); `next` is V'. They take the place of log π and log μ, later targets that of w, advantages that of rewards.
  struct Chunk {
    T w[4], r[4], v[4], next[4];
    uint32_t valid;
  };

  Rows<T> target_log_probs, behaviour_log_probs, rewards, values;
  Rows<uint8_t> mask;
  const T* bootstrap;
  int64_t bootstrap_step;
  Rows<T> targets, advantages;
  double gamma, lambda, clip_rho, clip_c, clip_pg_rho;

  __device__ __forceinline__ void load(Chunk& c, const Four& at) const {
    cuda::load(c.w, target_log_probs, at);
    cuda::load(c.next, behaviour_log_probs, at);
    cuda::load(c.r, rewards, at);
    cuda::load(c.v, values, at);
    c.valid = load_bytes(mask, at);
  }
  __device__ __forceinline__ void prepare(Chunk& c, const Four&) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) c.w[i] = math::exp(c.w[i] - c.next[i]);
  }
  __device__ __forceinline__ T value(const Chunk& c, int i) const { return c.v[i]; }
  __device__ __forceinline__ void set_next(Chunk& c, int i, T value) const { c.next[i] = value; }
  __device__ __forceinline__ double clipped(const Chunk& c, int i, double limit) const {
    double weight;
    recurrences::vtrace_clip(weight, static_cast<double>(c.w[i]), limit);
    return weight;
  }
  __device__ __forceinline__ double factor(const Chunk& c, int i) const { return gamma * lambda * clipped(c, i, clip_c); }
  __device__ __forceinline__ double addend(const Chunk& c, int i) const {
    double difference;
    recurrences::vtrace_difference(difference, static_cast<double>(c.r[i]), static_cast<double>(c.v[i]), static_cast<double>(c.next[i]),
                                   clipped(c, i, clip_rho), gamma);
    return difference;
  }
  __device__ __forceinline__ void finish(Chunk& c, int i, double& difference) const {
    const double value = static_cast<double>(c.v[i]), next_target = static_cast<double>(c.next[i]) + difference;
    double advantage;
    recurrences::vtrace_advantage(advantage, static_cast<double>(c.r[i]), value, next_target, clipped(c, i, clip_pg_rho), gamma);
    recurrences::affine_step(difference, factor(c, i), addend(c, i));
    c.w[i] = static_cast<T>(value + difference);
    c.r[i] = static_cast<T>(advantage);
  }
  __device__ __forceinline__ void clear(Chunk& c, int i) const { c.w[i] = 0, c.r[i] = 0; }
  __device__ __forceinline__ void store(const Chunk& c, const Four& at) const {
    cuda::store(targets, at, c.w);
    cuda::store(advantages, at, c.r);
  }
  __device__ __forceinline__ double initial(int64_t) const { return 0; }
  __device__ __forceinline__ T initial_next(int64_t row) const { return bootstrap[row * bootstrap_step]; }
};

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const double* s = call.scalars;
  const Vtrace<T> f = {rows_of<T>(v[0]), rows_of<T>(v[1]), rows_of<T>(v[2]), rows_of<T>(v[3]), rows_of<uint8_t>(v[4]), v[5].as<const T>(),
                       v[5].strides[0], rows_of<T>(v[6]), rows_of<T>(v[7]), s[0], s[1], s[2], s[3], s[4]};
  scan_rows("vtrace", f, fours_of(v[0], {v + 1, v + 2, v + 3, v + 4, v + 6, v + 7}));
}

}  // namespace

void vtrace(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
