// Stores past the caches, for outputs that would only push out what is needed.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cache.h"
#include "simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vantage::cpu::VANTAGE_ISA {

// Whether pieces of so many bytes, side by side in memory, are worth streaming: where two meet inside a line, it is written both ways.
static inline bool streams_well(int64_t bytes) { return bytes % 64 == 0 || bytes >= 8192; }

// Whole lines of 64 bytes, so that none is read first; what lies before and after them is stored as usual.
template <class T>
void stream_row(T* to, const T* from, int64_t n) {
  int64_t i = 0;
#if defined(__x86_64__)
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % 64 != 0; ++i) to[i] = from[i];
  for (; i + kLine <= n; i += kLine) {
    const char* source = reinterpret_cast<const char*>(from + i);
    char* line = reinterpret_cast<char*>(to + i);
#if defined(__AVX__)
#pragma GCC unroll 2
    for (int part = 0; part < 64; part += 32) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(line + part), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + part)));
    }
#else
#pragma GCC unroll 4
    for (int part = 0; part < 64; part += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(line + part), _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + part)));
    }
#endif
  }
#endif
  for (; i < n; ++i) to[i] = from[i];
}

// n zeros, likewise.
template <class T>
void stream_zeros(T* to, int64_t n) {
  alignas(64) static constexpr T kZeros[64 / sizeof(T)] = {};
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % 64 != 0; ++i) to[i] = 0;
  for (; i + kLine <= n; i += kLine) stream_row(to + i, kZeros, kLine);
  for (; i < n; ++i) to[i] = 0;
}

// Before others may read what this thread streamed.
VANTAGE_INLINE void finish_stream() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace vantage::cpu::VANTAGE_ISA
