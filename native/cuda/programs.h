// Fused programs on the device.
#pragma once
#include "../core/program.h"

namespace vantage::cuda {

// Launches; throws vantage::Error.
void run_program(const Program& program, void* const* slots, const double* scalars);

// "interpret", "compile" or "auto"; throws where the name is none of these.
void set_programs(const char* mode);
// Throws where VANTAGE_CUDA_PROGRAMS in the environment is none of these.
void check_programs_setting();

}  // namespace vantage::cuda
