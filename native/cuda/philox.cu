// Random tensors: element i is word i%4 of block counter + i/4.
#include "../core/philox.h"

#include <type_traits>

#include "../core/kernel_arguments.h"
#include "device.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

enum class Distribution : int { bits = 0, uniform = 1, normal = 2 };

// A thread a block of the generator, which is four elements.
template <class T>
__global__ void __launch_bounds__(kThreads) generate(T* out, int64_t size, Distribution distribution, uint32_t key_low, uint32_t key_high, uint64_t counter) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index * 4 >= size) return;
  const PhiloxBlock block = vantage::philox(key_low, key_high, counter + static_cast<uint64_t>(index));
  T x[4];
  if constexpr (std::is_same_v<T, int32_t>) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = static_cast<int32_t>(block.words[i]);
  } else if (distribution == Distribution::uniform) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = static_cast<T>(philox_uniform(block.words[i]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      float cosine, sine;
      philox_normal_pair(cosine, sine, block.words[i], block.words[i + 1]);
      x[i] = static_cast<T>(cosine), x[i + 1] = static_cast<T>(sine);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (index * 4 + i < size) out[index * 4 + i] = x[i];
  }
}

}  // namespace

void philox(const KernelCall& call) {
  check_arguments(call);
  const TensorView& out = call.views[0];
  const auto run = [&](auto* data) {
    launch("philox", generate<std::remove_pointer_t<decltype(data)>>, dim3(static_cast<unsigned>(ceil_div(ceil_div(out.size(), 4), kThreads))), kThreads, 0,
           data, out.size(), static_cast<Distribution>(static_cast<int>(call.attributes[0])), static_cast<uint32_t>(call.scalars[0]),
           static_cast<uint32_t>(call.scalars[1]), static_cast<uint64_t>(call.scalars[2]));
  };
  switch (out.dtype) {
    case DType::i32: return run(out.as<int32_t>());
    case DType::f64: return run(out.as<double>());
    default: return run(out.as<float>());
  }
}

}  // namespace vantage::cuda
