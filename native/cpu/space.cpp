// The dimensions that a program walks: in the order of memory, and no more than it needs.
#include <algorithm>
#include <cstdlib>

#include "code.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Whether dimension `a` lies inside of `b` in memory, to every view that tells them apart.
bool lies_inside(const Program& program, int a, int b) {
  bool inside = false;
  for (const ProgramView& view : program.views) {
    const int64_t of_a = std::abs(view.strides[a]), of_b = std::abs(view.strides[b]);
    if (of_a > of_b) return false;
    inside = inside || of_a < of_b;
  }
  return inside;
}

// Appends the dimensions [begin, end) of the program to the space, in the order of memory where all views agree on it, merged where possible. Returns how many
// there are now.
int collapse_group(const Program& program, int begin, int end, int first, Space* space) {
  int order[kMaxDims], dims = 0;
  for (int d = begin; d < end; ++d) {
    if (program.shape[d] == 1) continue;
    int at = dims++;
    for (; at > 0 && lies_inside(program, order[at - 1], d); --at) order[at] = order[at - 1];
    order[at] = d;
  }
  const int views = static_cast<int>(program.views.size());
  int count = first;
  for (int i = 0; i < dims; ++i) {
    const int d = order[i];
    const int64_t size = program.shape[d];
    bool merge = count > first;
    for (int v = 0; v < views && merge; ++v) merge = space->strides[v][count - 1] == program.views[v].strides[d] * size;
    if (!merge) space->shape[count++] = 1;
    space->shape[count - 1] *= size;
    for (int v = 0; v < views; ++v) space->strides[v][count - 1] = program.views[v].strides[d];
  }
  return count;
}

// Rows that are folded across memory, and lie side by side in it, are folded as columns.
void turn_rows(const Program& program, Space* space) {
  if (program.sequential || space->outer == 0 || space->reduced == 0 || space->kept > 0) return;
  for (const Output& out : program.outputs) {
    if (out.reduction == Reduction::spread) return;
  }
  const int views = static_cast<int>(program.views.size()), row = space->outer - 1, last = space->ndim() - 1;
  bool across = false;
  for (int v = 0; v < views; ++v) across = across || (space->strides[v][row] == 1 && std::abs(space->strides[v][last]) > 1);
  if (!across) return;
  std::rotate(space->shape + row, space->shape + row + 1, space->shape + last + 1);
  for (int v = 0; v < views; ++v) std::rotate(space->strides[v] + row, space->strides[v] + row + 1, space->strides[v] + last + 1);
  --space->outer;
  ++space->kept;
}

}  // namespace

void collapse(const Program& program, Space* space) {
  const int after_outer = collapse_group(program, 0, program.outer, 0, space);
  const int reduced_end = program.outer + program.reduced;
  // Without a reduction the two kept groups are one.
  if (program.reduced == 0) {
    space->outer = collapse_group(program, 0, program.ndim, 0, space);
    space->reduced = space->kept = 0;
    return;
  }
  const int after_reduced = collapse_group(program, program.outer, reduced_end, after_outer, space);
  const int after_kept = collapse_group(program, reduced_end, program.ndim, after_reduced, space);
  space->outer = after_outer;
  space->reduced = after_reduced - after_outer;
  space->kept = after_kept - after_reduced;
  turn_rows(program, space);
}

}  // namespace vantage::cpu::VANTAGE_ISA
