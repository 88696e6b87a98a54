#include "kernel_memory.h"

#include <algorithm>
#include <cstdlib>

#include "error.h"

namespace vantage {
namespace {

// The bytes from the first element of a view to the end of its last, from the start of its slot or, in the arena, of the arena.
struct Range {
  int64_t begin = 0, end = 0;
};

Range range_of(const KernelRecord& record, int view, const std::vector<Slot>& slots) {
  const TensorView& v = record.views[view];
  if (v.size() == 0) return {};
  int64_t low = record.offsets[view], high = low;
  for (int d = 0; d < v.ndim; ++d) {
    const int64_t span = (v.shape[d] - 1) * v.strides[d];
    (span < 0 ? low : high) += span;
  }
  const int64_t size = static_cast<int64_t>(byte_size(v.dtype)), base = std::max<int64_t>(slots[record.slots[view]].arena_offset, 0);
  return {base + low * size, base + (high + 1) * size};
}

bool overlap(const KernelRecord& record, int a, int b, const std::vector<Slot>& slots) {
  const int slot_a = record.slots[a], slot_b = record.slots[b];
  const bool arena = slots[slot_a].arena_offset >= 0 && slots[slot_b].arena_offset >= 0;
  if (!arena && slot_a != slot_b) return false;
  const Range x = range_of(record, a, slots), y = range_of(record, b, slots);
  return x.begin < y.end && y.begin < x.end;
}

// Sorted by size, each stride steps over all that the smaller ones reach.
bool overlaps_itself(const TensorView& view) {
  if (view.size() == 0) return false;
  std::vector<int> dims;
  for (int d = 0; d < view.ndim; ++d) {
    if (view.shape[d] > 1) dims.push_back(d);
  }
  std::sort(dims.begin(), dims.end(), [&](int a, int b) { return std::abs(view.strides[a]) < std::abs(view.strides[b]); });
  int64_t reach = 0;
  for (const int d : dims) {
    const int64_t step = std::abs(view.strides[d]);
    if (step <= reach) return true;
    reach += (view.shape[d] - 1) * step;
  }
  return false;
}

bool same_elements(const KernelRecord& record, int a, int b, const std::vector<Slot>& slots) {
  const TensorView &x = record.views[a], &y = record.views[b];
  if (x.dtype != y.dtype || x.ndim != y.ndim) return false;
  for (int d = 0; d < x.ndim; ++d) {
    if (x.shape[d] != y.shape[d] || (x.shape[d] > 1 && x.strides[d] != y.strides[d])) return false;
  }
  const Range at = range_of(record, a, slots), other = range_of(record, b, slots);
  return at.begin == other.begin && at.end == other.end;
}

// What may be written over, element by element, with its own gradient (see kernels.h): the logits.
int in_place(Kernel kernel) { return kernel == Kernel::token_log_probs_backward ? 6 : kernel == Kernel::token_policy_gradient ? 9 : -1; }

}  // namespace

unsigned written_views(Kernel kernel) {
  const auto views = [](auto... places) { return (0u | ... | (1u << places)); };
  switch (kernel) {
    case Kernel::matmul: return views(2);
    case Kernel::softmax: return views(1);
    case Kernel::attention: return views(4, 5);
    case Kernel::attention_backward: return views(7, 8, 9);
    case Kernel::token_log_probs: return views(2, 3, 4);
    case Kernel::token_log_probs_backward: return views(6);
    case Kernel::token_policy_gradient: return views(6, 7, 8, 9);
    case Kernel::sample: return views(1, 2);
    case Kernel::gather: return views(2);
    case Kernel::scatter_add: return views(2);
    case Kernel::index_copy: return views(0);
    case Kernel::gae: return views(5, 6, 7);
    case Kernel::discounted_return: return views(2, 3);
    case Kernel::vtrace: return views(6, 7);
    case Kernel::affine_scan: return views(3);
    case Kernel::group_moments: return views(4, 5, 6);
    case Kernel::group_advantages: return views(4, 5);
    case Kernel::masked_moments: return views(2);
    case Kernel::whiten: return views(3);
    case Kernel::fill: return views(0);
    case Kernel::philox: return views(0);
    case Kernel::adamw: return views(0, 1, 2);
    case Kernel::count: break;
  }
  return 0;
}

void check_kernel_memory(const char* place, const KernelRecord& record, const std::vector<Slot>& slots) {
  const KernelRow& row = kKernelRows[static_cast<int>(record.kernel)];
  const unsigned written = written_views(record.kernel);
  for (int w = 0; w < row.views; ++w) {
    if ((written >> w & 1u) == 0) continue;
    if (overlaps_itself(record.views[w])) fail("plan: %s%s writes view %d, which overlaps itself", place, row.name, w);
    for (int v = 0; v < row.views; ++v) {
      if (v == w || !overlap(record, w, v, slots)) continue;
      if (v == 0 && w == in_place(record.kernel) && same_elements(record, w, v, slots)) continue;
      fail("plan: %s%s writes view %d, which shares memory with view %d", place, row.name, w, v);
    }
  }
}

void find_use(Plan& plan) {
  std::vector<Use> use(plan.slots.size(), Use::none);
  const auto mark = [&](int slot, bool writes) { use[slot] = std::max(use[slot], writes ? Use::writes : Use::reads); };
  for (const auto& record : plan.records) {
    if (const Program* program = std::get_if<Program>(&record)) {
      for (const ProgramView& view : program->views) mark(view.slot, false);
      for (const Output& out : program->outputs) mark(program->views[out.view].slot, true);
      continue;
    }
    const KernelRecord& kernel = std::get<KernelRecord>(record);
    for (int v = 0; v < kKernelRows[static_cast<int>(kernel.kernel)].views; ++v) mark(kernel.slots[v], (written_views(kernel.kernel) >> v & 1u) != 0);
  }
  for (size_t i = 0; i < use.size(); ++i) {
    if (plan.slots[i].arena_offset < 0) plan.external_use.push_back(use[i]);
  }
}

}  // namespace vantage
