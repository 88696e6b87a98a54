// What a kernel finds wrong while it runs (an index out of range, a row without candidates). The GPU works on while JavaScript goes on, so the
// failure is left in memory that the host can read and thrown at the next synchronisation.
#pragma once
#include "runtime.h"

namespace vantage::cuda {

enum class FailureKind : int { none = 0, index, row, unfinished };

struct Failure {
  int kind;            // FailureKind; the first failure wins. It is unfinished while the rest is written
  int reserved;
  const char* kernel;  // string literals of the host, carried through
  const char* text;    // index: the argument's name; row: what is wrong with it
  long long index, position, limit;
};

// The slot, in memory that host and device share. Pass it to kernels that may fail.
Failure* failure_slot();
// Throws vantage::Error for what is in the slot, in the words of the CPU's kernels, and clears it. Call it after a synchronisation.
void throw_failure();

#if defined(__CUDACC__) || defined(VANTAGE_CUDA_EMULATED)
__device__ __forceinline__ void report_failure(Failure* slot, FailureKind kind, const char* kernel, const char* text, long long index,
                                               long long position, long long limit) {
  if (atomicCAS(&slot->kind, static_cast<int>(FailureKind::none), static_cast<int>(FailureKind::unfinished)) != static_cast<int>(FailureKind::none)) return;
  slot->kernel = kernel;
  slot->text = text;
  slot->index = index;
  slot->position = position;
  slot->limit = limit;
  // The host may look before this kernel has ended, having waited for what another of its threads launched.
  __threadfence_system();
  *static_cast<volatile int*>(&slot->kind) = static_cast<int>(kind);
}
#endif

}  // namespace vantage::cuda
