// softmax and log-softmax of rows.
#include "../core/kernel_arguments.h"
#include "device.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kShort = 1024;  // columns up to which a warp takes a row

template <class T>
struct Maximum {
  __device__ static __forceinline__ T of(T a, T b) { return fmax(a, b); }
};
struct Sum {
  __device__ static __forceinline__ double of(double a, double b) { return a + b; }
};

// Of a team of lanes, in all of them; always in the same order.
template <class Operation, int kLanes, class T>
__device__ __forceinline__ T team_reduce(T x, T* shared) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) x = Operation::of(x, __shfl_xor_sync(kAllLanes, x, d));
  if constexpr (kLanes > 32) {
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int w = 1; w < kLanes / 32; ++w) x = Operation::of(x, shared[w]);
  }
  return x;
}

// The row is read three times; from the second time on it comes from a cache.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) softmax_rows(const AnyMatrix x, const AnyMatrix out, int64_t rows, int64_t cols, bool log) {
  __shared__ T shared_max[kThreads / 32];
  __shared__ double shared_sum[kThreads / 32];
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const int lane = threadIdx.x % kLanes;
  if (row >= rows) return;  // whole warps
  T max = static_cast<T>(-__builtin_inf());
  for (int64_t i = lane; i < cols; i += kLanes) max = fmax(max, x.read<T>(row, i));
  max = team_reduce<Maximum<T>, kLanes>(max, shared_max);
  double total = 0;
  for (int64_t i = lane; i < cols; i += kLanes) total += static_cast<double>(math::exp(x.read<T>(row, i) - max));
  total = team_reduce<Sum, kLanes>(total, shared_sum);
  const T factor = static_cast<T>(1 / total), offset = static_cast<T>(log ? math::log(total) : 0);
  for (int64_t i = lane; i < cols; i += kLanes) {
    const T shifted = x.read<T>(row, i) - max;
    out.write(row, i, log ? shifted - offset : math::exp(shifted) * factor);
  }
}

template <class T>
void run(const KernelCall& call) {
  const TensorView &x = call.views[0], &out = call.views[1];
  const int64_t rows = x.shape[0], cols = x.shape[1];
  const bool log = call.attributes[0] != 0;
  if (cols <= kShort) {
    launch("softmax", softmax_rows<T, 32>, dim3(static_cast<unsigned>(ceil_div(rows * 32, kThreads))), kThreads, 0, matrix_of(x), matrix_of(out), rows, cols, log);
  } else {
    launch("softmax", softmax_rows<T, kThreads>, dim3(static_cast<unsigned>(rows)), kThreads, 0, matrix_of(x), matrix_of(out), rows, cols, log);
  }
}

}  // namespace

void softmax(const KernelCall& call) {
  check_arguments(call);
  const bool wide = call.views[0].dtype == DType::f64 || call.views[1].dtype == DType::f64;
  wide ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
