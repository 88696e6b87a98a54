// Element-wise programs, and reductions of the last dimensions.
#include "interpreter.h"
#include "scratch.h"
#include "thread_pool.h"
#include "tile.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// A reduction with fewer rows than this has each row cut into pieces of about so many elements.
constexpr int64_t kManyRows = 64;
constexpr int64_t kPieceElements = 16384;

// Rows that fit a tile: each tile holds whole rows, and folds each to its total. The rows run over dimensions [0, end).
void run_short_rows(const Code& code, int end, int inner, int64_t n) {
  const int64_t rows = code.space.size(0, end);
  const int64_t per_tile = larger(1, code.tile / n);
  const int64_t tiles = divide_up(rows, per_tile);
  const int64_t per_task = larger(1, kTaskElements / (per_tile * n));
  parallel_for(divide_up(tiles, per_task), rows * n * code.work, [&](int64_t task) {
    char* memory = scratch<char>(Scratch::tile, code.memory_bytes() + kMaxTile * kTotalBytes);
    char* totals = memory + code.memory_bytes();
    void* at[kMaxInstructions];
    code.place(memory, at);
    Tile tile(code, 0, end, inner);
    tile.n = n;
    for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, tiles); ++i) {
      tile.row = i * per_tile;
      tile.rows = smaller(per_tile, rows - tile.row);
      run_tile(code, tile, memory, at);
      for (int k = 0; k < code.outputs; ++k) {
        const Leave& out = code.output[k];
        if (out.reduction == Reduction::store) continue;
        out.fold->rows(totals, at[out.value], tile.rows, n);
        store_totals(code, out, tile.row, tile.rows, totals);
      }
    }
    finish_stores(code);
  });
}

// Element-wise, rows longer than a tile.
void run_long_rows(const Code& code, int inner, int64_t n) {
  const int64_t rows = code.space.size(0, inner);
  const int64_t chunks = divide_up(n, code.tile);
  const int64_t tiles = rows * chunks;
  const int64_t per_task = larger(1, kTaskElements / code.tile);
  parallel_for(divide_up(tiles, per_task), rows * n * code.work, [&](int64_t task) {
    char* memory = scratch<char>(Scratch::tile, code.memory_bytes());
    void* at[kMaxInstructions];
    code.place(memory, at);
    Tile tile(code, 0, inner, inner);
    tile.rows = 1;
    for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, tiles); ++i) {
      tile.row = i / chunks;
      tile.column = i % chunks * code.tile;
      tile.n = smaller(code.tile, n - tile.column);
      run_tile(code, tile, memory, at);
    }
    finish_stores(code);
  });
}

// Element-wise, by blocks of the last dimension and another one, so that a line of memory is read once whichever of the two it lies along.
void run_blocks(const Code& code, int crossing, int inner) {
  const Space& space = code.space;
  const int64_t side = side_of_block(code), rows = space.shape[crossing], n = space.shape[inner], others = space.size(0, inner) / rows;
  const int64_t per_block = smaller(rows, side), columns = smaller(n, code.tile / per_block);
  const int64_t down = divide_up(rows, per_block), blocks = others * divide_up(n, columns) * down;
  const int64_t per_task = larger(1, kTaskElements / (per_block * columns));
  parallel_for(divide_up(blocks, per_task), others * rows * n * code.work, [&](int64_t task) {
    char* memory = scratch<char>(Scratch::tile, code.memory_bytes());
    void* at[kMaxInstructions];
    code.place(memory, at);
    Tile tile(code, crossing, crossing + 1, inner);
    for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, blocks); ++i) {
      const int64_t across = i / down, other = across % others;
      tile.row = i % down * per_block;
      tile.rows = smaller(per_block, rows - tile.row);
      tile.column = across / others * columns;
      tile.n = smaller(columns, n - tile.column);
      Position position;
      const int64_t behind = space.size(crossing + 1, inner);
      Position::set(&position, space, 0, crossing, other / behind);
      Position::set(&position, space, crossing + 1, inner, other % behind);
      for (size_t v = 0; v < code.program->views.size(); ++v) {
        const int view = static_cast<int>(v);
        tile.fixed[v] = Position::offset(position, space, view, 0, crossing) + Position::offset(position, space, view, crossing + 1, inner);
      }
      run_tile(code, tile, memory, at);
    }
    finish_stores(code);
  });
}

// Reductions whose rows take many tiles. A row is `segments` runs of n elements; a tile holds part of one run, or several.
struct LongReduction {
  const Code& code;
  int begin, inner;  // the reduced dimensions before the last, and the last
  int64_t rows, segments, n;
  int64_t per_tile, chunks, tiles;  // segments of a tile; tiles of a segment, or 1; tiles of a row
  int64_t per_piece, pieces;        // tiles of a piece; pieces of a row

