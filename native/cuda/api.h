// CUDA's runtime functions, or (in tests) their emulation on the CPU.
#pragma once
#ifdef VANTAGE_CUDA_EMULATED
#include "../test/cuda_emulator/cuda_emulator.h"
#elif defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include <cuda_runtime_api.h>
#endif
