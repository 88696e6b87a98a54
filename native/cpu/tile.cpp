#include "tile.h"

#include "prefetches.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// Calls visit(address, rows done, rows) for each run of rows that one stride covers.
template <class Visit>
inline __attribute__((always_inline)) void for_runs(const Code& code, const Tile& tile, const Position& start, int view, int64_t row_stride,
                                                    int64_t inner_stride, const Visit& visit) {
  const Space& space = code.space;
  char* base = code.base[view] + (tile.fixed[view] + tile.column * inner_stride) * code.item[view];
  if (tile.end - tile.begin <= 1) {
    visit(base + tile.row * row_stride * code.item[view], 0, tile.rows);
    return;
  }
  Position position = start;
  const int last = tile.end - 1;
  for (int64_t done = 0; done < tile.rows;) {
    const int64_t run = smaller(space.shape[last] - position.index[last], tile.rows - done);
    visit(base + Position::offset(position, space, view, tile.begin, tile.end) * code.item[view], done, run);
    done += run;
    position.index[last] += run;
    for (int d = last; d > tile.begin && position.index[d] == space.shape[d]; --d) {
      position.index[d] = 0;
      ++position.index[d - 1];
    }
  }
}

// The same for what an output stores, with the strides of its rows and columns.
template <class Visit>
inline __attribute__((always_inline)) void for_stores(const Code& code, const Tile& tile, const Position& start, const Leave& out, const Visit& visit) {
  const int64_t row_stride = tile.end > tile.begin ? code.space.strides[out.view][tile.end - 1] : 0;
  const int64_t stride = tile.inner >= 0 ? code.space.strides[out.view][tile.inner] : 0;
  for_runs(code, tile, start, out.view, row_stride, stride, [&](char* to, int64_t done, int64_t rows) { visit(to, done, rows, row_stride, stride); });
}

inline __attribute__((always_inline)) bool is_dense(int64_t rows, int64_t n, int64_t row_stride, int64_t stride) {
  return (stride == 1 || n == 1) && (rows == 1 || row_stride == n);
}

// Pieces of rows below one another, which may lie outside of their array.
inline __attribute__((always_inline)) void prefetch_rows(uintptr_t from, int64_t rows, int64_t bytes, int64_t row_bytes) {
  for (int64_t row = 0; row < rows; ++row) {
    const uintptr_t piece = from + static_cast<uintptr_t>(row * row_bytes);
    for (int64_t on = 0; on < bytes; on += 64) __builtin_prefetch(reinterpret_cast<const void*>(piece + static_cast<uintptr_t>(on)));
  }
}

}  // namespace

