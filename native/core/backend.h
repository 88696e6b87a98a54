// What a device must provide. cpu/ and cuda/ implement it; nothing above this line knows which one runs.
#pragma once
#include <cstddef>

#include "kernels.h"
#include "program.h"

namespace vantage {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;

  // Memory is aligned to 64 bytes and may come from a cache of freed blocks. Null when there is none left.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory, size_t bytes) = 0;
  // Gives what the cache holds back to the system.
  virtual void trim() = 0;
  virtual size_t cached_bytes() const = 0;

  // upload has read all of `from` when it returns. download waits for all work before it, and throws what failed in it.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;

  // Both may return before the work is done; synchronize() waits for it. Failures throw vantage::Error: what the host can see of the arguments at
  // once, what the device finds while it works at the next download or synchronize().
  // `slots` holds the base address of each buffer that the program's views name.
  virtual void run(const Program& program, void* const* slots, const double* scalars) = 0;
  virtual void run(const KernelCall& call) = 0;
  virtual void synchronize() = 0;
};

}  // namespace vantage
