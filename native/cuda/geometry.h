// What the host tells a launch of a program. Read by the host's compiler too, and compiled with generated code.
#pragma once
#include "../core/dtype.h"
#include "../core/instructions.h"

namespace vantage::cuda {

constexpr int kThreads = 256;  // of every block of a program
constexpr int kWarps = kThreads / 32;
constexpr int kMaxFolds = 64;  // of a program: its outputs

// Eight bytes that one thread keeps from one piece of its row to the next: a total, the state of a scan or of a loop, or a run-time scalar.
union Slot {
  double real;
  long long whole;
  float single;
};

// The map s → factor·s + term.
struct Affine {
  double factor, term;
};

// How a view moves along the last dimension.
enum class Access : int { unit, backward, fixed, strided };

// How a program is walked. Threads take `items` neighbouring elements of the last dimension at a time, a chunk.
enum class Walk : int {
  elements,  // every chunk by itself
  rows,      // a team of threads for each row, through its chunks in order: reductions of the last dimensions, scans, loops
  wide,      // blocks for each row: few and long ones
  columns,   // reductions with kept dimensions behind the reduced ones
};

struct Geometry {
  long long rows;     // elements of the outer dimensions; for `elements` those of all but the last
  long long inner;    // rows, wide: elements of the reduced dimensions but the last; columns: of the kept ones but the last
  long long reduced;  // columns: elements of the reduced dimensions
  long long columns;  // elements of the last dimension
  long long chunks;   // of the last dimension
  long long parts;    // wide, columns: blocks that share a row, or a group of columns
  long long length;   // of a part: wide: in tiles (a chunk for each thread of a block), columns: in elements
  long long lanes;    // columns: threads of a block that lie side by side, a power of two
  // Between the blocks of a launch (see Signals in runtime.h).
  Slot* partials;      // [row or group][part][fold]…
  Affine* maps;        // [scan][row][part]: a part's map
  double* states;      // [scan][row][group of parts]: what enters the group
  unsigned* flags;     // of the maps, then of the states
  unsigned* tickets;   // of the rows or groups
  unsigned* counter;
  unsigned counted, set;
  long long whole;  // every view that moves along the last dimension is aligned: chunks of `items` elements are whole pieces of memory in all of them
};

// The elements that a thread takes at a time: with 16 bytes a thread a warp reads memory in one piece. A scan over several blocks composes more of
// them, since each step of its blocks has to be waited for.
constexpr int items_of(Walk walk, bool scans) { return walk == Walk::wide && scans ? 8 : 4; }

struct OutputInfo {
  Reduction reduction;
  RegisterType type;
  DType dtype;
  Access access;
  int view;
  int fold;  // its number among the outputs that are not stores
};

// Parts whose maps one block puts together; longer rows go from group to group.
constexpr int kGroup = kThreads;

}  // namespace vantage::cuda
