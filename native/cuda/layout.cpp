#include "layout.h"

#include <algorithm>
#include <cstdlib>

#include "../core/error.h"

namespace vantage::cuda {
namespace {

// The sizes at which one way of walking gives way to the next. They do not depend on the device.
constexpr int64_t kThreadRow = 16;       // a thread walks rows up to this length
constexpr int64_t kSmallTeamRow = 64;    // eight threads
constexpr int64_t kWarpRow = 2048;       // a warp
constexpr int64_t kManyRows = 2048;      // so many rows keep the device busy with a warp each
constexpr int64_t kFewRows = 128;        // fewer, of at least so many elements, are spread over several blocks
constexpr int64_t kLongRow = 4096;
constexpr int64_t kLongScan = 16384;     // the same where a scan has to go from block to block
constexpr int64_t kBlocks = 1024;        // that a launch should have, to keep the device busy
constexpr int64_t kMostBlocks = 4096;    // beyond that blocks take several pieces
constexpr int64_t kTilesOfPart = 4;      // of a long row at least, where kFullDevice parts are there: many short ones end at about the same time
constexpr int64_t kFullDevice = 512;
constexpr int64_t kLeastOfPart = 8;      // elements that a thread of a column reduction folds at least

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t product(const int64_t* shape, int begin, int end) {
  int64_t total = 1;
  for (int d = begin; d < end; ++d) total *= shape[d];
  return total;
}

// Appends the dimensions [begin, end) of the program, merged where every view allows, those of size 1 left out.
void append(const Program& program, int begin, int end, Layout* layout) {
  const int first = layout->dims;
  for (int d = begin; d < end; ++d) {
    const int64_t size = program.shape[d];
    if (size == 1) continue;
    int& count = layout->dims;
    bool merge = count > first;
    for (size_t v = 0; v < program.views.size() && merge; ++v) {
      merge = layout->views[v].strides[count - 1] == program.views[v].strides[d] * size;
    }
    if (!merge) layout->shape[count++] = 1;
    layout->shape[count - 1] *= size;
    for (size_t v = 0; v < program.views.size(); ++v) layout->views[v].strides[count - 1] = program.views[v].strides[d];
  }
}

void append_one(Layout* layout) {
  layout->shape[layout->dims] = 1;
  for (LaidView& view : layout->views) view.strides[layout->dims] = 0;
  ++layout->dims;
}

void turn_round(const Program& program, Layout* layout) {
  const int time = layout->dims - 1;
  for (size_t v = 0; v < program.views.size(); ++v) {
    LaidView& view = layout->views[v];
    view.offset += (layout->shape[time] - 1) * view.strides[time];
    view.strides[time] = -view.strides[time];
  }
}

void align(const Program& program, Layout* layout) {
  const int last = layout->dims - 1, items = layout->items();
  for (size_t v = 0; v < program.views.size(); ++v) {
    LaidView& view = layout->views[v];
    const int64_t size = static_cast<int64_t>(byte_size(program.views[v].dtype));
    const int64_t bytes = std::min<int64_t>(size * items, 16);
    bool whole = std::abs(view.strides[last]) == 1;
    for (int d = 0; d < last; ++d) whole &= layout->shape[d] <= 1 || view.strides[d] * size % bytes == 0;
    view.alignment = whole ? static_cast<int>(bytes) : 0;
  }
}

// Whether 32 bits are enough, with room for what lies beyond the last chunk.
bool is_narrow(const Layout& layout) {
  constexpr int64_t kMost = int64_t{1} << 30;
  // Sizes of 2^62 and more do not occur: a view's elements are counted in 64 bits.
  double elements = 1;
  for (int d = 0; d < layout.dims; ++d) elements *= static_cast<double>(std::max<int64_t>(1, layout.shape[d]));
  if (elements >= static_cast<double>(kMost)) return false;
  for (const LaidView& view : layout.views) {
    double reach = 0;
    for (int d = 0; d < layout.dims; ++d) reach += static_cast<double>(std::abs(view.strides[d])) * static_cast<double>(layout.shape[d]);
    if (reach >= static_cast<double>(kMost)) return false;
  }
  return true;
}

// Whether the time lies across memory: neighbouring rows are neighbours there.
bool across(const Layout& layout) {
  const int last = layout.dims - 1;
  bool any = false;
  for (const LaidView& view : layout.views) {
    if (std::abs(view.strides[last]) == 1) return false;
    any |= last > 0 && std::abs(view.strides[last - 1]) == 1;
  }
  return any;
}

void choose_rows(Layout* layout) {
  Geometry& g = layout->geometry;
  g.rows = product(layout->shape, 0, layout->outer);
  g.inner = product(layout->shape, layout->outer, layout->dims - 1);
  const int64_t length = g.inner * g.columns;
  layout->walk = Walk::rows;
  if (layout->loops || length <= kThreadRow || (across(*layout) && g.rows >= kManyRows)) layout->team = 1;
  else if (length <= kSmallTeamRow) layout->team = 8;
  else if (length <= kWarpRow || g.rows >= kManyRows) layout->team = 32;
  else if (g.rows >= kFewRows || length < (layout->scans > 0 ? kLongScan : kLongRow)) layout->team = kThreads;
  else layout->walk = Walk::wide, layout->team = kThreads;
  g.chunks = divide_up(g.columns, layout->items());
  if (layout->walk == Walk::rows) {
    layout->blocks = std::min(divide_up(g.rows, kThreads / layout->team), kMostBlocks);
    return;
  }
  const int64_t tiles = divide_up(g.inner * g.chunks, kThreads);
  // The state of a scan goes from part to part, a tile each.
  const int64_t rows = std::max<int64_t>(1, g.rows), wanted = std::max(divide_up(tiles, kTilesOfPart), std::min(tiles, divide_up(kFullDevice, rows)));
  const int64_t parts = layout->scans > 0 ? tiles : std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, kMostBlocks / rows));
  g.length = divide_up(tiles, parts);
  g.parts = divide_up(tiles, g.length);
  layout->blocks = g.rows * g.parts;
}

