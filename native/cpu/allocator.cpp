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
  struct Blocks {
    std::vector<void*> free;
    uint64_t used = 0;  // when one was last taken or given back
  };

  std::mutex mutex;
  std::map<size_t, Blocks> blocks;  // by size
  size_t bytes = 0;
  uint64_t clock = 0;

  // Gives back to the system what was not used for longest, down to the limit: a program that goes on to other shapes must not lose the blocks that it
  // uses now because of those it once used.
  void shrink() {
    while (bytes > kCacheLimit) {
      auto oldest = blocks.end();
      for (auto at = blocks.begin(); at != blocks.end(); ++at) {
        if (!at->second.free.empty() && (oldest == blocks.end() || at->second.used < oldest->second.used)) oldest = at;
      }
      std::free(oldest->second.free.back());
      oldest->second.free.pop_back();
      bytes -= oldest->first;
    }
  }
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
    if (found != cache().blocks.end() && !found->second.free.empty()) {
      void* memory = found->second.free.back();
      found->second.free.pop_back();
      found->second.used = ++cache().clock;
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
    if (size <= kCacheLimit) {
      try {
        Cache::Blocks& blocks = cache().blocks[size];
        blocks.free.push_back(memory);
        blocks.used = ++cache().clock;
        cache().bytes += size;
        cache().shrink();
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
    for (void* memory : blocks.free) std::free(memory);
  }
  cache().blocks.clear();
  cache().bytes = 0;
}

size_t cached_bytes() {
  const std::lock_guard lock(cache().mutex);
  return cache().bytes;
}

}  // namespace vantage::cpu
