// Which programs with scans run as machine code: those of float32 between arithmetic that the compiler knows, whose scans go by one mask or by none.
#pragma once
#include "code.h"
#include "scan_compiler.h"

namespace vantage::cpu::VANTAGE_ISA {

// What a run of the function needs of the program.
struct ScanPlan {
  struct Array {
    int view;
    int64_t bytes;  // from a step to the next
    int64_t offset;  // bytes to the first one
  };
  // What leaves the function, in the order of its stores.
  struct Exit {
    Array array;
    int output;     // of the code
    int64_t home;   // in a tile's memory
    int watched;    // of the code: the sum of zeros of the same value, or -1
    bool direct;    // to where it belongs, being float32 side by side
    bool streams;   // past the caches; whole lines can go there at once
    float outside;  // what stands where the mask does not hold,
    int state;      // or the number of the scan whose state does, or -1
  };

  int mask = -1;              // where_mask_holds: the view of that, or -1
  bool knows_outside = true;  // … and the results where it does not
  bool varies = false;        // a scan's factor is another one from step to step
  int bytes = 0;              // where_all_hold: of the views of those bytes
  int loads = 0, of_row = 0, exits = 0, scans = 0, watched = 0;
  Array load[kMostPointers];
  int byte_view[kMostPointers];
  int of_row_step[kMostOfRow];   // the step that loads it
  int initial_step[kMostScans];  // the step that loads the first state, or -1: it is
  double initial[kMostScans];
  int64_t reach[kMostScans];     // behind so many steps where the mask holds, nothing is left of the state that came in; INT64_MAX: never
  Exit exit[kMostStores];
};

// For which steps a function is made:
//   where_mask_holds  of the mask that all scans go by. What is chosen by it is not looked at
//   where_all_hold    at which all bytes that are loaded are 1: what is computed of masks is one number there, a decay that a mask is part of, say
//   everywhere        all steps of a piece of a row
//   short_rows        all steps of several rows
enum class Reading { where_mask_holds, where_all_hold, everywhere, short_rows };

// False where the interpreter has to do it.
bool read_scan(const Code& code, Reading reading, ScanPlan* plan, ScanTable* table, ScanSource* source);

}  // namespace vantage::cpu::VANTAGE_ISA
