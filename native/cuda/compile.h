// Generated programs, compiled at run time and kept: in this process by their text, on disk by its hash.
#pragma once
#include <cstdint>
#include <string>

namespace vantage::cuda {

// The headers that a generated program is compiled with, as one text (written by embed.cmake).
extern const char* const kPrelude;

// Whether there is a compiler: NVRTC, which comes with CUDA's toolkit and as a package of its own.
bool can_compile();

// The kernel `vantage_program` of a source, the prelude left out. Throws vantage::Error with the compiler's words. What it returns stays.
void* compile(const std::string& source);

// `parameter` is what the kernel's one parameter is read from.
void launch_compiled(void* kernel, const void* parameter, size_t bytes, int64_t blocks);

}  // namespace vantage::cuda
