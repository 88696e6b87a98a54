// softmax and log-softmax of rows.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "held_row.h"
#include "logits.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kShort = 1024;  // columns up to which a warp takes a row
constexpr size_t kOwnShared = 1024;  // bytes, at most, of a kernel's own variables

// ---- Rows of any layout ----------------------------------------------------------------------------------------------------

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

// ---- Rows that lie along memory --------------------------------------------------------------------------------------------

// What becomes of a logit x: with y = x in units of which `Exponent` is the exponential, e^(y - offset)/Σ, or (x - near) - (lse - near) with a number
// near the largest logit, so that no digits are lost to logits far from 0.
template <class T>
struct Softmax {
  bool log;
  T offset, factor, near, rest;

  __device__ __forceinline__ Softmax(const Totals<T>& t, bool log) : log(log), offset(t.offset), factor(static_cast<T>(1 / t.sum)) {
    near = static_cast<T>(static_cast<double>(t.offset) * Exponent<T>::kUnit);
    rest = static_cast<T>((static_cast<double>(t.offset) * Exponent<T>::kUnit - static_cast<double>(near)) + math::log(t.sum));
  }
  __device__ __forceinline__ static T scale() { return static_cast<T>(1 / Exponent<T>::kUnit); }
  __device__ __forceinline__ T operator()(T x) const { return log ? (x - near) - rest : Exponent<T>::of(fma(x, scale(), -offset)) * factor; }
};

// The totals of a block, in all of its threads.
template <int kWarps, class T>
__device__ __forceinline__ Totals<T> totals_in_all(Totals<T> t) {
  __shared__ Totals<T> shared[kWarps], all;
  join_block<kWarps>(t, shared);
  if (threadIdx.x == 0) all = t;
  __syncthreads();
  return all;
}

// A block has a row in its shared memory, and the next one is on its way while it writes.
template <class S, int kThreads>
__global__ void __launch_bounds__(kThreads) softmax_held(const Vectors<const S> x, const Vectors<S> out, int64_t rows, int64_t cols, int vectors, bool log) {
  using T = ComputedIn<S>;
  using Held = HeldRow<S, kThreads>;
  const Held held(dynamic_shared(), vectors);
  const auto find = [&](int64_t row) { return row < rows ? held.find(x, row, 0, cols) : typename Held::Place{}; };
  typename Held::Place place = find(blockIdx.x);
  held.fetch(x, place);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    Totals<T> t = no_totals<T>();
    held.first_pass(place, [&](const auto& read) { add<Held::kWidth>(t, Softmax<T>::scale(), read); }, [&](T one) {
      add<1>(t, Softmax<T>::scale(), [&](int) { return one; });
    });
    const Softmax<T> softmax(totals_in_all<kThreads / 32>(t), log);
    const typename Held::Place next = find(row + gridDim.x);
    held.last_pass(place, out, softmax, -1, softmax, x, next);
    place = next;
  }
}

// A row that no block can hold is read twice; there are as few at a time as the device has multiprocessors, so that a cache may have it the second time.
template <class S>
__global__ void __launch_bounds__(kRowThreads<S>) softmax_long(const Vectors<const S> x, const Vectors<S> out, int64_t rows, int64_t cols, bool log) {
  using T = ComputedIn<S>;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const Softmax<T> softmax(totals_in_all<kRowThreads<S> / 32>(totals_of<kRowThreads<S>, S>(x, row, 0, cols, Softmax<T>::scale())), log);
    map_row<kRowThreads<S>, S>(x, out, row, 0, cols, softmax, -1, softmax);
  }
}

template <class S, int kThreads>
void run_held(const TensorView& x, const TensorView& out, int vectors, bool log) {
  const size_t bytes = static_cast<size_t>(vectors) * 16;
  const auto kernel = softmax_held<S, kThreads>;
  if (bytes + kOwnShared > kFreeShared) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), "softmax");
  int resident = 1;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, kThreads, bytes), "softmax");
  const int64_t blocks = std::min<int64_t>(x.shape[0], int64_t{std::max(1, resident)} * device().multiprocessors);
  launch("softmax", kernel, dim3(static_cast<unsigned>(blocks)), kThreads, bytes, vectors_of<const S>(x), vectors_of<S>(out), x.shape[0], x.shape[1], vectors, log);
}

template <class S>
void run_along(const TensorView& x, const TensorView& out, bool log) {
  const int64_t vectors = x.shape[1] / Vectors<S>::kWidth;
  if (static_cast<size_t>(vectors) * 16 + kOwnShared > device().most_shared) {
    const int64_t blocks = std::min<int64_t>(x.shape[0], device().multiprocessors);
    return launch("softmax", softmax_long<S>, dim3(static_cast<unsigned>(blocks)), kRowThreads<S>, 0, vectors_of<const S>(x), vectors_of<S>(out), x.shape[0], x.shape[1], log);
  }
  // Threads that have a few vectors each: enough to be on their way at once, and still many blocks on a multiprocessor.
  if (vectors <= 1024) return run_held<S, 128>(x, out, static_cast<int>(vectors), log);
  if (vectors <= 4096) return run_held<S, 512>(x, out, static_cast<int>(vectors), log);
  run_held<S, 1024>(x, out, static_cast<int>(vectors), log);
}

template <class T>
void run(const KernelCall& call) {
  const TensorView &x = call.views[0], &out = call.views[1];
  const int64_t rows = x.shape[0], cols = x.shape[1];
  const bool log = call.attributes[0] != 0;
  if (rows == 0) return;
  if (cols > kShort && x.dtype == out.dtype && x.strides[1] == 1) {
    switch (x.dtype) {
      case DType::f64: return run_along<double>(x, out, log);
      case DType::bf16: return run_along<bf16>(x, out, log);
      default: return run_along<float>(x, out, log);
    }
  }
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
