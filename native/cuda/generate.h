// A program written as CUDA C++: straight-line code in place of a list of instructions.
#pragma once
#include <string>

#include "layout.h"

namespace vantage::cuda {

// The arguments of a generated kernel as the host writes them, in 8-byte words: Geometry, aligned[2], base[views], scalars, with scans
// the float ones of them in double, shape[dims], strides[views][dims].
std::vector<uint64_t> write_arguments(const Program& program, const Layout& layout, Geometry geometry, void* const* slots, const double* scalars);

// Up to so many bytes they are the kernel's parameter; beyond that the parameter is their address in device memory.
constexpr size_t kMostParameterBytes = 4000;

// The source behind the prelude (see prelude.h). It depends on the structure of the program alone, not on its sizes (but for whether 32 bits hold all
// positions): programs over other shapes are the same text. The kernel is `vantage_program`, its parameter a `Parameters`.
std::string generate(const Program& program, const Layout& layout);

}  // namespace vantage::cuda
