// Between the six dtypes of memory and the three register types.
#pragma once
#include <cstdint>

#include "../core/dtype.h"

namespace vantage::cpu::VANTAGE_ISA {

// A block of rows × n elements: dense in registers, strided (in elements) in memory.
using LoadFunction = void (*)(void* to, const void* from, int64_t rows, int64_t n, int64_t row_stride, int64_t stride);
using StoreFunction = void (*)(void* to, const void* from, int64_t rows, int64_t n, int64_t row_stride, int64_t stride);
LoadFunction load_function(DType from, RegisterType to);
StoreFunction store_function(RegisterType from, DType to);

// n elements of four or eight bytes, `bytes` in all, past the caches.
void stream_bytes(void* to, const void* from, int64_t bytes);
// The same for n float32; whether all are finite.
bool stream_finite(float* to, const float* from, int64_t n);

// Which bytes of a block are not 0.
enum class Truth : uint8_t { some, all, none };
// Of a block of rows × n; rows of consecutive bytes.
Truth truth_of(const void* from, int64_t rows, int64_t n, int64_t row_stride);

// What a reduction of `type` accumulates in, one for each of n outputs `stride` apart: double, for int32 int64.
using StoreTotals = void (*)(void* to, const void* totals, int64_t n, int64_t stride);
StoreTotals store_totals_function(RegisterType type, DType to);

// Where the rows of a time-major block lie in memory.
struct TimeMajor {
  void* const* rows;  // time 0 of each row; `width` of them (the last ones may repeat)
  int64_t first, stride;  // the first time of the block, and elements from one time to the next
  int64_t width, n;
  int64_t ahead;  // times to the block that comes next, for prefetching: a block visits so many rows that no hardware follows them all
  int64_t stored;  // stores: only so many rows
  bool stream;     // stores: past the caches
};

// A time-major block: element (row r, time t) stands at register[t·width + r]; width is a multiple of 8.
using LoadTimeMajor = void (*)(void* to, const TimeMajor& from);
using StoreTimeMajor = void (*)(const TimeMajor& to, const void* from);
// Whether no byte of a block is 0. The stride is 1.
bool all_true(const TimeMajor& from);
LoadTimeMajor load_time_major_function(DType from, RegisterType to);
StoreTimeMajor store_time_major_function(RegisterType from, DType to);

}  // namespace vantage::cpu::VANTAGE_ISA
