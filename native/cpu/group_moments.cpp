// Count, mean and spread of each group of rows, given to each of its rows.
#include "../core/check.h"
#include "../core/kernels.h"
#include "simd.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
T& element(const TensorView& view, int64_t i) { return view.as<T>()[i * view.strides[0]]; }

template <class T>
void run_group_moments(const KernelCall& call) {
  const TensorView &scores = call.views[0], &valid = call.views[1], &rows = call.views[2], &starts = call.views[3];
  const TensorView* const out = call.views + 4;
  for (int64_t i = 0; i < scores.shape[0]; ++i) {
    for (int k = 0; k < 3; ++k) element<double>(out[k], i) = 0;
  }
  for (int64_t group = 0; group + 1 < starts.shape[0]; ++group) {
    const int64_t first = element<int32_t>(starts, group), last = element<int32_t>(starts, group + 1);
    // The mean first: no digits are lost to a common offset.
    double count = 0, sum = 0, spread = 0;
    const auto each = [&](const auto& body) __attribute__((always_inline)) {
      for (int64_t i = first; i < last; ++i) {
        const int32_t row = element<int32_t>(rows, i);
        if (element<uint8_t>(valid, row)) body(static_cast<double>(element<T>(scores, row)));
      }
    };
    each([&](double score) { count += 1, sum += score; });
    const double mean = count == 0 ? 0 : sum / count;
    each([&](double score) { spread += (score - mean) * (score - mean); });
    for (int64_t i = first; i < last; ++i) {
      const int32_t row = element<int32_t>(rows, i);
      element<double>(out[0], row) = count;
      element<double>(out[1], row) = mean;
      element<double>(out[2], row) = spread;
    }
  }
}

}  // namespace

void group_moments(const KernelCall& call) {
  const TensorView *v = call.views, &scores = v[0], &rows = v[2], &starts = v[3];
  const char* const kernel = "group_moments";
  const int64_t count = scores.shape[0];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = element<int32_t>(rows, i);
    if (row < 0 || row >= count) fail_index(kernel, "row", row, i, count);
  }
  int64_t before = 0;
  for (int64_t g = 0; g < starts.shape[0]; ++g) {
    const int64_t start = element<int32_t>(starts, g);
    if (start < 0 || start > count) fail_index(kernel, "start", start, g, count + 1);
    if (start < before) fail_row(kernel, "starts: expected numbers that do not fall, got a smaller one at position", g);
    before = start;
  }
  scores.dtype == DType::f64 ? run_group_moments<double>(call) : run_group_moments<float>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
