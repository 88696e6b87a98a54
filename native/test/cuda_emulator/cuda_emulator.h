// CUDA's execution model on a CPU, for tests on machines without a GPU: the files of native/cuda are compiled as C++ against this header in place of
// cuda_runtime.h. Every thread of a block is a fiber; a block runs at a time; barriers and warp functions switch fibers. It checks what
// a GPU would refuse (launch limits) or hang on (a barrier that not every thread reaches); device memory is poisoned when it is allocated.
//
// What it cannot show: timing, memory ordering between blocks, and races that need two threads inside of the same instruction. The order of the fibers
// is shuffled by the seed in VANTAGE_EMULATOR_SEED, so that a missing barrier changes results.
// Blocks run one at a time, by a seed in another order than that of their numbers: a block may wait for one that began earlier, which a ticket tells, never for a
// later one (no grid-wide barrier). The blocks of a cluster run
// together; __shared__ variables are then theirs in common, so that kernels for clusters keep what they share in the dynamic memory.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define VANTAGE_VECTOR_TYPES(type, name, two, four)                                                              \
  struct alignas(two) name##2 {                                                                                   \
    type x, y;                                                                                                    \
  };                                                                                                              \
  struct alignas(four) name##4 {                                                                                  \
    type x, y, z, w;                                                                                              \
  };                                                                                                              \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                                \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
VANTAGE_VECTOR_TYPES(float, float, 8, 16)
VANTAGE_VECTOR_TYPES(int, int, 8, 16)
VANTAGE_VECTOR_TYPES(unsigned, uint, 8, 16)
VANTAGE_VECTOR_TYPES(unsigned char, uchar, 2, 4)
VANTAGE_VECTOR_TYPES(unsigned short, ushort, 4, 8)
#undef VANTAGE_VECTOR_TYPES
struct alignas(16) double2 {
  double x, y;
};
inline double2 make_double2(double x, double y) { return {x, y}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_emulator {

// One launch. Throws nothing; a launch that a GPU would refuse sets the last error, a deadlock ends the process with a message.
void launch(const std::function<void()>& thread, dim3 grid, dim3 block, size_t dynamic_shared, size_t parameter_bytes, unsigned blocks_of_cluster = 1);
void block_barrier();
void warp_barrier(unsigned mask);
// Where a lane of the running thread's warp leaves a value for the others.
void* lane_slot(unsigned lane);
unsigned lane();
unsigned live_lanes();
char* dynamic_shared();
unsigned cluster_rank();
void cluster_barrier();
// Where another block of the cluster has what stands at an address of this block's dynamic memory.
void* shared_of_rank(void* mine, unsigned rank);
int count_across_block(bool predicate);  // also a barrier
// Lets other threads of the block run, in a loop that waits for one of them.
void yield();

template <class T, class Read>
auto exchange(unsigned mask, T value, Read read) {
  static_assert(sizeof(T) <= 16);
  std::memcpy(lane_slot(lane()), &value, sizeof(T));
  warp_barrier(mask);
  auto result = read([](unsigned from) {
    T other;
    std::memcpy(&other, lane_slot(from), sizeof(T));
    return other;
  });
  warp_barrier(mask);
  return result;
}

}  // namespace cuda_emulator

// ---- Device functions --------------------------------------------------------------------------------------------------

inline void __syncthreads() { cuda_emulator::block_barrier(); }
inline int __syncthreads_count(int predicate) { return cuda_emulator::count_across_block(predicate != 0); }
inline int __syncthreads_or(int predicate) { return cuda_emulator::count_across_block(predicate != 0) > 0; }
inline int __syncthreads_and(int predicate) { return cuda_emulator::count_across_block(predicate == 0) == 0; }
inline void __syncwarp(unsigned mask = ~0u) { cuda_emulator::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { cuda_emulator::yield(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned base = cuda_emulator::lane() & ~(width - 1u);
  return cuda_emulator::exchange(mask, value, [&](auto at) { return at(base + (source & (width - 1))); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = cuda_emulator::lane(), first = lane & ~(width - 1u);
  return cuda_emulator::exchange(mask, value, [&](auto at) { return lane >= first + delta ? at(lane - delta) : value; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = cuda_emulator::lane(), end = (lane & ~(width - 1u)) + width;
  return cuda_emulator::exchange(mask, value, [&](auto at) { return lane + delta < end ? at(lane + delta) : value; });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const unsigned lane = cuda_emulator::lane(), other = lane ^ lanes;
  return cuda_emulator::exchange(mask, value, [&](auto at) { return other < (lane & ~(width - 1u)) + width ? at(other) : value; });
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return cuda_emulator::exchange(mask, predicate, [&](auto at) {
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (mask >> lane & 1 && cuda_emulator::live_lanes() >> lane & 1 && at(lane) != 0) bits |= 1u << lane;
    }
    return bits;
  });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}
template <class T>
void __stcg(T* to, T value) {
  *to = value;
}

template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <class T>
T atomicMax(T* at, T value) {
  const T old = *at;
  *at = std::max(old, value);
  return old;
}
template <class T>
T atomicMin(T* at, T value) {
  const T old = *at;
  *at = std::min(old, value);
  return old;
}
template <class T>
T atomicExch(T* at, T value) {
  const T old = *at;
  *at = value;
  return old;
}
template <class T>
T atomicCAS(T* at, T compare, T value) {
  const T old = *at;
  if (old == compare) *at = value;
  return old;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline float __uint_as_float(unsigned x) {
  float value;
  std::memcpy(&value, &x, 4);
  return value;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline long long __double_as_longlong(double x) {
  long long bits;
  std::memcpy(&bits, &x, 8);
  return bits;
}
inline double __longlong_as_double(long long x) {
  double value;
  std::memcpy(&value, &x, 8);
  return value;
}
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }

// ---- Runtime functions ---------------------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
namespace cuda_emulator {
extern cudaError_t last_error;  // what cudaGetLastError gives and forgets
}
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrPageableMemoryAccessUsesHostPageTables = 100,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocMapped = 2, cudaHostAllocPortable = 1;

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
};
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);

cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

namespace cuda_emulator {
void allow_dynamic_shared(const void* kernel, size_t bytes);
size_t allowed_dynamic_shared(const void* kernel);
}  // namespace cuda_emulator
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  cuda_emulator::allow_dynamic_shared(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int threads, size_t) {
  *blocks = std::max(1, 640 / threads);  // of a kernel with about a hundred registers a thread
  return cudaSuccess;
}
