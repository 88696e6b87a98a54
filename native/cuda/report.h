// A failure that a kernel may find, prepared on the host: the texts are the host's, and the kernel gives the numbers.
#pragma once
#include "failure.h"

namespace vantage::cuda {

struct Report {
  Failure* slot;
  FailureKind kind;
  const char *kernel, *text;

  __device__ __forceinline__ void index(long long index, long long position, long long limit) const {
    report_failure(slot, kind, kernel, text, index, position, limit);
  }
  __device__ __forceinline__ void row(long long row) const { report_failure(slot, kind, kernel, text, row, row, 0); }
};

inline Report index_report(const char* kernel, const char* argument) { return {failure_slot(), FailureKind::index, kernel, argument}; }
inline Report row_report(const char* kernel, const char* text) { return {failure_slot(), FailureKind::row, kernel, text}; }

}  // namespace vantage::cuda
