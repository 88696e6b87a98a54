#include "scratch.h"

#include <cstdlib>

#include "../core/error.h"

namespace vantage::cpu {
namespace {

struct Blocks {
  void* memory[static_cast<int>(Scratch::count)] = {};
  size_t bytes[static_cast<int>(Scratch::count)] = {};
  ~Blocks() {
    for (void* block : memory) std::free(block);
  }
};

thread_local Blocks blocks;

}  // namespace

void* scratch_bytes(Scratch purpose, size_t bytes) {
  const int i = static_cast<int>(purpose);
  if (blocks.bytes[i] < bytes || !blocks.memory[i]) {
    std::free(blocks.memory[i]);
    blocks.bytes[i] = 0;
    const size_t rounded = (bytes / 4096 + 1) * 4096;
    blocks.memory[i] = rounded < bytes ? nullptr : std::aligned_alloc(64, rounded);
    if (!blocks.memory[i]) fail("execute: out of memory for %zu bytes of a kernel's working memory", bytes);
    blocks.bytes[i] = rounded;
  }
  return blocks.memory[i];
}

}  // namespace vantage::cpu
