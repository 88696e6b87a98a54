// Launching kernels, on a GPU or (in tests) under the emulation of native/test/cuda_emulator. Included by .cu files only.
#pragma once
#include "runtime.h"

namespace vantage::cuda {

// Most blocks that a grid may have along x; kernels that walk more than that stride by the grid.
constexpr int64_t kMaxGrid = 0x7fffffff;

// Shared memory that a block has without asking: a kernel's own and what the launch adds. More has to be allowed with cudaFuncSetAttribute.
constexpr size_t kFreeShared = 48 * 1024;

// kernel<<<grid, block, shared>>>(arguments...) on the stream; `what` names the operation in errors. Arguments are converted to the parameters' types.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef VANTAGE_CUDA_EMULATED
  if (shared > kFreeShared && shared > cuda_emulator::allowed_dynamic_shared(reinterpret_cast<const void*>(kernel))) {
    check(cudaErrorInvalidValue, what);
  }
  cuda_emulator::launch([&] { kernel(static_cast<Parameters>(arguments)...); }, grid, block, shared, (sizeof(Parameters) + ... + 0));
#else
  kernel<<<grid, block, shared, stream()>>>(static_cast<Parameters>(arguments)...);
#endif
  check(cudaGetLastError(), what);
}

#ifndef VANTAGE_CUDA_EMULATED
inline cudaLaunchConfig_t cluster_configuration(cudaLaunchAttribute& attribute, unsigned size, dim3 grid, dim3 block, size_t shared) {
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {size, 1, 1};
  cudaLaunchConfig_t configuration = {};
  configuration.gridDim = grid, configuration.blockDim = block;
  configuration.dynamicSmemBytes = shared;
  configuration.stream = stream();
  configuration.attrs = &attribute, configuration.numAttrs = 1;
  return configuration;
}
#endif

// The same, in clusters of `size` blocks that run together (compute capability 9.0). The grid is a multiple of it.
template <class... Parameters, class... Arguments>
void launch_clusters(const char* what, void (*kernel)(Parameters...), unsigned size, dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  if (size == 1) return launch(what, kernel, grid, block, shared, arguments...);
  if (grid.x == 0) return;
#ifdef VANTAGE_CUDA_EMULATED
  if (shared > kFreeShared && shared > cuda_emulator::allowed_dynamic_shared(reinterpret_cast<const void*>(kernel))) {
    check(cudaErrorInvalidValue, what);
  }
  cuda_emulator::launch([&] { kernel(static_cast<Parameters>(arguments)...); }, grid, block, shared, (sizeof(Parameters) + ... + 0), size);
#else
  cudaLaunchAttribute attribute;
  const cudaLaunchConfig_t configuration = cluster_configuration(attribute, size, grid, block, shared);
  check(cudaLaunchKernelEx(&configuration, kernel, static_cast<Parameters>(arguments)...), what);
#endif
  check(cudaGetLastError(), what);
}

// Clusters that the device runs at a time; 0 where it has none of that size, or the kernel was compiled for devices that have none: code of an older architecture,
// which the driver compiles anew, can be launched in clusters and knows nothing of them.
template <class... Parameters>
int resident_clusters(const char* what, void (*kernel)(Parameters...), unsigned size, dim3 block, size_t shared) {
  int count = 0;
  if (size == 1) {
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&count, kernel, static_cast<int>(block.x), shared), what);
    return count * device().multiprocessors;
  }
#ifdef VANTAGE_CUDA_EMULATED
  return std::max(1, device().multiprocessors / static_cast<int>(size));
#else
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel), what);
  if (device().major < 9 || attributes.ptxVersion < 90) return 0;
  cudaLaunchAttribute attribute;
  const cudaLaunchConfig_t configuration = cluster_configuration(attribute, size, dim3(size), block, shared);
  check(cudaOccupancyMaxActiveClusters(&count, kernel, &configuration), what);
  return count;
#endif
}

// The block's dynamic shared memory, aligned to 16 bytes.
#ifdef VANTAGE_CUDA_EMULATED
inline char* dynamic_shared() { return cuda_emulator::dynamic_shared(); }
#else
__device__ __forceinline__ char* dynamic_shared() {
  extern __shared__ __align__(16) char memory[];
  return memory;
}
#endif

}  // namespace vantage::cuda
