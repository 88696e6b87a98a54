// Four bits a pass, from the lowest (Satish, Harris and Garland, "Designing Efficient Sorting Algorithms for Manycore GPUs", 2009). Each thread has a few
// neighbouring elements, counts their digits, and after a scan of the counts knows their places.
#include "sort.h"

#include "device.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256, kItems = 8, kTile = kThreads * kItems, kBits = 4, kDigits = 1 << kBits;

__device__ __forceinline__ int digit_of(uint32_t key, int shift) { return static_cast<int>(key >> shift & (kDigits - 1)); }

// The sum of what the threads before this one have; `total` of all.
__device__ __forceinline__ uint32_t block_sum_before(uint32_t x, uint32_t* total, uint32_t* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t sum = x;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const uint32_t before = __shfl_up_sync(kAllLanes, sum, d);
    if (lane >= d) sum += before;
  }
  __syncthreads();
  if (lane == 31) shared[warp] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w == warp) before = all;
    all += shared[w];
  }
  *total = all;
  return before + sum - x;
}

// counts[digit][thread] of the thread's elements, summed over all before it in that order. Returns nothing that is not in shared memory.
__device__ __forceinline__ void count_digits(const uint32_t* keys, int64_t n, int shift, uint32_t (*counts)[kThreads], uint32_t* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t first = int64_t{blockIdx.x} * kTile + thread * kItems;
  for (int d = 0; d < kDigits; ++d) counts[d][thread] = 0;
  for (int i = 0; i < kItems; ++i) {
    if (first + i < n) ++counts[digit_of(keys[first + i], shift)][thread];
  }
  __syncthreads();
  uint32_t* const mine = &counts[0][0] + thread * kDigits;  // a stretch of the array in order
  uint32_t sum = 0, total;
  for (int i = 0; i < kDigits; ++i) sum += mine[i];
  uint32_t before = block_sum_before(sum, &total, shared);
  for (int i = 0; i < kDigits; ++i) {
    const uint32_t count = mine[i];
    mine[i] = before;
    before += count;
  }
  __syncthreads();
}

// histogram[digit][block]
__global__ void __launch_bounds__(kThreads) count_tiles(const uint32_t* keys, int64_t n, int shift, uint32_t* histogram) {
  __shared__ uint32_t counts[kDigits][kThreads];
  __shared__ uint32_t shared[kThreads / 32];
  count_digits(keys, n, shift, counts, shared);
  if (threadIdx.x >= kDigits) return;
  const int64_t elements = n - int64_t{blockIdx.x} * kTile;
  const uint32_t end = threadIdx.x + 1 < kDigits ? counts[threadIdx.x + 1][0] : static_cast<uint32_t>(elements < kTile ? elements : kTile);
  histogram[threadIdx.x * gridDim.x + blockIdx.x] = end - counts[threadIdx.x][0];
}

// Replaces each number by the sum of those before it. One block.
__global__ void __launch_bounds__(kThreads) sum_before(uint32_t* numbers, int64_t n) {
  __shared__ uint32_t shared[kThreads / 32];
  uint32_t carried = 0;
  for (int64_t start = 0; start < n; start += kThreads) {
    const int64_t i = start + threadIdx.x;
    const uint32_t x = i < n ? numbers[i] : 0;
    uint32_t total;
    const uint32_t before = block_sum_before(x, &total, shared);
    if (i < n) numbers[i] = carried + before;
    carried += total;
  }
}

__global__ void __launch_bounds__(kThreads) place(const uint32_t* keys, const uint32_t* positions, int64_t n, int shift, const uint32_t* histogram,
                                                 uint32_t* sorted_keys, uint32_t* sorted_positions) {
  __shared__ uint32_t counts[kDigits][kThreads];
  __shared__ uint32_t first_of[kDigits];
  __shared__ uint32_t shared[kThreads / 32];
  count_digits(keys, n, shift, counts, shared);
  // Where the tile's elements of a digit begin in the result, less where they begin in the tile.
  if (threadIdx.x < kDigits) first_of[threadIdx.x] = histogram[threadIdx.x * gridDim.x + blockIdx.x] - counts[threadIdx.x][0];
  __syncthreads();
  const int64_t first = int64_t{blockIdx.x} * kTile + threadIdx.x * kItems;
  for (int i = 0; i < kItems && first + i < n; ++i) {
    const uint32_t key = keys[first + i];
    const int digit = digit_of(key, shift);
    const uint32_t to = first_of[digit] + counts[digit][threadIdx.x]++;
    sorted_keys[to] = key;
    sorted_positions[to] = positions[first + i];
  }
}

}  // namespace

int64_t sort_histogram_size(int64_t n) { return kDigits * ceil_div(n, kTile); }

int sort_positions(const char* what, uint32_t* keys[2], uint32_t* positions[2], int64_t n, int bits, uint32_t* histogram) {
  int at = 0;
  const dim3 tiles(static_cast<unsigned>(ceil_div(n, kTile)));
  for (int shift = 0; shift < bits; shift += kBits, at = 1 - at) {
    launch(what, count_tiles, tiles, kThreads, 0, keys[at], n, shift, histogram);
    launch(what, sum_before, 1, kThreads, 0, histogram, sort_histogram_size(n));
    launch(what, place, tiles, kThreads, 0, keys[at], positions[at], n, shift, histogram, keys[1 - at], positions[1 - at]);
  }
  return at;
}

}  // namespace vantage::cuda
