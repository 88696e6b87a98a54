// The moments of what a mask keeps of each row, and the whitening of an array by those of all rows.
#include <algorithm>

#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "device.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256, kAhead = 4;
constexpr int64_t kPiece = int64_t{kThreads} * kAhead * 2;  // fours of a row that a block takes
constexpr int kShort = 512;                                 // fours up to which a warp takes a whole row
constexpr int64_t kRowsOfSum = 4096;                        // rows of moments that a block joins

// A row is a piece for a warp (kLanes 32) or has several, each for a block (kLanes 256). Rows of moments: [B][pieces].
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) moments_of_pieces(const Rows<const T> x, const Rows<uint8_t> mask, const Fours fours, int64_t pieces,
                                                             const Rows<double> moments) {
  __shared__ double shared[kThreads / 32][3];
  const int lane = threadIdx.x % kLanes;
  const int64_t piece = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes, row = piece / pieces;
  const bool exists = row < fours.rows;
  const int64_t first = piece % pieces * kPiece, count = exists ? fours.count(row) : 0, stop = kLanes == 32 ? count : std::min(count, first + kPiece);
  MomentSums sums;
  for (int64_t start = first + lane; start < stop; start += kLanes * kAhead) {
    T values[kAhead][4];
    uint32_t valid[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const Four at = start + k * kLanes < stop ? fours.at(row, start + k * kLanes) : fours.nowhere(row);
      load(values[k], x, at);
      valid[k] = load_bytes(mask, at);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) sums.add(values[k], valid[k]);
  }
  if constexpr (kLanes == 32) {
    const Moments m = team_moments<32>(sums.result());
    if (lane == 0 && exists) write_moments(moments, row, m);
  } else {
    const Moments m = block_moments<kThreads>(sums.result(), shared);
    if (threadIdx.x == 0) write_moments(moments, piece, m);
  }
}

// Joins each `group` rows of moments.
__global__ void __launch_bounds__(kThreads) join_groups(const Rows<const double> from, int64_t rows, int64_t group, const Rows<double> to) {
  __shared__ double shared[kThreads / 32][3];
  const int64_t first = blockIdx.x * group, stop = std::min(rows, first + group);
  Moments m;
  for (int64_t i = first + threadIdx.x; i < stop; i += kThreads) {
    Moments one;
    one.count = from.at(i, 0), one.mean = from.at(i, 1), one.spread = from.at(i, 2);
    combine(m, one);
  }
  m = block_moments<kThreads>(m, shared);
  if (threadIdx.x == 0) write_moments(to, blockIdx.x, m);
}

struct Normalisation {
  double epsilon, ddof;
  bool add_mean, epsilon_outside;
};

template <class T>
__global__ void __launch_bounds__(kThreads) apply(const Rows<const T> x, const Rows<uint8_t> mask, const Fours fours, int64_t pieces, const double* moments,
                                                 const Normalisation n, const Rows<T> out) {
  // Every thread for itself: the same numbers, from the cache.
  const Moments all = read_moments({const_cast<double*>(moments), 3, 1}, 0);
  const double factor = whitening_factor(all, n.ddof, n.epsilon, n.epsilon_outside), offset = n.add_mean ? all.mean : 0;
  // From the end: what the pass before it, that of the moments or of what made x, went over last is in the cache still.
  const int64_t part = gridDim.x - 1 - blockIdx.x;
  const int64_t row = part / pieces, start = part % pieces * kThreads * kAhead + threadIdx.x, count = fours.count(row);
  T values[kAhead][4];
  uint32_t valid[kAhead];
  Four at[kAhead];
#pragma unroll
  for (int k = 0; k < kAhead; ++k) {
    at[k] = start + k * kThreads < count ? fours.at(row, start + k * kThreads) : fours.nowhere(row);
    load(values[k], x, at[k]);
    valid[k] = load_bytes(mask, at[k]);
  }
#pragma unroll
  for (int k = 0; k < kAhead; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // In double: a common offset of the x costs no digits.
      const double whitened = (static_cast<double>(values[k][i]) - all.mean) * factor + offset;
      values[k][i] = byte_of(valid[k], i) != 0 ? static_cast<T>(whitened) : T(0);
    }
    store(out, at[k], values[k]);
  }
}

