// The device's tuned kernels, each a function of the name that kernels.h gives it.
#pragma once
#include "../core/kernels.h"

namespace vantage::cuda {

// Checks the arguments, launches, returns; throws vantage::Error.
void run_kernel(const KernelCall& call);

}  // namespace vantage::cuda
