// scatter_add along one axis, as torch.scatter_add, in the order of src: the places are sorted by where they go (stable), and each sum is taken by one thread.
#include "../core/error.h"
#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "positions.h"
#include "report.h"
#include "sort.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

// The dimensions are in two groups: lines, each of which has one index, and the columns of a line, along which the index is broadcast. A place is a line of src.
struct Scatter {
  const int32_t* index;
  Positions<3> lines;         // index, src, key: the key counts the lines of out
  Positions<2> columns;       // src, out
  Positions<1> targets;       // the lines of out
  int64_t step, limit, unit; // the key's step along the axis; its extent; columns
  uint32_t* keys;
  uint32_t* places;
  int* broken;               // an index is wrong: out stays as it is
  Report bad_index;
};

__global__ void __launch_bounds__(kThreads) find_keys(const Scatter s) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= s.lines.size) return;
  int64_t offset[3];
  s.lines.offsets(i, offset);
  const int64_t index = s.index[offset[0]];
  if (index < 0 || index >= s.limit) {
    *s.broken = 1;
    s.bad_index.index(index, i * s.unit, s.limit);
    return;
  }
  s.keys[i] = static_cast<uint32_t>(offset[2] + index * s.step);
  s.places[i] = static_cast<uint32_t>(i);
}

template <class T>
__global__ void __launch_bounds__(kThreads) clear(T* out, const Positions<1> all, const int* broken) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= all.size || *broken) return;
  int64_t offset[1];
  all.offsets(i, offset);
  out[offset[0]] = 0;
}

// A thread for each column of each place; the one at the first place of its key adds all of that key.
template <class T, class From>
__global__ void __launch_bounds__(kThreads) add_runs(const From* src, T* out, const Scatter s, const uint32_t* keys, const uint32_t* places) {
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x, n = s.lines.size;
  if (thread >= n * s.columns.size || *s.broken) return;
  int64_t first = thread / s.columns.size;
  const uint32_t key = keys[first];
  if (first > 0 && keys[first - 1] == key) return;
  int64_t column[2], target[1];
  s.columns.offsets(thread % s.columns.size, column);
  s.targets.offsets(key, target);
  T sum = 0;
  for (int64_t i = first; i < n && keys[i] == key; ++i) {
    int64_t offset[3];
    s.lines.offsets(places[i], offset);
    sum += static_cast<T>(load_as_computed(src[offset[1] + column[0]]));
  }
  out[target[0] + column[1]] = sum;
}

int bits_for(int64_t count) {
  int bits = 1;
  while (bits < 32 && int64_t{1} << bits < count) ++bits;
  return bits;
}

template <class T, class From>
void run(const KernelCall& call) {
  const char* const what = "scatter_add";
  const TensorView &index = call.views[0], &src = call.views[1], &out = call.views[2];
  const int axis = static_cast<int>(call.attributes[0]);
  int lines = index.ndim;
  while (lines - 1 > axis && index.strides[lines - 1] == 0) --lines;

  Scatter s{};
  int64_t steps[kMaxDims], targets = 1;
  for (int d = lines - 1; d >= 0; --d) steps[d] = targets, targets *= out.shape[d];
  Positions<1> all;
  for (int d = 0; d < index.ndim; ++d) {
    all.append(out.shape[d], {out.strides[d]});
    if (d < lines) {
      s.lines.append(index.shape[d], {index.strides[d], src.strides[d], d == axis ? 0 : steps[d]});
      s.targets.append(out.shape[d], {out.strides[d]});
    } else {
      s.columns.append(src.shape[d], {src.strides[d], out.strides[d]});
    }
  }
  const int64_t n = s.lines.size;
  constexpr int64_t kMost = int64_t{1} << 31;
  if (targets > kMost || n > kMost) fail("scatter_add: expected at most 2^31 indices and places for them, got %lld and %lld", (long long)n, (long long)targets);
  const auto grid = [](int64_t threads) { return dim3(static_cast<unsigned>(ceil_div(threads, kThreads))); };
  const int64_t histogram = sort_histogram_size(n);
  const Temporary memory(what, static_cast<size_t>(4 * (4 * n + histogram + 1)));
  uint32_t* const base = memory.as<uint32_t>();
  uint32_t *keys[2] = {base, base + n}, *places[2] = {base + 2 * n, base + 3 * n};
  s.index = index.as<const int32_t>(), s.step = steps[axis], s.limit = out.shape[axis], s.unit = s.columns.size;
  s.keys = keys[0], s.places = places[0], s.broken = reinterpret_cast<int*>(base + 4 * n + histogram), s.bad_index = index_report(what, "index");
  check(cudaMemsetAsync(s.broken, 0, sizeof(int), stream()), what);
  launch(what, find_keys, grid(n), kThreads, 0, s);
  launch(what, clear<T>, grid(all.size), kThreads, 0, out.as<T>(), all, s.broken);
  if (n * s.columns.size == 0) return;
  // One place along the axis: no two meet.
  const int sorted = index.shape[axis] == 1 ? 0 : sort_positions(what, keys, places, n, bits_for(targets), base + 4 * n);
  launch(what, add_runs<T, From>, grid(n * s.columns.size), kThreads, 0, src.as<const From>(), out.as<T>(), s, keys[sorted], places[sorted]);
}

}  // namespace

void scatter_add(const KernelCall& call) {
  check_arguments(call);
  switch (call.views[1].dtype) {
    case DType::f64: return run<double, double>(call);
    case DType::bf16: return run<float, bf16>(call);
    case DType::i32: return run<int32_t, int32_t>(call);
    default: return run<float, float>(call);
  }
}

}  // namespace vantage::cuda
