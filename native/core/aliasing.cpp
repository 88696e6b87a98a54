#include "aliasing.h"

namespace vantage {
namespace {

bool overlap(const Plan& plan, const Program& p, const std::vector<Extent>& extents, int a, int b) {
  const Slot& slot_a = plan.slots[p.views[a].slot];
  const Slot& slot_b = plan.slots[p.views[b].slot];
  const bool arena = slot_a.arena_offset >= 0 && slot_b.arena_offset >= 0;
  if (!arena && p.views[a].slot != p.views[b].slot) return false;
  const int64_t base_a = arena ? slot_a.arena_offset : 0, base_b = arena ? slot_b.arena_offset : 0;
  return base_a + extents[a].begin < base_b + extents[b].end && base_b + extents[b].begin < base_a + extents[a].end;
}

bool same_elements(const Plan& plan, const Program& p, int a, int b) {
  const ProgramView &x = p.views[a], &y = p.views[b];
  const auto start = [&](const ProgramView& view) {
    const int64_t arena = plan.slots[view.slot].arena_offset;
    return (arena < 0 ? 0 : arena) + view.offset * static_cast<int64_t>(byte_size(view.dtype));
  };
  if (x.dtype != y.dtype || start(x) != start(y)) return false;
  for (int d = 0; d < p.ndim; ++d) {
    if (p.shape[d] > 1 && x.strides[d] != y.strides[d]) return false;
  }
  return true;
}

}  // namespace

int clashing_view(const Plan& plan, const Program& p, const std::vector<Extent>& extents, int written) {
  for (const Instruction& one : p.instructions) {
    if (one.op == Op::load && overlap(plan, p, extents, written, one.a) && !same_elements(plan, p, written, one.a)) return one.a;
  }
  return -1;
}

}  // namespace vantage
