// Count, mean and spread of each group of rows, given to each of its rows.
#include "../core/kernel_arguments.h"
#include "groups.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = kGroupThreads;

template <class T>
struct Groups {
  Column<const T> scores;
  Column<const uint8_t> valid;
  GroupLists lists;
  Column<double> results[3];  // count, mean, spread
};

// Rows of no group keep the zeros.
template <class T>
__global__ void __launch_bounds__(kThreads) clear_and_check(const Groups<T> g) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < g.lists.count) {
    for (const Column<double>& result : g.results) result[i] = 0;
  }
  g.lists.check(i);
}

// A team a group. The mean first: no digits are lost to a common offset.
template <class T, int kTeam>
__global__ void __launch_bounds__(kThreads) moments_of_groups(const Groups<T> g) {
  __shared__ double shared[kThreads / 32];
  const int64_t group = group_of_team<kTeam>();
  if (group >= g.lists.groups) return;
  double count = 0, sum = 0, spread = 0;
  g.lists.template each<kTeam>(group, [&](int64_t row) {
    if (g.valid[row]) count += 1, sum += static_cast<double>(g.scores[row]);
  });
  count = team_sum<kTeam>(count, shared), sum = team_sum<kTeam>(sum, shared);
  const double mean = count == 0 ? 0 : sum / count;
  g.lists.template each<kTeam>(group, [&](int64_t row) {
    const double difference = static_cast<double>(g.scores[row]) - mean;
    if (g.valid[row]) spread += difference * difference;
  });
  spread = team_sum<kTeam>(spread, shared);
  g.lists.template each<kTeam>(group, [&](int64_t row) {
    g.results[0][row] = count;
    g.results[1][row] = mean;
    g.results[2][row] = spread;
  });
}

template <class T>
void run(const KernelCall& call) {
  const TensorView* v = call.views;
  const Groups<T> g = {column<const T>(v[0]), column<const uint8_t>(v[1]), group_lists("group_moments", v[2], v[3]),
                       {column<double>(v[4]), column<double>(v[5]), column<double>(v[6])}};
  launch("group_moments", clear_and_check<T>, dim3(static_cast<unsigned>(ceil_div(g.lists.checks(), kThreads))), kThreads, 0, g);
  launch("group_moments", g.lists.team() == 32 ? moments_of_groups<T, 32> : moments_of_groups<T, kThreads>, g.lists.grid(), kThreads, 0, g);
}

}  // namespace

void group_moments(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
