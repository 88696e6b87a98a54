// Count, mean and spread of each group of rows, given to each of its rows.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "device.h"
#include "report.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Groups {
  Column<const T> scores;
  Column<const uint8_t> valid;
  Column<const int32_t> rows, starts;
  Column<double> results[3];  // count, mean, spread
  int64_t count, groups;
  Report bad_row, bad_start, falling;
};

// Rows of no group keep the zeros. What is wrong with the arguments is reported here and left out below.
template <class T>
__global__ void __launch_bounds__(kThreads) clear_and_check(const Groups<T> g) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < g.count) {
    for (const Column<double>& result : g.results) result[i] = 0;
    if (g.rows[i] < 0 || g.rows[i] >= g.count) g.bad_row.index(g.rows[i], i, g.count);
  }
  if (i <= g.groups) {
    if (g.starts[i] < 0 || g.starts[i] > g.count) g.bad_start.index(g.starts[i], i, g.count + 1);
    else if (i > 0 && g.starts[i] < g.starts[i - 1]) g.falling.row(i);
  }
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(kAllLanes, x, d);
  return x;
}

// A warp a group. The mean first: no digits are lost to a common offset.
template <class T>
__global__ void __launch_bounds__(kThreads) moments_of_groups(const Groups<T> g) {
  const int64_t group = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  const int lane = threadIdx.x % 32;
  if (group >= g.groups) return;
  const int64_t first = std::max(0, g.starts[group]), last = std::min(int64_t{g.starts[group + 1]}, g.count);
  const auto each = [&](const auto& body) {
    for (int64_t i = first + lane; i < last; i += 32) {
      const int64_t row = g.rows[i];
      if (row >= 0 && row < g.count) body(row);
    }
  };
  double count = 0, sum = 0, spread = 0;
  each([&](int64_t row) {
    if (g.valid[row]) count += 1, sum += static_cast<double>(g.scores[row]);
  });
  count = warp_sum(count), sum = warp_sum(sum);
  const double mean = count == 0 ? 0 : sum / count;
  each([&](int64_t row) {
    const double difference = static_cast<double>(g.scores[row]) - mean;
    if (g.valid[row]) spread += difference * difference;
  });
  spread = warp_sum(spread);
  each([&](int64_t row) {
    g.results[0][row] = count;
    g.results[1][row] = mean;
    g.results[2][row] = spread;
  });
}

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const int64_t count = v[0].shape[0], groups = v[3].shape[0] - 1;
  const Groups<T> g = {column<const T>(v[0]), column<const uint8_t>(v[1]), column<const int32_t>(v[2]), column<const int32_t>(v[3]),
                       {column<double>(v[4]), column<double>(v[5]), column<double>(v[6])}, count, groups, index_report("group_moments", "row"),
                       index_report("group_moments", "start"),
                       row_report("group_moments", "starts: expected numbers that do not fall, got a smaller one at position")};
  const int64_t checked = std::max(count, groups + 1);
  launch("group_moments", clear_and_check<T>, dim3(static_cast<unsigned>(ceil_div(checked, kThreads))), kThreads, 0, g);
  if (groups > 0) launch("group_moments", moments_of_groups<T>, dim3(static_cast<unsigned>(ceil_div(groups * 32, kThreads))), kThreads, 0, g);
}

}  // namespace

void group_moments(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
