// Generalised advantage estimation: the scan of recurrences.h's gae_target.
#include "../core/kernel_arguments.h"
#include "scan_segments.h"

namespace vantage::cuda {
namespace {

template <class T, bool ends_given>
struct Gae {
  using Type = T;
  static constexpr bool kReverse = true, kNext = false, kMoments = true, kCuts = ends_given, kConstant = true;

  // Outputs take the place of inputs: rewards become advantages, values returns.
  struct Chunk {
    T r[4], v[4];
    uint32_t valid, end;
  };

  Rows<T> rewards, values;
  Rows<uint8_t> mask, ends;
  Rows<T> bootstrap, advantages, returns;  // returns.data may be null
  double gamma, lambda;
  Powers powers;         // of γλ
  Rows<double> moments;  // may be null

  __device__ __forceinline__ void load(Chunk& c, const Four& at) const {
    cuda::load(c.r, rewards, at);
    cuda::load(c.v, values, at);
    c.valid = load_bytes(mask, at);
    if constexpr (kCuts) c.end = load_bytes(ends, at);
  }
  __device__ __forceinline__ void prepare(Chunk& c, const Four& at) const {
    if constexpr (kCuts) {
      const uint32_t counts = ones_of(c.valid);
      c.valid = counts + (counts & ones_of(c.end));  // 2 for an end: kCut
      // What a truncated step adds is known now: nothing else comes in from later steps.
      const uint32_t others = c.end ^ recurrences::kTruncated * 0x01010101u;
      if (has_all_bytes(others | ~(counts * 0xffu))) return;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (has_byte(counts, i) && !has_byte(others, i)) c.r[i] += static_cast<T>(gamma) * bootstrap.at(at.row, at.t + i);
      }
    }
  }
  __device__ __forceinline__ double addend(const Chunk& c, int i) const {
    double addend;
    recurrences::gae_addend(addend, static_cast<double>(c.r[i]), static_cast<double>(c.v[i]), lambda);
    return addend;
  }
  __device__ __forceinline__ void finish(Chunk& c, int i, double& target) const {
    double advantage;
    const double reward = static_cast<double>(c.r[i]), value = static_cast<double>(c.v[i]);
    recurrences::gae_difference(advantage, reward, value, is_cut<Gae>(c, i) ? 0 : target, gamma);
    recurrences::gae_target(target, advantage, value, lambda);
    c.r[i] = static_cast<T>(advantage);
    c.v[i] += c.r[i];
  }
  __device__ __forceinline__ void clear(Chunk& c, int i) const { c.r[i] = 0, c.v[i] = 0; }
  __device__ __forceinline__ const T (&observed(const Chunk& c) const)[4] { return c.r; }
  __device__ __forceinline__ void store(const Chunk& c, const Four& at) const {
    cuda::store(advantages, at, c.r);
    if (returns.data) cuda::store(returns, at, c.v);
  }
  __device__ __forceinline__ double initial(int64_t) const { return 0; }
};

template <class T, bool ends_given>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const double gamma = call.scalars[0], lambda = call.scalars[1];
  const Gae<T, ends_given> f = {rows_of<T>(v[0]), rows_of<T>(v[1]), rows_of<uint8_t>(v[2]), optional_rows<uint8_t>(v[3]), rows_of<T>(v[4]),
                                rows_of<T>(v[5]), optional_rows<T>(v[6]), gamma, lambda, Powers(gamma * lambda), optional_rows<double>(v[7])};
  scan_rows("gae", f, fours_of(v[0], {v + 1, v + 2, v + 3, v + 5, v + 6}));
}

template <class T>
void run_either(const KernelCall& call) {
  call.views[3].size() > 0 ? run<T, true>(call) : run<T, false>(call);
}

}  // namespace

void gae(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run_either<double>(call) : run_either<float>(call);
}

}  // namespace vantage::cuda
