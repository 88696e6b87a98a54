// CUDA as a device: the library that holds it, opened at first use and never closed. Knows nothing of Node.
#pragma once
#include <string>

#include "../core/backend.h"
#include "../cuda/library.h"

namespace vantage::addon {

struct Cuda {
  Backend* backend = nullptr;              // null where there is none
  const cuda::Library* library = nullptr;  // with it
  cuda::DeviceInfo device = {};
  std::string reason;                      // why there is none
};

// The library is libvantage_cuda.so beside this object, or the file that VANTAGE_CUDA_LIBRARY names. What the first call found stays.
const Cuda& cuda_library();
// What the cache of device memory holds; 0 while the library is not open. Neither of the two opens it.
size_t cuda_cached_bytes();
void cuda_trim();

// For measuring; all three throw vantage::Error where there is no CUDA. A copy from one place of the device's memory to another:
void cuda_copy(void* to, const void* from, size_t bytes);
// The time of the device alone for what is launched between the two, see native/cuda/timer.h.
void cuda_start_timer();
struct CudaTime {
  double seconds = 0;
  bool queued = false;
};
CudaTime cuda_stop_timer();

}  // namespace vantage::addon
