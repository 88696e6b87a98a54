// A tile of `rows` consecutive indices over the dimensions [begin, end) of a space, times `n` indices of one more dimension.
#pragma once
#include "interpreter.h"

namespace vantage::cpu::VANTAGE_ISA {

struct Tile {
  int begin, end;    // the dimensions that the rows run over
  int inner;         // the dimension of the columns, -1 where there is none
  int64_t row, rows;  // the first row, and how many
  int64_t column, n;  // the first column, and how many
  int64_t fixed[kMaxViews];  // offset of each view that the rest of the index gives, in elements

  Tile(const Code& code, int begin, int end, int inner) : begin(begin), end(end), inner(inner), column(0) {
    for (size_t v = 0; v < code.program->views.size(); ++v) fixed[v] = 0;
  }
};

// Loads, computes and stores a tile; `at` holds the values afterwards. `memory` holds the homes.
void run_tile(const Code& code, const Tile& tile, char* memory, void** at);

// Stores one total for each of `rows` indices over the outer dimensions.
void store_totals(const Code& code, const Leave& out, int64_t row, int64_t rows, const void* totals);

// Those of one row, of all outputs, kTotalRoom bytes each.
void store_each_total(const Code& code, int64_t row, const char* totals);

}  // namespace vantage::cpu::VANTAGE_ISA
