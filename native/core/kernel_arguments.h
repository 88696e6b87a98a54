// What each tuned kernel requires of its arguments (kernels.h): dtypes, shapes that belong together, integers in their range. The same for every device.
#pragma once
#include "kernels.h"

namespace vantage {

// Throws vantage::Error naming the kernel, the argument, what was expected and what came.
void check_arguments(const KernelCall& call);

}  // namespace vantage
