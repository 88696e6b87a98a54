// The policy loss of sampled tokens and its gradient in the logits (../core/policy_loss.h, logits.h). Each row is read for its statistics and at once again for
// its gradient, from the cache.
#include "../core/policy_loss.h"
#include "logits.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T, class From>
void run(const KernelCall& call) {
  const TensorView &logits = call.views[0], &d_logits = call.views[9];
  const int64_t vocabulary = logits.shape[1];
  const double* s = call.scalars;
  const T scale = static_cast<T>(s[0]);
  const policy::Options<T> options = {static_cast<T>(s[1]), static_cast<T>(s[2]), static_cast<T>(s[3]), static_cast<T>(s[4]), static_cast<T>(s[5]),
                                      static_cast<T>(s[6]), static_cast<policy::Kl>(static_cast<int>(call.attributes[0])), call.views[5].shape[0] > 0};
  for_rows(logits, [&](int64_t r) {
    const auto at = [&](int view) { return static_cast<T>(element(call.views[view], r * call.views[view].strides[0])); };
    policy::Token<T> token = {};
    policy::Loss<T> loss = {};
    RowResult result = {};
    int64_t id = -1;
    token.weight = at(4);
    if (token.weight != 0) {
      id = token_of(call.views[1], r, vocabulary, "token_policy_gradient");
      token.old_log_prob = at(2), token.advantage = at(3);
      if (options.reference) token.ref_log_prob = at(5);
      Totals totals{kNone, 0, 0};
      add_row<T, From>(logits, r * logits.strides[0], vocabulary, scale, totals);
      result = result_of(totals, static_cast<T>(element(logits, r * logits.strides[0] + id * logits.strides[1])), scale);
      loss = policy::token_loss(static_cast<T>(result.log_prob), static_cast<T>(result.entropy), token, options);
    }
    set(call.views[6], r, static_cast<double>(loss.value));
    set(call.views[7], r, result.log_prob);
    set(call.views[8], r, result.entropy);
    if (d_logits.size() > 0) {
      write_gradient<T>(logits, d_logits, r, id, {scale, static_cast<T>(result.lse), static_cast<T>(result.entropy), loss.d_log_prob, loss.d_entropy});
    }
  });
}

}  // namespace

void token_policy_gradient(const KernelCall& call) {
  const DType dtype = call.views[0].dtype;
  if (dtype == DType::f64) run<double, double>(call);
  else dtype == DType::bf16 ? run<float, bf16>(call) : run<float, float>(call);
}

}  // namespace vantage::cpu::VANTAGE_ISA
