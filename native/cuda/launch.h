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