  LongReduction(const Code& code, int64_t n) : code(code), begin(code.space.outer), inner(code.space.outer + code.space.reduced - 1), n(n) {
    rows = code.space.size(0, begin);
    segments = code.space.size(begin, inner);
    per_tile = larger(1, code.tile / n);
    chunks = divide_up(n, code.tile);
    tiles = divide_up(segments, per_tile) * chunks;
    per_piece = rows < kManyRows ? larger(1, kPieceElements / code.tile) : tiles;
    pieces = divide_up(tiles, per_piece);
  }

  // Folds the tiles of one piece; totals has one entry for each output.
  void piece(int64_t row, int64_t index, char* memory, void** at, char* lanes, char* totals) const {
    Tile tile(code, begin, inner, inner);
    Position position;
    Position::set(&position, code.space, 0, begin, row);
    for (size_t v = 0; v < code.program->views.size(); ++v) {
      tile.fixed[v] = Position::offset(position, code.space, static_cast<int>(v), 0, begin);
    }
    constexpr int64_t lane_bytes = kLanes * kTotalRoom;
    for (int k = 0; k < code.outputs; ++k) {
      if (code.output[k].folds(k)) code.output[k].fold->reset(lanes + k * lane_bytes, kLanes);
    }
    for (int64_t i = index * per_piece; i < smaller((index + 1) * per_piece, tiles); ++i) {
      tile.row = i / chunks * per_tile;
      tile.rows = smaller(per_tile, segments - tile.row);
      tile.column = i % chunks * code.tile;
      tile.n = smaller(code.tile, n - tile.column);
      run_tile(code, tile, memory, at);
      for (int k = 0; k < code.outputs; ++k) {
        const Leave& out = code.output[k];
        if (out.folds(k)) out.fold->lanes(lanes + k * lane_bytes, at[out.value], tile.rows * tile.n);
      }
    }
    for (int k = 0; k < code.outputs; ++k) {
      if (code.output[k].folds(k)) code.output[k].fold->combine(totals + k * kTotalRoom, lanes + k * lane_bytes);
    }
  }

  void finish(int64_t row, char* partials) const {
    const int64_t piece_bytes = code.outputs * kTotalRoom;
    for (int k = 0; k < code.outputs; ++k) {
      const Leave& out = code.output[k];
      char* total = partials + k * kTotalRoom;
      for (int64_t p = 1; p < pieces && out.folds(k); ++p) out.fold->merge(total, total + p * piece_bytes, 1);
    }
    store_each_total(code, row, partials);
  }

  void run() const {
    const int64_t row_bytes = pieces * code.outputs * kTotalRoom;
    const int64_t tasks = rows * pieces;
    const int64_t per_task = larger(1, kTaskElements / larger(1, smaller(per_piece * code.tile, segments * n)));
    char* partials = pieces > 1 ? scratch<char>(Scratch::partials, rows * row_bytes) : nullptr;
    parallel_for(divide_up(tasks, per_task), rows * segments * n * code.work, [&](int64_t task) {
      const int64_t lanes_bytes = code.outputs * kLanes * kTotalRoom;
      char* memory = scratch<char>(Scratch::tile, code.memory_bytes() + lanes_bytes + code.outputs * kTotalRoom);
      char* lanes = memory + code.memory_bytes();
      void* at[kMaxInstructions];
      code.place(memory, at);
      for (int64_t i = task * per_task; i < smaller((task + 1) * per_task, tasks); ++i) {
        char* totals = partials ? partials + i * code.outputs * kTotalRoom : lanes + lanes_bytes;
        piece(i / pieces, i % pieces, memory, at, lanes, totals);
        if (!partials) finish(i, totals);
      }
      finish_stores(code);
    });
    if (!partials) return;
    for (int64_t row = 0; row < rows; ++row) finish(row, partials + row * row_bytes);
  }
};

}  // namespace

void run_rows(const Code& code) {
  const Space& space = code.space;
  const int inner = space.ndim() - 1;
  const bool reduction = code.program->reduced > 0;
  // A dimension for the columns: the last one, or none where every size is 1 (or where every reduced size is).
  const bool has_inner = reduction ? space.reduced > 0 : inner >= 0;
  const int64_t n = has_inner ? space.shape[inner] : 1;
  const int end = reduction ? space.outer : has_inner ? inner : 0;
  const int crossing = reduction || !has_inner ? -1 : crossing_dimension(code, 0, inner, inner);
  if (crossing >= 0) return run_blocks(code, crossing, inner);
  if (n <= code.tile && space.reduced <= 1) run_short_rows(code, end, has_inner ? inner : -1, n);
  else if (reduction) LongReduction(code, n).run();
  else run_long_rows(code, inner, n);
}

}  // namespace vantage::cpu::VANTAGE_ISA
