// Which rows are a group's: the rows, group by group, and where each group starts. What is wrong with them is reported, and left out.
#pragma once
#include <algorithm>

#include "device.h"
#include "report.h"

namespace vantage::cuda {

// The rows of a group fall to the lanes of a team: a warp, or a whole block where groups are large.
constexpr int kGroupThreads = 256;
constexpr int64_t kRowsOfWarp = 256;

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

  int team() const { return count > groups * kRowsOfWarp ? kGroupThreads : 32; }
  dim3 grid() const { return dim3(static_cast<unsigned>(ceil_div(groups * team(), kGroupThreads))); }

  // Calls body(row) for each row of a group that falls to this thread of its team.
  template <int kTeam, class Body>
  __device__ __forceinline__ void each(int64_t group, const Body& body) const {
    const int64_t first = std::max(0, starts[group]), last = std::min(int64_t{starts[group + 1]}, count);
    for (int64_t i = first + threadIdx.x % kTeam; i < last; i += kTeam) {
      const int64_t row = rows[i];
      if (row >= 0 && row < count) body(row);
    }
  }
};

template <int kTeam>
__device__ __forceinline__ int64_t group_of_team() { return (int64_t{blockIdx.x} * kGroupThreads + threadIdx.x) / kTeam; }

// The sum over a team, in all its threads. `shared` has a place for each warp of a block.
template <int kTeam>
__device__ __forceinline__ double team_sum(double x, double* shared) {
  x = lanes_sum(x);
  if constexpr (kTeam > 32) {
    __syncthreads();  // what was there has been read
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < kTeam / 32; ++w) x += shared[w];
  }
  return x;
}

inline GroupLists group_lists(const char* kernel, const TensorView& rows, const TensorView& starts) {
  return {column<const int32_t>(rows), column<const int32_t>(starts), rows.shape[0], starts.shape[0] - 1, index_report(kernel, "row"), index_report(kernel, "start"),
          row_report(kernel, "starts: expected numbers that do not fall, got a smaller one at position")};
}

}  // namespace vantage::cuda
