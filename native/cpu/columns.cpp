// Reductions with kept dimensions behind the reduced ones: a vector of totals along the last dimension is carried down the reduced ones.
#include "interpreter.h"
#include "scratch.h"
#include "thread_pool.h"
#include "tile.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

constexpr int64_t kManyUnits = 64;
constexpr int64_t kPieceElements = 32768;
// A short last dimension is folded several rows at a time, so that the totals are at least about this many.
constexpr int64_t kWidth = 64;

struct ColumnReduction {
  const Code& code;
  int begin, end, inner;  // the reduced dimensions, the last of the kept ones
  int64_t reduced, n;     // rows to fold, and the length of the last dimension
  int64_t chunk, chunks;  // columns of a tile, tiles along the last dimension
  int64_t groups, units;  // indices of the other kept dimensions; groups × chunks
  int64_t per_tile, tiles;
  int64_t per_piece, pieces;

  explicit ColumnReduction(const Code& code) : code(code) {
    const Space& space = code.space;
    begin = space.outer;
    end = begin + space.reduced;
    inner = space.ndim() - 1;
    reduced = space.size(begin, end);
    n = space.shape[inner];
    // As in run_blocks(), where rows lie side by side in memory.
    chunk = smaller(n, crossing_dimension(code, begin, end, inner) == end - 1 ? side_of_block(code) : code.tile);
    chunks = divide_up(n, chunk);
    groups = space.size(0, begin) * space.size(end, inner);
    units = groups * chunks;
    per_tile = larger(1, code.tile / chunk);
    tiles = divide_up(reduced, per_tile);
    per_piece = units < kManyUnits ? larger(1, kPieceElements / (per_tile * chunk)) : tiles;
    pieces = divide_up(tiles, per_piece);
  }

  int64_t columns_of(int64_t unit) const { return smaller(chunk, n - unit % chunks * chunk); }

  // The offset of a view at the unit's outer and kept dimensions, the last one left out.
  int64_t offset(int view, int64_t unit) const {
    const Space& space = code.space;
    const int64_t group = unit / chunks, behind = space.size(end, inner);
    Position position;
    Position::set(&position, space, 0, begin, group / behind);
    Position::set(&position, space, end, inner, group % behind);
    return Position::offset(position, space, view, 0, begin) + Position::offset(position, space, view, end, inner);
  }

  // Folds the tiles of one piece of a unit; totals has code.tile entries for each output.
  void piece(int64_t unit, int64_t index, char* memory, void** at, char* totals) const {
    Tile tile(code, begin, end, inner);
    for (size_t v = 0; v < code.program->views.size(); ++v) tile.fixed[v] = offset(static_cast<int>(v), unit);
    tile.column = unit % chunks * chunk;
    tile.n = columns_of(unit);
    const int64_t side_by_side = smaller(per_tile, larger(1, kWidth / tile.n));
    for (int k = 0; k < code.outputs; ++k) code.output[k].fold->reset(totals + k * code.tile * kTotalBytes, side_by_side * tile.n);
    for (int64_t i = index * per_piece; i < smaller((index + 1) * per_piece, tiles); ++i) {
      tile.row = i * per_tile;
      tile.rows = smaller(per_tile, reduced - tile.row);
      run_tile(code, tile, memory, at);
      for (int k = 0; k < code.outputs; ++k) {
        const Leave& out = code.output[k];
        if (out.reduction == Reduction::store) continue;
        out.fold->columns(totals + k * code.tile * kTotalBytes, at[out.value], tile.rows * tile.n, side_by_side * tile.n);
      }
    }
    for (int k = 0; k < code.outputs; ++k) {
      char* first = totals + k * code.tile * kTotalBytes;
      for (int64_t s = 1; s < side_by_side; ++s) code.output[k].fold->merge(first, first + s * tile.n * kTotalBytes, tile.n);
    }
  }

  // Combines the pieces of a unit, in order, and stores them.
  void finish(int64_t unit, char* partials) const {
    const int64_t columns = columns_of(unit), output_bytes = code.tile * kTotalBytes;
    for (int k = 0; k < code.outputs; ++k) {
      const Leave& out = code.output[k];
      if (out.reduction == Reduction::store) continue;
      char* totals = partials + k * output_bytes;
      for (int64_t p = 1; p < pieces; ++p) out.fold->merge(totals, totals + p * code.outputs * output_bytes, columns);
      const int64_t stride = code.space.strides[out.view][inner];
      const int64_t first = offset(out.view, unit) + unit % chunks * chunk * stride;
      out.store_totals(code.base[out.view] + first * code.item[out.view], totals, columns, stride);
    }
  }

  void run() const {
    const int64_t piece_bytes = code.outputs * code.tile * kTotalBytes;
    const int64_t tasks = units * pieces;
    const int64_t per_task = larger(1, kTaskElements / smaller(per_piece * per_tile * chunk, reduced * chunk));
    char* partials = pieces > 1 ? scratch<char>(Scratch::partials, static_cast<size_t>(tasks) * piece_bytes) : nullptr;
    parallel_for(divide_up(tasks, per_task), groups * reduced * n * code.work, [&](int64_t task) {
      char* memory = scratch<char>(Scratch::tile, code.memory_bytes() + piece_bytes);
      void* at[kMaxInstructions];
      code.place(memory, at);
      for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, tasks); ++i) {
        char* totals = partials ? partials + i * piece_bytes : memory + code.memory_bytes();
        piece(i / pieces, i % pieces, memory, at, totals);
        if (!partials) finish(i, totals);
      }
      finish_stores(code);
    });
    if (!partials) return;
    for (int64_t unit = 0; unit < units; ++unit) finish(unit, partials + unit * pieces * piece_bytes);
  }
};

}  // namespace

void run_columns(const Code& code) { ColumnReduction(code).run(); }

}  // namespace vantage::cpu::VANTAGE_ISA
