// Working memory of the kernels: one block for each purpose and thread, kept from call to call.
#pragma once
#include <cstddef>

namespace vantage::cpu {

enum class Scratch : int { pack_a, pack_b, tile, partials, rows, scores, gradients, accumulators, count };

// At least `bytes`, aligned to 64, uninitialised. Valid until the same thread asks for the same purpose again. Throws vantage::Error.
void* scratch_bytes(Scratch purpose, size_t bytes);

template <class T>
inline __attribute__((always_inline)) T* scratch(Scratch purpose, size_t elements) {
  return static_cast<T*>(scratch_bytes(purpose, elements * sizeof(T)));
}

}  // namespace vantage::cpu
