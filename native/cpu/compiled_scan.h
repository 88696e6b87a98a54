// Programs with scans as machine code (scan_compiler.h): where the mask that the scans go by holds in a few stretches, these alone; else all steps. The interpreter takes what is not
// compiled, tiles in which nothing holds, and those in which a state leaves float32.
#pragma once
#include "scan_reader.h"

namespace vantage::cpu::VANTAGE_ISA {

// The functions of one reading. Made once for a run of a program, and read by all threads.
struct CompiledFunctions {
  ScanPlan plan;
  ScanTable table;
  ScanFunction usual, past_caches, only_states;

  explicit operator bool() const { return static_cast<bool>(usual); }
  void make(const Code& code, Reading reading, bool states);
};

class CompiledScan {
 public:
#if defined(__AVX512F__)
  static constexpr bool kExists = true;
#else
  static constexpr bool kExists = false;
#endif

  // `segments`: rows are cut, and the states alone are asked for, too.
  CompiledScan(const Code& code, bool segments);
  explicit operator bool() const { return static_cast<bool>(some_); }

  // The steps [start, start + n) of a row whose step 0 the views have at `row`. Their results are stored, or folded into `lanes` (see ScanTile), unless only the states are asked for;
  // `state`, of each scan, is that behind them then. False: nothing has been done that the interpreter does not do again.
  enum class Wanted { results, states };
  bool run(Wanted wanted, char* const* row, int64_t start, int64_t n, double* state, bool begins, char* memory, char* lanes) const;
  // Whether, behind these steps, nothing is left of what the state of a scan was in front of them.
  bool forgets(int scan, char* const* row, int64_t start, int64_t n) const;

 private:
  static constexpr int64_t kStepsOfPiece = 64;  // and no fewer on average
  static constexpr int kMostPieces = kMaxTile / kStepsOfPiece + 1;
  // Where the mask holds.
  struct Pieces {
    int count;
    int64_t from[kMostPieces], to[kMostPieces];
  };
  enum class Found { pieces, nothing, too_many, elsewhere };
  struct Tile {
    char* const* row;
    int64_t start, n;
    char *memory, *lanes;
  };

  int time() const { return code_.space.outer; }
  bool all_hold(const Tile& tile) const;
  Found find_pieces(Wanted wanted, const Tile& tile, Pieces* to) const;
  bool run(const CompiledFunctions& functions, Wanted wanted, const Tile& tile, const Pieces& valid, double* state, bool begins) const;
  void begin(const ScanPlan& plan, const Tile& tile, double* state) const;
  void fold(int output, const void* elements, int64_t n, char* lanes) const { code_.output[output].fold->lanes(lanes + output * kLanes * kTotalRoom, elements, n); }

  const CompiledFunctions& everywhere() const;

  const Code& code_;
  CompiledFunctions some_;        // where the mask holds
  CompiledFunctions ones_;        // where all bytes are 1
  bool ones_help_ = false;        // factors are one number there that are not elsewhere
  mutable CompiledFunctions all_;  // everywhere: for tiles with many holes, made when the first one comes
  mutable uint32_t all_state_ = 0;
};

// Programs over rows that are shorter than a tile: several at once. What a row gives depends neither on the others nor on where it stands.
class CompiledRows {
 public:
  explicit CompiledRows(const Code& code);
  explicit operator bool() const { return static_cast<bool>(functions_); }
  // False: nothing has been done that the interpreter does not do again.
  bool run(int64_t first, int64_t rows) const;

 private:
  const Code& code_;
  CompiledFunctions functions_;
};

}  // namespace vantage::cpu::VANTAGE_ISA
