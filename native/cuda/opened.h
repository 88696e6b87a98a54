// Libraries that are opened at run time, where they are there.
#pragma once
#include <dlfcn.h>

namespace vantage::cuda {

// Null where there is none of the name, which may be null.
inline void* open_library(const char* name) { return name && *name ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : nullptr; }

template <class F>
bool find(void* library, const char* name, F** function) {
  *function = reinterpret_cast<F*>(dlsym(library, name));
  return *function != nullptr;
}

}  // namespace vantage::cuda
