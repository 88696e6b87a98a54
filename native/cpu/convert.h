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

// What a reduction of `type` accumulates in, one for each of n outputs `stride` apart: double, for int32 int64.
using StoreTotals = void (*)(void* to, const void* totals, int64_t n, int64_t stride);
StoreTotals store_totals_function(RegisterType type, DType to);

// A time-major block: element (row r, time t) stands at register[t·width + r]; width is a multiple of 8. `from[r]` is the first element of row
// r; there are `width` of them for loads (the last ones may repeat), `rows` for stores.
using LoadTimeMajor = void (*)(void* to, const void* const* from, int64_t width, int64_t n, int64_t stride);
using StoreTimeMajor = void (*)(void* const* to, const void* from, int64_t rows, int64_t width, int64_t n, int64_t stride);
LoadTimeMajor load_time_major_function(DType from, RegisterType to);
StoreTimeMajor store_time_major_function(RegisterType from, DType to);

}  // namespace vantage::cpu::VANTAGE_ISA
