// How a prepared program walks its index space. Which of the three it is depends on the program alone.
#pragma once
#include "code.h"

namespace vantage::cpu::VANTAGE_ISA {

// Runs a program: the entry of the table.
void run_program(const Program& program, void* const* slots, const double* scalars);

// Element-wise programs and reductions of the last dimensions.
void run_rows(const Code& code);
// Reductions with kept dimensions behind the reduced ones.
void run_columns(const Code& code);
// Programs with scans over long rows, and without loops.
bool scans_along_rows(const Code& code);
void run_scan_rows(const Code& code);
// All other programs with scans and loops.
void run_sequential(const Code& code);

// Of the dimensions [begin, end) the one along which a view that is loaded lies in memory, as what was transposed does, in place of dimension `inner`; -1 if there
// is none.
int crossing_dimension(const Code& code, int begin, int end, int inner);
// Of a square tile in two dimensions that memory may lie along.
int64_t side_of_block(const Code& code);

// Runs the steps [begin, end) that are neither loads nor constants on n elements.
static inline __attribute__((always_inline)) void run_step(const Step& step, void* const* at, int64_t n) {
  step.run(n, at[step.dst], at[step.a], step.b < 0 ? nullptr : at[step.b], step.c < 0 ? nullptr : at[step.c]);
}

// At the end of a task, before another thread reads what it stored.
void finish_stores(const Code& code);

static inline __attribute__((always_inline)) int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline __attribute__((always_inline)) int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline __attribute__((always_inline)) int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// An index into dimensions [begin, end) of a space, and how views move with it.
struct Position {
  int64_t index[kMaxDims];

  static inline __attribute__((always_inline)) void set(Position* position, const Space& space, int begin, int end, int64_t flat) {
    for (int d = end - 1; d >= begin; --d) {
      position->index[d] = d == begin ? flat : flat % space.shape[d];
      flat /= space.shape[d];
    }
  }
  static inline __attribute__((always_inline)) int64_t offset(const Position& position, const Space& space, int view, int begin, int end) {
    int64_t total = 0;
    for (int d = begin; d < end; ++d) total += position.index[d] * space.strides[view][d];
    return total;
  }
};

}  // namespace vantage::cpu::VANTAGE_ISA
