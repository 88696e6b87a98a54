// Group-relative advantages from token rewards: the masked sum of each row, statistics over its group, one number for all valid tokens of the row.
#include "../core/group_advantage.h"
#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "groups.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = kGroupThreads, kAhead = 4;
constexpr int64_t kPiece = int64_t{kThreads} * kAhead * 2;  // fours of a row that a block takes
constexpr int kShort = 512;                                 // fours up to which a warp takes a whole row
// Rows that so few lanes read at one go; a warp takes several of them.
constexpr int kFewLanes = 8, kVeryShort = kFewLanes * kAhead;

// A row is a piece for lanes of a warp (kLanes up to 32) or has several, each for a block (kLanes 256). sums: [B][pieces].
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) sums_of_pieces(const Rows<const T> rewards, const Rows<uint8_t> mask, const Fours fours, int64_t pieces, double* sums) {
  __shared__ double shared[kThreads / 32];
  const int lane = threadIdx.x % kLanes;
  const int64_t piece = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes, row = piece / pieces;
  const bool exists = row < fours.rows;
  const int64_t first = piece % pieces * kPiece, count = exists ? fours.count(row) : 0, stop = kLanes <= 32 ? count : std::min(count, first + kPiece);
  double sum = 0;
  for (int64_t start = first + lane; start < stop; start += kLanes * kAhead) {
    T values[kAhead][4];
    uint32_t valid[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const Four at = start + k * kLanes < stop ? fours.at(row, start + k * kLanes) : fours.nowhere(row);
      load(values[k], rewards, at);
      valid[k] = load_bytes(mask, at);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += has_byte(valid[k], i) ? static_cast<double>(values[k][i]) : 0;
    }
  }
  sum = lanes_sum<std::min(kLanes, 32)>(sum);
  if constexpr (kLanes <= 32) {
    if (lane == 0 && exists) sums[row] = sum;
  } else {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int w = 1; w < kThreads / 32; ++w) sum += shared[w];
    sums[piece] = sum;
  }
}

template <class T>
struct Comparison {
  GroupLists lists;
  GroupRule rule;
  const double* sums;
  int64_t pieces;
  Column<T> results;

  // As the type of the rewards holds it: sums that are equal there are equal.
  __device__ __forceinline__ double score(int64_t row) const {
    double sum = 0;
    for (int64_t i = 0; i < pieces; ++i) sum += sums[row * pieces + i];
    return static_cast<double>(static_cast<T>(sum));
  }
};

// Rows of no group keep the zeros.
template <class T>
__global__ void __launch_bounds__(kThreads) clear_and_check(const Comparison<T> c) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < c.lists.count) c.results[i] = 0;
  c.lists.check(i);
}

// A team a group. The mean first: no digits are lost to a common offset.
template <class T, int kTeam>
__global__ void __launch_bounds__(kThreads) compare(const Comparison<T> c) {
  __shared__ double shared[kThreads / 32];
  const int64_t number = group_of_team<kTeam>();
  if (number >= c.lists.groups) return;
  Moments group;
  double sum = 0, rest = 0;
  c.lists.template each<kTeam>(number, [&](int64_t row) { group.count += 1, sum += c.score(row); });
  group.count = team_sum<kTeam>(group.count, shared), sum = team_sum<kTeam>(sum, shared);
  group.mean = group.count == 0 ? 0 : sum / group.count;
  c.lists.template each<kTeam>(number, [&](int64_t row) {
    const double difference = c.score(row) - group.mean;
    rest += difference;
    group.spread += difference * difference;
  });
  group.spread = team_sum<kTeam>(group.spread, shared), rest = team_sum<kTeam>(rest, shared);
  // The mean of equal doubles, rounded, is not always that number, and what it differs by would be whitened; of floats double rounds nothing.
  rest = sizeof(T) == 8 && group.count > 0 ? rest / group.count : 0;
  c.lists.template each<kTeam>(number, [&](int64_t row) {
    const double score = c.score(row);
    c.results[row] = static_cast<T>(group_advantage(c.rule, score, score - group.mean - rest, group));
  });
}

// The pieces are those of the sums.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) spread(const Column<const T> results, const Rows<uint8_t> mask, const Fours fours, int64_t pieces, const Rows<T> out) {
  const int lane = threadIdx.x % kLanes;
  const int64_t piece = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes, row = piece / pieces;
  if (row >= fours.rows) return;
  const int64_t first = piece % pieces * kPiece, count = fours.count(row), stop = kLanes <= 32 ? count : std::min(count, first + kPiece);
  const T value = results[row];
  for (int64_t start = first + lane; start < stop; start += kLanes * kAhead) {
    Four at[kAhead];
    uint32_t valid[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      at[k] = start + k * kLanes < stop ? fours.at(row, start + k * kLanes) : fours.nowhere(row);
      valid[k] = load_bytes(mask, at[k]);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      T x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = has_byte(valid[k], i) ? value : T(0);
      store(out, at[k], x);
    }
  }
}

dim3 blocks_of(int64_t threads) { return dim3(static_cast<unsigned>(ceil_div(threads, kThreads))); }

template <class T>
void run(const KernelCall& call) {
  const char* const kernel = "group_advantages";
  const TensorView *v = call.views, &rewards = v[0], &mask = v[1], &out = v[4];
  const Fours fours = fours_of(rewards, {&mask, &out});
  const int lanes = fours.rows <= 1 || fours.most() > kShort ? kThreads : fours.most() > kVeryShort ? 32 : kFewLanes;
  const int64_t pieces = lanes <= 32 ? 1 : std::max<int64_t>(1, ceil_div(fours.most(), kPiece));
  const dim3 grid = blocks_of(fours.rows * pieces * lanes);
  const Temporary memory(kernel, static_cast<size_t>(8 * (fours.rows * pieces + 1)));
  const Comparison<T> c = {group_lists(kernel, v[2], v[3]), group_rule(call.scalars, call.attributes[0]), memory.as<double>(), pieces, column<T>(v[5])};
  const auto sum = lanes == kThreads ? sums_of_pieces<T, kThreads> : lanes == 32 ? sums_of_pieces<T, 32> : sums_of_pieces<T, kFewLanes>;
  const auto give = lanes == kThreads ? spread<T, kThreads> : lanes == 32 ? spread<T, 32> : spread<T, kFewLanes>;
  launch(kernel, clear_and_check<T>, blocks_of(c.lists.checks()), kThreads, 0, c);
  launch(kernel, sum, grid, kThreads, 0, rows_of<const T>(rewards), rows_of<uint8_t>(mask), fours, pieces, memory.as<double>());
  launch(kernel, c.lists.team() == 32 ? compare<T, 32> : compare<T, kThreads>, c.lists.grid(), kThreads, 0, c);
  launch(kernel, give, grid, kThreads, 0, column<const T>(v[5]), rows_of<uint8_t>(mask), fours, pieces, rows_of<T>(out));
}

}  // namespace

void group_advantages(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
