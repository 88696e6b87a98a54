// A program written for the interpreter.
#pragma once
#include "interpreter.h"
#include "layout.h"

namespace vantage::cuda {

struct WrittenScript {
  std::vector<char> bytes;  // everything that the kernel reads, as one piece of device memory
  size_t code, outputs, output_values, shape, strides;  // where in it
  Script script;            // but for the pointers
  int homes;
};

WrittenScript write_script(const Program& program, const Layout& layout);

// The run-time scalars of a program, in the types of the instructions that read them, in the order of those instructions.
void read_scalars(const Program& program, const double* scalars, Slot* out);
int scalar_count(const Program& program);

}  // namespace vantage::cuda
