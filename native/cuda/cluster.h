// The blocks of a cluster, and their shared memory. Only kernels that launch_clusters() starts with more than one block may call these, on devices of compute
// capability 9.0 on; for others they compile to nothing of use.
#pragma once
#include "launch.h"

namespace vantage::cuda {

#ifdef VANTAGE_CUDA_EMULATED
inline unsigned cluster_rank() { return cuda_emulator::cluster_rank(); }
inline void cluster_barrier() { cuda_emulator::cluster_barrier(); }
template <class T>
T* in_block(T* mine, unsigned rank) {
  return static_cast<T*>(cuda_emulator::shared_of_rank(mine, rank));
}
#else
__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank = 0;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}
// Of all threads; what they wrote before, to other blocks' memory too, is there for all afterwards.
__device__ __forceinline__ void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// Where another block has what stands at an address of this block's dynamic shared memory.
template <class T>
__device__ __forceinline__ T* in_block(T* mine, unsigned rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  uint64_t theirs;
  asm("mapa.u64 %0, %1, %2;" : "=l"(theirs) : "l"(mine), "r"(rank));
  return reinterpret_cast<T*>(theirs);
#else
  return mine;
#endif
}
#endif

}  // namespace vantage::cuda
