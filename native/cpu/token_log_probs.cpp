// Log-probability of a token and entropy of its distribution, and the gradient of both (logits.h).
#include "logits.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T, class From>
void forward(const KernelCall& call) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  const T scale = static_cast<T>(call.scalars[0]);
  for_rows(logits, [&](int64_t r) {
    const int64_t start = r * logits.strides[0], id = token_of(ids, r, logits.shape[1], "token_log_probs");
    Totals totals{kNone, 0, 0};
    add_row<T, From>(logits, start, logits.shape[1], scale, totals);
    const RowResult result = result_of(totals, static_cast<T>(element(logits, start + id * logits.strides[1])), scale);
    set(call.views[2], r, result.log_prob);
    set(call.views[3], r, result.entropy);
    set(call.views[4], r, result.lse);
  });
}

template <class T>
void backward(const KernelCall& call) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  const T scale = static_cast<T>(call.scalars[0]);
  for_rows(logits, [&](int64_t r) {
    const auto at = [&](int view) { return static_cast<T>(element(call.views[view], r * call.views[view].strides[0])); };
    const int64_t id = token_of(ids, r, logits.shape[1], "token_log_probs_backward");
    write_gradient<T>(logits, call.views[6], r, id, {scale, at(2), at(3), at(4), at(5)});
  });
}

}  // namespace

void token_log_probs(const KernelCall& call) {
  const DType dtype = call.views[0].dtype;
  if (dtype == DType::f64) forward<double, double>(call);
  else dtype == DType::bf16 ? forward<float, bf16>(call) : forward<float, float>(call);
}

void token_log_probs_backward(const KernelCall& call) { call.views[0].dtype == DType::f64 ? backward<double>(call) : backward<float>(call); }

}  // namespace vantage::cpu::VANTAGE_ISA
