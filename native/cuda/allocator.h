// Device memory, kept for the next one of its size when released: asking the driver for memory costs more than most kernels. Everything runs on one
// stream, so that memory can be given out again while work that uses it is still queued: what uses it next is queued behind.
#pragma once
#include <cstddef>

namespace vantage::cuda {

// 256-byte aligned. Null where there is no memory left, even with the cache given back. Zero bytes are a valid size.
void* allocate(size_t bytes);
// `bytes` is the size that was asked for.
void release(void* memory, size_t bytes);
// Gives the cached blocks back to the driver; waits for what uses them.
void trim();
size_t cached_bytes();

// Memory for one call's intermediate results, null for 0 bytes: throws vantage::Error, naming the operation, where there is none.
class Temporary {
 public:
  Temporary(const char* what, size_t bytes);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  template <class T = void>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_;
  size_t bytes_;
};

}  // namespace vantage::cuda
