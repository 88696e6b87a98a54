// Which programs with scans run as machine code (scan_compiler.h), and in which stretches of a row: those where the mask that the scans go by holds throughout. The interpreter
// takes the rest, and tiles in which a state leaves float32.
#pragma once
#include "code.h"
#include "mask_bytes.h"
#include "scan_compiler.h"

namespace vantage::cpu::VANTAGE_ISA {

// Made once for a run of a program, and read by all threads.
class CompiledScan {
 public:
  explicit CompiledScan(const Code& code);
  explicit operator bool() const { return static_cast<bool>(usual_); }

  // The steps [start, start + n) of a row whose step 0 the views have at `row`. Their results are stored, or folded into `lanes` (see ScanTile); `state`, of each scan, is that behind
  // them then. False: nothing has been done that the interpreter does not do again.
  bool run(char* const* row, int64_t start, int64_t n, double* state, bool begins, char* memory, char* lanes) const;

 private:
  friend class ScanReader;
  struct Array {
    int view;
    int64_t bytes;  // from a step to the next
  };
  // What leaves the function.
  struct Exit {
    Array array;
    int output;     // of the code
    int64_t home;   // in a tile's memory
    int watched;    // of the code: the sum of zeros of the same value, or -1
    bool direct;    // to where it belongs, being float32 side by side
    bool streams;   // past the caches; whole lines can go there at once
    float outside;  // what stands where the mask does not hold
  };

  int time() const { return code_.space.outer; }
  Array array_of(int view) const { return {view, code_.space.strides[view][time()] * code_.item[view]}; }
  static char* place_of(char* const* row, const Array& array, int64_t at) { return row[array.view] + at * array.bytes; }
  bool find_extent(char* const* row, int64_t start, int64_t n, Extent* extent) const;
  void begin(char* const* row, int64_t first, double* state) const;
  bool on_lines(char* const* row, int64_t at) const;
  void fold(int output, const void* elements, int64_t n, char* lanes) const { code_.output[output].fold->lanes(lanes + output * kLanes * kTotalRoom, elements, n); }

  const Code& code_;
  ScanFunction usual_, past_caches_;
  ScanTable table_;
  int mask_ = -1;              // the view that the scans go by, or -1
  bool knows_outside_ = true;  // the results where the mask does not hold
  int loads_ = 0, of_row_ = 0, exits_ = 0, scans_ = 0;
  Array load_[kMostPointers];
  int of_row_step_[kMostOfRow];     // the step that loads it
  int initial_step_[kMostScans];    // the step that loads the first state, or −1: it is
  double initial_[kMostScans];
  Exit exit_[kMostStores];
};

}  // namespace vantage::cpu::VANTAGE_ISA
