// A stable radix sort of positions by their keys.
#pragma once
#include <cstdint>

namespace vantage::cuda {

// keys[n] < 2^bits and positions[n] are put in order, equal keys as they were. The arrays of each pair change places: returns which of them holds the result.
// `histogram` has space for sort_histogram_size(n) numbers.
int sort_positions(const char* what, uint32_t* keys[2], uint32_t* positions[2], int64_t n, int bits, uint32_t* histogram);
int64_t sort_histogram_size(int64_t n);

}  // namespace vantage::cuda
