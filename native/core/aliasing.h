// Whether what a program reads shares memory with what it writes.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace vantage {

// The bytes that a view touches, from the start of its slot. Empty: begin == end.
struct Extent {
  int64_t begin = 0, end = 0;
};

// A program reads and writes in an order of its own, so what it reads may share memory with what it writes only element by element: the same view twice.
// The first view that is loaded and breaks this with the view `written`, or -1. `extents` are those of the program's views.
int clashing_view(const Plan& plan, const Program& p, const std::vector<Extent>& extents, int written);

}  // namespace vantage
