#include "kernel_list.h"

#include "../core/error.h"

namespace vantage::cuda {

// Weak: a kernel that this device does not have yet is a null function.
#define X(name, views, scalars, attributes) __attribute__((weak)) void name(const KernelCall& call);
VANTAGE_KERNELS(X)
#undef X

void run_kernel(const KernelCall& call) {
  static constexpr void (*table[])(const KernelCall&) = {
#define X(name, views, scalars, attributes) name,
      VANTAGE_KERNELS(X)
#undef X
  };
  const int which = static_cast<int>(call.kernel);
  if (!table[which]) fail("%s: not available on cuda", kKernelRows[which].name);
  table[which](call);
}

}  // namespace vantage::cuda
