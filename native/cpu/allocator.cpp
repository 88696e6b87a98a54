#include "allocator.h"

#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vantage::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kCacheLimit = size_t{1} << 30;

// Four classes to each power of two: at most a quarter is wasted. 0 where the size is beyond any memory.
size_t class_size(size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) return 0;
  if (bytes <= 256) return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const int width = 64 - __builtin_clzll(bytes - 1);
  const size_t step = size_t{1} << (width - 3);
  return (bytes + step - 1) / step * step;
}

void* from_system(size_t size) {
  if (size < 2 * kHugePage) return std::aligned_alloc(kAlignment, size);
  void* memory = std::aligned_alloc(kHugePage, (size + kHugePage - 1) / kHugePage * kHugePage);
#if defined(__linux__)
  if (memory) madvise(memory, size, MADV_HUGEPAGE);
#endif
  return memory;
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
  if (void* memory = from_system(size)) return memory;
  trim();
  return from_system(size);
}

void release(void* memory, size_t bytes) {
  if (!memory) return;
  const size_t size = class_size(bytes);
  {
    const std::lock_guard lock(cache().mutex);
    if (cache().bytes + size <= kCacheLimit) {
      try {
        cache().blocks[size].push_back(memory);
        cache().bytes += size;
        return;
      } catch (const std::bad_alloc&) {
        // No room to remember the block: it goes back to the system.
      }
    }
  }
  std::free(memory);
}

void trim() {
  const std::lock_guard lock(cache().mutex);
  for (auto& [size, blocks] : cache().blocks) {
    for (void* memory : blocks) std::free(memory);
  }
  cache().blocks.clear();
  cache().bytes = 0;
}

size_t cached_bytes() {
  const std::lock_guard lock(cache().mutex);
  return cache().bytes;
}

}  // namespace vantage::cpu
