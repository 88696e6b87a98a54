#include "kernel_list.h"

namespace vantage::cuda {

#define X(name, views, scalars, attributes) void name(const KernelCall& call);
VANTAGE_KERNELS(X)
#undef X

void run_kernel(const KernelCall& call) {
  static constexpr void (*table[])(const KernelCall&) = {
#define X(name, views, scalars, attributes) name,
      VANTAGE_KERNELS(X)
#undef X
  };
  table[static_cast<int>(call.kernel)](call);
}

}  // namespace vantage::cuda
