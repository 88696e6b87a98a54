#include "allocator.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "../core/error.h"
#include "runtime.h"

namespace vantage::cuda {
namespace {

constexpr size_t kAlignment = 256;

// Eight classes to each power of two: at most an eighth is wasted. 0 where the size is beyond any memory.
size_t class_size(size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) return 0;
  if (bytes <= 8 * kAlignment) return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const int width = 64 - __builtin_clzll(bytes - 1);
  const size_t step = size_t{1} << (width - 4);
  return (bytes + step - 1) / step * step;
}

struct Cache {
  std::mutex mutex;
  std::map<size_t, std::vector<void*>> blocks;
  size_t bytes = 0;
};

// Never destroyed: tensors of a worker thread may be released after static destructors ran.
Cache& cache() {
  static Cache* const instance = new Cache;
  return *instance;
}

// Null where there is no memory left.
void* from_driver(size_t size) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, size);
  if (error == cudaSuccess) return memory;
  cudaGetLastError();
  if (error != cudaErrorMemoryAllocation) check(error, "allocate");
  return nullptr;
}

}  // namespace

void* allocate(size_t bytes) {
  const size_t size = class_size(bytes);
  if (size == 0) return nullptr;
  {
    const std::lock_guard lock(cache().mutex);
    const auto found = cache().blocks.find(size);
    if (found != cache().blocks.end() && !found->second.empty()) {
      void* memory = found->second.back();
      found->second.pop_back();
      cache().bytes -= size;
      return memory;
    }
  }
  if (void* memory = from_driver(size)) return memory;
  trim();
  return from_driver(size);
}

void release(void* memory, size_t bytes) {
  if (!memory) return;
  const size_t size = class_size(bytes);
  const std::lock_guard lock(cache().mutex);
  try {
    cache().blocks[size].push_back(memory);
    cache().bytes += size;
  } catch (const std::bad_alloc&) {
    // No room to remember the block: it goes back to the driver, which waits for what uses it.
    cudaFree(memory);
  }
}

void trim() {
  const std::lock_guard lock(cache().mutex);
  // cudaFree waits for the device. At the end of the process it fails, which does not matter then.
  for (auto& [size, blocks] : cache().blocks) {
    for (void* memory : blocks) cudaFree(memory);
  }
  cudaGetLastError();
  cache().blocks.clear();
  cache().bytes = 0;
}

size_t cached_bytes() {
  const std::lock_guard lock(cache().mutex);
  return cache().bytes;
}

Temporary::Temporary(const char* what, size_t bytes) : memory_(bytes > 0 ? allocate(bytes) : nullptr), bytes_(bytes) {
  if (!memory_ && bytes > 0) fail("%s: out of memory for %zu bytes of intermediate results on cuda", what, bytes);
}

Temporary::~Temporary() { release(memory_, bytes_); }

}  // namespace vantage::cuda