int64_t pieces_of(const Fours& fours) { return fours.most() <= kShort && fours.rows > 1 ? 1 : std::max<int64_t>(1, ceil_div(fours.most(), kPiece)); }

template <class T>
void take_moments(const char* what, const TensorView& x, const TensorView& mask, const Fours& fours, int64_t pieces, const Rows<double>& to) {
  const bool short_rows = fours.most() <= kShort && fours.rows > 1;
  const int64_t blocks = short_rows ? ceil_div(fours.rows * 32, kThreads) : fours.rows * pieces;
  launch(what, short_rows ? moments_of_pieces<T, 32> : moments_of_pieces<T, kThreads>, dim3(static_cast<unsigned>(blocks)), kThreads, 0,
         rows_of<const T>(x), rows_of<uint8_t>(mask), fours, pieces, to);
}

void join(const char* what, const Rows<double>& from, int64_t rows, int64_t group, const Rows<double>& to) {
  launch(what, join_groups, dim3(static_cast<unsigned>(std::max<int64_t>(1, ceil_div(rows, group)))), kThreads, 0,
         Rows<const double>{from.data, from.row, from.step}, rows, group, to);
}

template <class T>
void run_moments(const KernelCall& call) {
  const TensorView &x = call.views[0], &mask = call.views[1];
  if (x.shape[0] == 0) return;
  const Fours fours = fours_of(x, {&mask});
  const int64_t pieces = pieces_of(fours);
  const Rows<double> moments = rows_of<double>(call.views[2]);
  if (pieces == 1) return take_moments<T>("masked_moments", x, mask, fours, 1, moments);
  const Temporary memory("masked_moments", static_cast<size_t>(24 * fours.rows * pieces));
  const Rows<double> parts = {memory.as<double>(), 3, 1};
  take_moments<T>("masked_moments", x, mask, fours, pieces, parts);
  join("masked_moments", parts, fours.rows * pieces, pieces, moments);
}

template <class T>
void run_whiten(const KernelCall& call) {
  TensorView x = call.views[0], mask = call.views[1], out = call.views[3];
  const TensorView& given = call.views[2];
  if (x.size() == 0) return;
  if (x.contiguous() && mask.contiguous() && out.contiguous()) x = flat(x), mask = flat(mask), out = flat(out);
  const Fours fours = fours_of(x, {&mask, &out});

  // One row of moments in the end, from those given or from those of pieces, in two steps where they are many.
  const bool known = given.size() > 0;
  const int64_t pieces = pieces_of(fours), rows = known ? given.shape[0] : fours.rows * pieces, groups = ceil_div(rows, kRowsOfSum);
  const Temporary memory("whiten", static_cast<size_t>(24 * ((known ? 0 : rows) + groups + 1)));
  const Rows<double> all = {memory.as<double>(), 3, 1}, sums = {all.data + 3, 3, 1}, taken = {sums.data + 3 * groups, 3, 1};
  if (!known) take_moments<T>("whiten", x, mask, fours, pieces, taken);
  const Rows<double> from = known ? rows_of<double>(given) : taken;
  if (groups > 1) {
    join("whiten", from, rows, kRowsOfSum, sums);
    join("whiten", sums, groups, groups, all);
  } else {
    join("whiten", from, rows, rows, all);
  }

  const int mode = static_cast<int>(call.attributes[0]);
  const int64_t parts = std::max<int64_t>(1, ceil_div(fours.most(), kThreads * kAhead));
  launch("whiten", apply<T>, dim3(static_cast<unsigned>(fours.rows * parts)), kThreads, 0, rows_of<const T>(x), rows_of<uint8_t>(mask), fours, parts,
         all.data, Normalisation{call.scalars[0], call.scalars[1], (mode & 1) != 0, (mode & 2) != 0}, rows_of<T>(out));
}

}  // namespace

void masked_moments(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run_moments<double>(call) : run_moments<float>(call);
}

void whiten(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run_whiten<double>(call) : run_whiten<float>(call);
}

}  // namespace vantage::cuda