void choose_columns(Layout* layout) {
  Geometry& g = layout->geometry;
  layout->walk = Walk::columns;
  layout->team = 1;
  const int kept = layout->outer + layout->reduced;
  g.rows = product(layout->shape, 0, layout->outer);
  g.reduced = product(layout->shape, layout->outer, kept);
  g.inner = product(layout->shape, kept, layout->dims - 1);
  g.chunks = divide_up(g.columns, layout->items());
  const int64_t units = g.rows * g.inner * g.chunks;
  g.lanes = 1;
  while (g.lanes < 32 && g.lanes < units) g.lanes *= 2;
  const int64_t groups = divide_up(units, g.lanes), lines = kThreads / g.lanes;
  const int64_t parts = groups == 0 ? 1 : std::clamp<int64_t>(kBlocks / groups, 1, std::max<int64_t>(1, g.reduced / (lines * kLeastOfPart)));
  g.length = std::max<int64_t>(1, divide_up(divide_up(g.reduced, parts), lines) * lines);
  g.parts = std::max<int64_t>(1, divide_up(g.reduced, g.length));
  layout->blocks = groups * g.parts;
}

}  // namespace

Access Layout::write_access(int view) const {
  const int64_t stride = views[view].strides[dims - 1];
  return stride == 1 ? Access::unit : stride == -1 ? Access::backward : Access::strided;
}
Access Layout::read_access(int view) const {
  return views[view].strides[dims - 1] == 0 || geometry.columns == 1 ? Access::fixed : write_access(view);
}

OutputInfo Layout::output(const Program& program, int k) const {
  const Output& out = program.outputs[k];
  int fold = 0;
  for (int i = 0; i < k; ++i) fold += program.outputs[i].reduction != Reduction::store;
  return {out.reduction, out.type, program.views[out.view].dtype, write_access(out.view), out.view, fold};
}

Layout lay_out(const Program& program) {
  Layout layout = {};
  layout.views.resize(program.views.size());
  for (size_t v = 0; v < program.views.size(); ++v) layout.views[v].offset = program.views[v].offset;
  for (const Instruction& one : program.instructions) {
    layout.scans += one.op == Op::scan || one.op == Op::scan_prev;
    layout.states += one.op == Op::state;
    layout.loops |= one.op == Op::loop;
  }
  for (const Output& out : program.outputs) {
    if (out.reduction == Reduction::spread) fail("program: a spread is folded on a CPU only");
    layout.folds += out.reduction != Reduction::store;
  }

  const int kept = program.outer + program.reduced;
  append(program, 0, program.outer, &layout);
  layout.outer = layout.dims;
  append(program, program.outer, kept, &layout);
  int merged = layout.dims;
  append(program, kept, program.ndim, &layout);
  const bool columns = program.reduced > 0 && layout.dims > merged;
  if (program.reduced > 0 && merged == layout.outer && !columns) append_one(&layout), ++merged;
  layout.reduced = merged - layout.outer;
  if (program.reduced == 0) {
    if (layout.dims == 0) append_one(&layout);
    layout.outer = layout.dims;
    layout.reduced = 0;
  }
  if (program.sequential && program.reverse) turn_round(program, &layout);

  Geometry& g = layout.geometry;
  g.columns = layout.shape[layout.dims - 1];
  g.parts = g.length = g.lanes = 1;
  if (columns) {
    choose_columns(&layout);
  } else if (program.reduced > 0) {
    choose_rows(&layout);
  } else {
    layout.walk = Walk::elements;
    layout.team = 1;
    g.rows = product(layout.shape, 0, layout.dims - 1);
    g.inner = 1;
    g.chunks = divide_up(g.columns, layout.items());
    layout.blocks = std::min(divide_up(g.rows * g.chunks, kThreads), kMostBlocks);
  }
  align(program, &layout);
  layout.narrow = is_narrow(layout);
  return layout;
}

bool set_addresses(const Program& program, const Layout& layout, void* const* slots, char** base, unsigned long long* aligned) {
  aligned[0] = aligned[1] = 0;
  const int last = layout.dims - 1;
  uint64_t moving[2] = {};  // the views whose chunks are moved
  for (size_t v = 0; v < program.views.size(); ++v) {
    if (std::abs(layout.views[v].strides[last]) == 1) moving[v >> 6] |= uint64_t{1} << (v & 63);
  }
  for (const Output& out : program.outputs) {
    if (out.reduction != Reduction::store) moving[out.view >> 6] &= ~(uint64_t{1} << (out.view & 63));
  }
  for (size_t v = 0; v < program.views.size(); ++v) {
    const LaidView& view = layout.views[v];
    const int64_t size = static_cast<int64_t>(byte_size(program.views[v].dtype));
    base[v] = static_cast<char*>(slots[program.views[v].slot]) + view.offset * size;
    if (view.alignment == 0) continue;
    // A backward chunk ends behind the first element that is walked.
    const char* edge = view.strides[last] < 0 ? base[v] + size : base[v];
    if (reinterpret_cast<uintptr_t>(edge) % static_cast<uintptr_t>(view.alignment) == 0) aligned[v >> 6] |= 1ull << (v & 63);
  }
  return (moving[0] & ~aligned[0]) == 0 && (moving[1] & ~aligned[1]) == 0;
}

}  // namespace vantage::cuda
