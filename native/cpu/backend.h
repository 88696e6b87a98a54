// The CPU as a device.
#pragma once
#include <string>

#include "../core/backend.h"

namespace vantage::cpu {

// The one instance, never destroyed.
Backend& backend();

// The instruction set whose code runs: "baseline", "avx2" or "avx512". The best one that this CPU has, or VANTAGE_ISA from the
// environment. set_isa throws where the name is unknown or this CPU lacks it.
const char* isa();
void set_isa(const std::string& name);

// Whether programs with scans are compiled: the instruction set has a compiler, the system lets it, and VANTAGE_CPU_PROGRAMS is not `interpret`. Throws where that is nothing.
bool compiles_scans();

}  // namespace vantage::cpu
