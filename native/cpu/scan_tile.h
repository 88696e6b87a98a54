// A tile of one row of a program with scans, along its time.
#pragma once
#include "compiled_scan.h"
#include "interpreter.h"
#include "prefetches.h"
#include "recurrence_block.h"
#include "scan_functions.h"

namespace vantage::cpu::VANTAGE_ISA {

// Where the scans of a tile stand.
struct ScanStates {
  double* state;    // one for each scan
  bool begins;      // the tile is the first one of its row: the scans start from the program's own states
  double* product;  // of the factors of the last scan that is run, or null: nobody asks for it
  int last;         // behind this scan the tile is left; -1: at its end
};

// What a thread needs for the tiles of its rows.
class ScanTile {
 public:
  // `memory` holds the homes. `ahead`: times from a tile to the one that comes next, which is asked for meanwhile.
  ScanTile(const Code& code, const CompiledScan& compiled, char* memory, int64_t ahead);

  void begin_row(int64_t row);
  // Loads, computes and stores the times [start, start + n), or folds them into the lanes: [output][kLanes] of kTotalRoom bytes.
  void run(int64_t start, int64_t n, const ScanStates& scans, char* lanes);

  // Whether nothing of a scan's state in front of these times is left behind them, of a row that has begun.
  bool forgets(int scan, int64_t start, int64_t n) const { return compiled_ && compiled_.forgets(scan, row_, start, n); }

 private:
  void load(const Step& step, int64_t start, int64_t n);
  void ask_ahead(const Step& step, const char* from, int64_t n);
  void ask_behind_mask(const Step& step, int64_t start, int64_t n);
  void compute(const Step& step, int64_t n);
  void store(const Leave& out, int64_t start, int64_t n, char* lanes) const;
  void fold(int output, const void* elements, int64_t n, char* lanes) const { code_.output[output].fold->lanes(lanes + output * kLanes * kTotalRoom, elements, n); }
  void run_scan(const Step& step, int number, int64_t n, const ScanStates& scans);
  void find_inside(const Step& step, const uint8_t* mask, int64_t n);
  void choose_inside(const Step& step, int64_t n);
  bool inside(int value) const { return value >= 0 && value == inside_of_; }
  int64_t stride_of(int view) const { return code_.space.strides[view][time_]; }
  char* place_of(int view, int64_t start) const { return row_[view] + start * stride_of(view) * code_.item[view]; }

  const Code& code_;
  const CompiledScan& compiled_;
  char* const memory_;
  const int64_t ahead_;
  const int time_;                   // the dimension
  int64_t prefetched_ = 0;           // bytes that are asked for at each time
  Prefetches prefetches_;
  void* at_[kMaxInstructions];
  char* row_[kMaxViews];             // time 0 of each view
  Tests tests_;
  const uint8_t* bytes_[kMaxInstructions];  // of each tested value, if they lie side by side; else null
  Stretch stretches_[kMostStretches];  // of the mask in this tile that was asked for last …
  int stretched_ = -1;                 // … its value, or -1
  static constexpr int kDecays = 4;
  Decay decays_[kDecays] = {Decay(0), Decay(0), Decay(0), Decay(0)};  // of the scans, which share them in turn
  // Padding is the usual mask: what holds is one stretch. What nothing reads outside of it is computed inside of it.
  int inside_of_ = -1;               // the tested value that holds in [from_, to_) of this tile and nowhere else, or -1
  int64_t from_ = 0, to_ = 0;
  bool single_[kMaxInstructions];    // of each value: it is one number in this tile, and holds it once (a constant: at least once)
};

}  // namespace vantage::cpu::VANTAGE_ISA
