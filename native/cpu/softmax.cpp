// softmax and log-softmax of rows.
#include "../core/kernels.h"
#include "scratch.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

// `row` holds n elements, padded to whole vectors with -inf (which adds nothing to the sum); it is replaced by the result.
template <class T>
void softmax_row(T* row, int64_t n, bool log) {
  constexpr int L = kLanes<T>;
  Vector<T> high = splat(T(-__builtin_inf()));
  for (int64_t i = 0; i < n; i += L) high = load(row + i) > high ? load(row + i) : high;
  const T max = max_of<T>(high);
  // Partial sums of a chunk hide the latency of an addition; chunks are added in double.
  double total = 0;
  for (int64_t start = 0; start < n; start += 1024) {
    const int64_t stop = smaller(n, start + 1024);
    Vector<T> even = {}, odd = {};
    const auto add = [&](Vector<T>& sum, int64_t at) __attribute__((always_inline)) {
      const Vector<T> shifted = load(row + at) - max, e = exp_of(shifted);
      sum += e;
      store(row + at, log ? shifted : e);
    };
    int64_t i = start;
    for (; i + L < stop; i += 2 * L) add(even, i), add(odd, i + L);
    if (i < stop) add(even, i);
    total += static_cast<double>(sum_of<T>(even + odd));
  }
  const T factor = static_cast<T>(1 / total), offset = static_cast<T>(log ? log_of(total) : 0);
  if (log) {
    for (int64_t i = 0; i < n; i += L) store(row + i, load(row + i) - offset);
  } else {
    for (int64_t i = 0; i < n; i += L) store(row + i, load(row + i) * factor);
  }
}

template <class T>
void softmax_rows(const TensorView& x, const TensorView& out, bool log) {
  const int64_t rows = x.shape[0], cols = x.shape[1], width = padded<T>(cols);
  const int64_t group = larger<int64_t>(1, 4096 / (cols + 1));
  parallel_for(ceil_div(rows, group), rows * cols * 4, [&](int64_t task) {
    T* row = scratch<T>(Scratch::rows, width);
    for (int64_t r = task * group; r < smaller(rows, (task + 1) * group); ++r) {
      read_row(x, r * x.strides[0], x.strides[1], cols, row);
      for (int64_t i = cols; i < width; ++i) row[i] = T(-__builtin_inf());
      softmax_row(row, cols, log);
      write_row(row, cols, out, r * out.strides[0], out.strides[1]);
    }
  });
}

}  // namespace

void softmax(const KernelCall& call) {
  const TensorView &x = call.views[0], &out = call.views[1];
  const bool log = call.attributes[0] != 0;
  const bool wide = x.dtype == DType::f64 || out.dtype == DType::f64;
  wide ? softmax_rows<double>(x, out, log) : softmax_rows<float>(x, out, log);
}

}  // namespace vantage::cpu::VANTAGE_ISA
