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

// logits and ids first, then one value a row in each of the views from `first` to `last`.
void check(const char* kernel, const KernelCall& call, const char* const* names, int last) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  check_dtype(kernel, "logits", logits, kFloating);
  check_ndim(kernel, "logits", logits, 2, 2);
  check_dtype(kernel, "ids", ids, bit(DType::i32));
  check_shape(kernel, "ids", ids, {logits.shape[0]});
  for (int i = 2; i <= last; ++i) {
    check_dtype(kernel, names[i - 2], call.views[i], bit(computed_in(logits.dtype)));
    check_shape(kernel, names[i - 2], call.views[i], {logits.shape[0]});
  }
}

}  // namespace

void token_log_probs(const KernelCall& call) {
  constexpr const char* names[] = {"log_probs", "entropy", "lse"};
  check("token_log_probs", call, names, 4);
  const DType dtype = call.views[0].dtype;
  if (dtype == DType::f64) forward<double, double>(call);
  else dtype == DType::bf16 ? forward<float, bf16>(call) : forward<float, float>(call);
}

void token_log_probs_backward(const KernelCall& call) {
  constexpr const char* names[] = {"lse", "entropy", "d_log_probs", "d_entropy"};
  check("token_log_probs_backward", call, names, 5);
  check_dtype("token_log_probs_backward", "d_logits", call.views[6], kFloating);
  check_shape_of("token_log_probs_backward", "d_logits", call.views[6], call.views[0]);
  call.views[0].dtype == DType::f64 ? backward<double>(call) : backward<float>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
