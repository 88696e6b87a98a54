// Memory for tensors: aligned, and kept for the next one of its size when released. A training step asks for the same sizes again and
// again, and fresh pages from the system cost more than the arithmetic on them.
#pragma once
#include <cstddef>

namespace vantage::cpu {

// 64-byte aligned; 2 MiB aligned where it is large. Null where there is no memory left. Zero bytes are a valid size.
void* allocate(size_t bytes);
// `bytes` is the size that was asked for.
void release(void* memory, size_t bytes);
// Gives the cached blocks back to the system.
void trim();
size_t cached_bytes();

}  // namespace vantage::cpu
