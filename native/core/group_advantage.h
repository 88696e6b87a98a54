// What every token of a row gets by comparison with the rows of its group. CPU and CUDA alike take it from here.
#pragma once
#include "math.h"
#include "moments.h"

namespace vantage {

struct GroupRule {
  double ddof, epsilon, min_variance;
  bool by_deviation, epsilon_outside, leave_one_out, keeps_singletons;
};

// From the scalars and the attribute of a group_advantages call.
inline GroupRule group_rule(const double* scalars, double mode) {
  const int bits = static_cast<int>(mode);
  return {scalars[0], scalars[1], scalars[2], (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
}

// R − μ, or R minus the mean of the others, (R − μ)·n/(n−1); divided by the standard deviation where there is one. `difference` is R − μ.
VANTAGE_HD double group_advantage(const GroupRule& rule, double score, double difference, const Moments& group) {
  const double others = group.count - 1, free = group.count - rule.ddof;
  const bool kept = rule.keeps_singletons && group.count <= 1;
  const double centred = kept ? score : rule.leave_one_out ? difference * group.count / (others > 1 ? others : 1) : difference;
  if (!rule.by_deviation) return centred;
  // A single row that keeps its reward is divided as if its σ were 1.
  const double variance = kept ? 1 : free > 0 ? group.spread / (free > 1 ? free : 1) : 0;
  if (!(variance > 0)) return centred;
  const double floored = variance > rule.min_variance ? variance : rule.min_variance;
  return centred / (rule.epsilon_outside ? math::sqrt(floored) + rule.epsilon : math::sqrt(floored + rule.epsilon));
}

}  // namespace vantage
