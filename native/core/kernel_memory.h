// What a kernel writes, and that nothing else of its arguments lies there: kernels look at an index before they use it, and cut their work among threads.
#pragma once
#include "plan.h"

namespace vantage {

// A bit for each view that the kernel writes.
unsigned written_views(Kernel kernel);

// Throws vantage::Error, which begins with `place`, where a written view overlaps itself or another view. The views are inside their slots.
void check_kernel_memory(const char* place, const KernelRecord& record, const std::vector<Slot>& slots);

// What the plan's programs and kernels do with each external slot.
void find_use(Plan& plan);

}  // namespace vantage