void run_tile(const Code& code, const Tile& tile, char* memory, void** at) {
  const Space& space = code.space;
  const int64_t n = tile.n, count = tile.rows * n;
  Position start;
  if (tile.end - tile.begin > 1) Position::set(&start, space, tile.begin, tile.end, tile.row);
  Tests tests;
  bool in_place[kMaxOutputs];
  for (int k = 0; k < code.outputs; ++k) {
    const Leave& out = code.output[k];
    in_place[k] = false;
    if (!out.direct) continue;
    at[out.value] = memory + code.home[out.value] * code.home_bytes;
    for_stores(code, tile, start, out, [&](char* to, int64_t, int64_t rows, int64_t row_stride, int64_t stride) {
      if (rows != tile.rows || !is_dense(rows, n, row_stride, stride)) return;
      at[out.value] = to;
      in_place[k] = true;
    });
  }
  // The next tile's part of what is loaded lies behind this tile's most often: the hardware's own prefetching does not run far enough ahead.
  Prefetches ahead;
  const int64_t share = code.prefetched * count / code.works + 64;
  for (int i = 0; i < code.steps; ++i) {
    const Step& step = code.step[i];
    if (step.op == Op::constant || left_out(step, tests)) continue;
    if (takes_time(step)) ahead.issue(share);
    if (step.op != Op::load) {
      if (step.chooses && tests.of[step.a] != Truth::some) {
        at[step.dst] = at[tests.of[step.a] == Truth::all ? step.b : step.c];
        continue;
      }
      if (step.chooses) at[step.dst] = code.home_of(step, memory);
      run_step(step, at, count);
      continue;
    }
    const int64_t row_stride = tile.end > tile.begin ? space.strides[step.view][tile.end - 1] : 0;
    const int64_t stride = tile.inner >= 0 ? space.strides[step.view][tile.inner] : 0;
    if (code.prefetched > 0 && (stride == 1 || stride == -1)) {
      const int64_t item = code.item[step.view];
      for_runs(code, tile, start, step.view, row_stride, stride, [&](char* from, int64_t, int64_t rows) {
        const uintptr_t first = reinterpret_cast<uintptr_t>(from), bytes = static_cast<uintptr_t>(n * item);
        if (is_dense(rows, n, row_stride, 1)) {
          ahead.add(stride == 1 ? first + rows * bytes : first - 2 * bytes, rows * n * item);
        } else if (row_stride != 0) {
          const uintptr_t lowest = stride == 1 ? first : first - bytes + static_cast<uintptr_t>(item);
          prefetch_rows(lowest + static_cast<uintptr_t>(rows * row_stride * item), rows, n * item, row_stride * item);
        }
      });
    }
    if (step.tested) {
      Truth& truth = tests.of[step.dst];
      truth = Truth::some;
      if (stride == 1 || n == 1) {
        for_runs(code, tile, start, step.view, row_stride, stride, [&](char* from, int64_t done, int64_t rows) {
          if (done > 0 && truth == Truth::some) return;
          const Truth here = n == 1 && row_stride == 1 ? truth_of(from, 1, rows, 0) : truth_of(from, rows, n, row_stride);
          truth = done == 0 || here == truth ? here : Truth::some;
        });
      }
      if (truth != Truth::some && !step.valued) continue;
    }
    char* home = code.home_of(step, memory);
    for_runs(code, tile, start, step.view, row_stride, stride, [&](char* from, int64_t done, int64_t rows) {
      if (step.in_place && rows == tile.rows && is_dense(rows, n, row_stride, stride)) {
        at[step.dst] = from;
        return;
      }
      at[step.dst] = home;
      step.load(home + done * n * step.size, from, rows, n, row_stride, stride);
    });
  }
  for (int k = 0; k < code.outputs; ++k) {
    const Leave& out = code.output[k];
    ahead.issue(share);
    if (out.reduction != Reduction::store || in_place[k]) continue;
    const char* from = static_cast<const char*>(at[out.value]);
    const int size = out.type == RegisterType::f64 ? 8 : 4;
    for_stores(code, tile, start, out, [&](char* to, int64_t done, int64_t rows, int64_t row_stride, int64_t stride) {
      const char* const values = from + done * n * size;
      if (out.stream && is_dense(rows, n, row_stride, stride)) return stream_bytes(to, values, rows * n * size);
      if (out.stream && stride == 1) {
        for (int64_t row = 0; row < rows; ++row) stream_bytes(to + row * row_stride * size, values + row * n * size, n * size);
        return;
      }
      out.store(to, values, rows, n, row_stride, stride);
    });
  }
  ahead.finish();
}

void store_totals(const Code& code, const Leave& out, int64_t row, int64_t rows, const void* totals) {
  if (code.space.outer == 1) {
    const int64_t along = code.space.strides[out.view][0];
    return out.store_totals(code.base[out.view] + row * along * code.item[out.view], totals, rows, along);
  }
  Tile tile(code, 0, code.space.outer, -1);
  tile.row = row;
  tile.rows = rows;
  tile.n = 1;
  Position start;
  if (tile.end > 1) Position::set(&start, code.space, 0, tile.end, row);
  const int64_t stride = tile.end > 0 ? code.space.strides[out.view][tile.end - 1] : 0;
  for_runs(code, tile, start, out.view, stride, 0, [&](char* to, int64_t done, int64_t count) {
    out.store_totals(to, static_cast<const char*>(totals) + done * kTotalBytes, count, stride);
  });
}

void store_each_total(const Code& code, int64_t row, const char* totals) {
  for (int k = 0; k < code.outputs; ++k) {
    const Leave& out = code.output[k];
    if (out.reduction == Reduction::store) continue;
    const char* const total = totals + out.state * kTotalRoom;
    double finished;
    if (out.finish) out.finish(&finished, total, 1);
    store_totals(code, out, row, 1, out.finish ? static_cast<const void*>(&finished) : total);
  }
}

}  // namespace vantage::cpu::VANTAGE_ISA
