// Generalised advantage estimation: the scan of recurrences.h's gae_target.
#include "../core/kernel_arguments.h"
#include "scan.h"

namespace vantage::cuda {
namespace {

template <class T>
struct Gae {
  using Type = T;
  static constexpr bool kReverse = true, kNext = false, kMoments = true;
  static constexpr uint32_t kLast = 2;  // in a byte of `valid`: the last step of its episode

  // Outputs take the place of inputs: rewards become advantages, values returns.
  struct Chunk {
    T r[4], v[4];
    uint32_t valid;
  };

  Rows<T> rewards, values;
  Rows<uint8_t> mask, ends;  // ends.data may be null
  Rows<T> bootstrap, advantages, returns;  // returns.data may be null
  double gamma, lambda;
  Rows<double> moments;  // likewise

  __device__ __forceinline__ void load(Chunk& c, const Four& at) const {
    cuda::load(c.r, rewards, at);
    cuda::load(c.v, values, at);
    c.valid = load_bytes(mask, at);
    if (!ends.data) return;
    const uint32_t end = load_bytes(ends, at);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (byte_of(c.valid, i) == 0) continue;
      c.valid = (c.valid & ~(0xffu << (8 * i))) | (byte_of(end, i) ? kLast : 1u) << (8 * i);
      // What a truncated step adds is known now: nothing else comes in from later steps.
      if (byte_of(end, i) == recurrences::kTruncated) c.r[i] += static_cast<T>(gamma) * bootstrap.at(at.row, at.t + i);
    }
  }
  __device__ __forceinline__ bool ends_at(const Chunk& c, int i) const { return ends.data && byte_of(c.valid, i) == kLast; }
  __device__ __forceinline__ double advantage_of(const Chunk& c, int i, double next_target) const {
    double advantage;
    recurrences::gae_difference(advantage, static_cast<double>(c.r[i]), static_cast<double>(c.v[i]), next_target, gamma);
    return advantage;
  }
  __device__ __forceinline__ Map map(const Chunk& c, int i) const {
    Map map = {ends_at(c, i) ? -0.0 : gamma * lambda, 0};
    recurrences::gae_target(map.b, advantage_of(c, i, 0), static_cast<double>(c.v[i]), lambda);
    return map;
  }
  __device__ __forceinline__ void finish(Chunk& c, int i, double& target) const {
    const double advantage = advantage_of(c, i, ends_at(c, i) ? 0 : target);
    recurrences::gae_target(target, advantage, static_cast<double>(c.v[i]), lambda);
    c.r[i] = static_cast<T>(advantage);
    c.v[i] += c.r[i];
  }
  __device__ __forceinline__ void clear(Chunk& c, int i) const { c.r[i] = 0, c.v[i] = 0; }
  __device__ __forceinline__ double observed(const Chunk& c, int i) const { return static_cast<double>(c.r[i]); }
  __device__ __forceinline__ void store(const Chunk& c, const Four& at) const {
    cuda::store(advantages, at, c.r);
    if (returns.data) cuda::store(returns, at, c.v);
  }
  __device__ __forceinline__ double initial(int64_t) const { return 0; }
};

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const Gae<T> f = {rows_of<T>(v[0]), rows_of<T>(v[1]), rows_of<uint8_t>(v[2]), optional_rows<uint8_t>(v[3]), rows_of<T>(v[4]), rows_of<T>(v[5]),
                    optional_rows<T>(v[6]), call.scalars[0], call.scalars[1], optional_rows<double>(v[7])};
  scan_rows("gae", f, fours_of(v[0], {v + 1, v + 2, v + 3, v + 5, v + 6}));
}

}  // namespace

void gae(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
