#include "interpreter.h"

#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// A program over no elements stores nothing, and its reductions are those of the empty set.
void run_empty(const Program& program, void* const* slots) {
  int64_t kept[kMaxDims], total = 1;
  for (int d = 0; d < program.ndim; ++d) {
    const bool reduced = d >= program.outer && d < program.outer + program.reduced;
    kept[d] = reduced ? 1 : program.shape[d];
    total *= kept[d];
  }
  for (const Output& out : program.outputs) {
    if (out.reduction == Reduction::store) continue;
    const ProgramView& view = program.views[out.view];
    int64_t empty[kTotalRoom / sizeof(int64_t)];
    fold_functions(out.reduction, out.type).reset(empty, 1);
    for (int64_t i = 0; i < total; ++i) {
      int64_t rest = i, offset = view.offset;
      for (int d = program.ndim - 1; d >= 0; --d) {
        offset += rest % kept[d] * view.strides[d];
        rest /= kept[d];
      }
      char* to = static_cast<char*>(slots[view.slot]) + offset * static_cast<int64_t>(byte_size(view.dtype));
      store_totals_function(out.type, view.dtype)(to, empty, 1, 0);
    }
  }
}

}  // namespace

int crossing_dimension(const Code& code, int begin, int end, int inner) {
  for (int i = 0; i < code.steps; ++i) {
    if (code.step[i].op != Op::load) continue;
    const int64_t* const strides = code.space.strides[code.step[i].view];
    if (strides[inner] == 0 || strides[inner] == 1 || strides[inner] == -1) continue;
    for (int d = begin; d < end; ++d) {
      if (strides[d] == 1) return d;
    }
  }
  return -1;
}

int64_t side_of_block(const Code& code) {
  int64_t side = 8;
  while (4 * side * side <= code.tile) side *= 2;
  return side;
}

void finish_stores(const Code& code) {
  if (code.streams) stream_fence();
}

void run_program(const Program& program, void* const* slots, const double* scalars) {
  for (int d = 0; d < program.ndim; ++d) {
    if (program.shape[d] == 0) return run_empty(program, slots);
  }
  Code code;
  prepare(program, slots, scalars, &code);
  if (program.sequential && scans_along_rows(code)) run_scan_rows(code);
  else if (program.sequential) run_sequential(code);
  else if (program.reduced > 0 && code.space.kept > 0) run_columns(code);
  else run_rows(code);
}

}  // namespace vantage::cpu::VANTAGE_ISA
