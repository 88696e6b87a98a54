// A debug facility: allocations that fail when they are told to. The linker puts these functions in the place of those that allocate (operator new, aligned_alloc, the start
// of a thread, and in the addon Node-API's creation of values) wherever this project's objects and its static C++ library call them: --wrap, see CMakeLists.txt.
#pragma once
#include <cstdint>

namespace vantage::inject {

// From now on the `nth` allocation fails, counted from 1 over all threads; with `onwards`, so do all that follow it.
void arm(int64_t nth, bool onwards);

// None fails any more. Returns how many there were since arm().
int64_t disarm();

// Blocks of memory that were taken and not given back, by what is counted here.
int64_t live();

// Whether the allocation that is about to be made fails.
bool fails();

}  // namespace vantage::inject
