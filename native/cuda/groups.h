// Which rows are a group's: the rows, group by group, and where each group starts. What is wrong with them is reported, and left out.
#pragma once
#include <algorithm>

#include "device.h"
#include "report.h"

namespace vantage::cuda {

struct GroupLists {
  Column<const int32_t> rows, starts;
  int64_t count, groups;  // rows, groups
  Report bad_row, bad_start, falling;

  // How many indices there are to check.
  int64_t checks() const { return std::max(count, groups + 1); }
  __device__ __forceinline__ void check(int64_t i) const {
    if (i < count && (rows[i] < 0 || rows[i] >= count)) bad_row.index(rows[i], i, count);
    if (i > groups) return;
    if (starts[i] < 0 || starts[i] > count) bad_start.index(starts[i], i, count + 1);
    else if (i > 0 && starts[i] < starts[i - 1]) falling.row(i);
  }

  // Calls body(row) for each row of a group that falls to this lane of a warp.
  template <class Body>
  __device__ __forceinline__ void each(int64_t group, int lane, const Body& body) const {
    const int64_t first = std::max(0, starts[group]), last = std::min(int64_t{starts[group + 1]}, count);
    for (int64_t i = first + lane; i < last; i += 32) {
      const int64_t row = rows[i];
      if (row >= 0 && row < count) body(row);
    }
  }
};

inline GroupLists group_lists(const char* kernel, const TensorView& rows, const TensorView& starts) {
  return {column<const int32_t>(rows), column<const int32_t>(starts), rows.shape[0], starts.shape[0] - 1, index_report(kernel, "row"), index_report(kernel, "start"),
          row_report(kernel, "starts: expected numbers that do not fall, got a smaller one at position")};
}

}  // namespace vantage::cuda
