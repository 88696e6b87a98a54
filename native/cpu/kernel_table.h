// The CPU's compute code is compiled once for each instruction set (baseline, AVX2, AVX-512), in a namespace of its own
// named by VANTAGE_ISA; the backend picks one table at run time. Code in those files uses no std:: template that is not
// always inlined: the linker would keep one copy, perhaps one that this CPU cannot run.
#pragma once
#include "../core/kernels.h"
#include "../core/program.h"

namespace vantage::cpu {

struct KernelTable {
  const char* isa;
  bool has_compiler;  // for programs with scans (scan_compiler.h)
  void (*run_program)(const Program& program, void* const* slots, const double* scalars);
  void (*kernels[static_cast<int>(Kernel::count)])(const KernelCall& call);
};

}  // namespace vantage::cpu
