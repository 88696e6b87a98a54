// The one exception of the native side. It becomes a JavaScript error at the boundary.
#pragma once
#include <stdexcept>
#include <string>

namespace vantage {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Defined in error.cpp, not here: files that are compiled once for each instruction set may not share inline functions.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace vantage
