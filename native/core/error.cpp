#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace vantage {

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Error(text);
}

}  // namespace vantage
