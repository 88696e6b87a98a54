// Count, mean and spread of each group of rows, given to each of its rows.
#include "../core/kernels.h"
#include "groups.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
void run_group_moments(const KernelCall& call, const GroupLists& lists) {
  const TensorView &scores = call.views[0], &valid = call.views[1];
  const TensorView* const out = call.views + 4;
  for (int64_t i = 0; i < lists.count; ++i) {
    for (int k = 0; k < 3; ++k) element<double>(out[k], i) = 0;
  }
  for (int64_t group = 0; group < lists.groups(); ++group) {
    // The mean first: no digits are lost to a common offset.
    double count = 0, sum = 0, spread = 0;
    const auto each = [&](const auto& body) __attribute__((always_inline)) {
      for (int64_t i = lists.start(group); i < lists.start(group + 1); ++i) {
        const int64_t row = lists.row(i);
        if (element<uint8_t>(valid, row)) body(static_cast<double>(element<T>(scores, row)));
      }
    };
    each([&](double score) { count += 1, sum += score; });
    const double mean = count == 0 ? 0 : sum / count;
    each([&](double score) { spread += (score - mean) * (score - mean); });
    for (int64_t i = lists.start(group); i < lists.start(group + 1); ++i) {
      const int64_t row = lists.row(i);
      element<double>(out[0], row) = count;
      element<double>(out[1], row) = mean;
      element<double>(out[2], row) = spread;
    }
  }
}

}  // namespace

void group_moments(const KernelCall& call) {
  const GroupLists lists = {call.views[2], call.views[3], call.views[0].shape[0]};
  lists.check("group_moments");
  call.views[0].dtype == DType::f64 ? run_group_moments<double>(call, lists) : run_group_moments<float>(call, lists);
}

}  // namespace vantage::cpu::VANTAGE_ISA
