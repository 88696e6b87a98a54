// A program run the slow way: one element at a time, in double, with the C library's functions. The tests compare the interpreter with it.
#pragma once
#include <string>
#include <vector>

#include "../core/program.h"

namespace reference {

// Runs on the given memory. Sums in double; float32 registers are rounded after each instruction.
void run(const vantage::Program& program, void* const* slots, const double* scalars);

double load(const void* base, vantage::DType dtype, int64_t index);
void store(void* base, vantage::DType dtype, int64_t index, double value);

}  // namespace reference
