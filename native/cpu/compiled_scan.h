// Programs with scans as machine code (scan_compiler.h), in the stretches of a row in which the mask that the scans go by holds throughout. The interpreter takes the rest, and
// tiles in which a state leaves float32.
#pragma once
#include "scan_reader.h"

namespace vantage::cpu::VANTAGE_ISA {

// Made once for a run of a program, and read by all threads.
class CompiledScan {
 public:
#if defined(__AVX512F__)
  static constexpr bool kExists = true;
#else
  static constexpr bool kExists = false;
#endif

  explicit CompiledScan(const Code& code);
  explicit operator bool() const { return static_cast<bool>(usual_); }

  // The steps [start, start + n) of a row whose step 0 the views have at `row`. Their results are stored, or folded into `lanes` (see ScanTile), unless only the states are asked for;
  // `state`, of each scan, is that behind them then. False: nothing has been done that the interpreter does not do again.
  enum class Wanted { results, states };
  bool run(Wanted wanted, char* const* row, int64_t start, int64_t n, double* state, bool begins, char* memory, char* lanes) const;
  int scans() const { return plan_.scans; }
  // Whether, behind these steps, nothing is left of the states in front of them.
  bool forgets(char* const* row, int64_t start, int64_t n) const;

 private:
  static constexpr int64_t kStepsOfStretch = 64;  // and no fewer on average
  static constexpr int kMostStretches = kMaxTile / kStepsOfStretch + 1;
  // Where the mask holds.
  struct Stretches {
    int64_t from[kMostStretches], to[kMostStretches];
  };

  int time() const { return code_.space.outer; }
  static char* place_of(char* const* row, const ScanPlan::Array& array, int64_t at) { return row[array.view] + at * array.bytes; }
  int find_stretches(Wanted wanted, char* const* row, int64_t start, int64_t n, Stretches* to) const;
  void begin(char* const* row, int64_t first, double* state) const;
  bool on_lines(char* const* row, int64_t at) const;
  void fold(int output, const void* elements, int64_t n, char* lanes) const { code_.output[output].fold->lanes(lanes + output * kLanes * kTotalRoom, elements, n); }

  const Code& code_;
  ScanFunction usual_, past_caches_, only_states_;
  ScanPlan plan_;
  ScanTable table_;
};

}  // namespace vantage::cpu::VANTAGE_ISA
