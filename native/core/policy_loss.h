// The loss of a sampled token under a clipped surrogate, with the terms that go with it, and its derivatives: each formula once, on every device.
#pragma once
#include "math.h"

namespace vantage::policy {

// Of the divergence from a reference policy (Schulman 2020, "Approximating KL divergence"), in the order of the kernels' attribute. d = ℓ − ℓ_ref.
enum class Kl : int { k1, abs, k2, k3, count };  // d, |d|, d²/2, e^(−d) + d − 1

template <class T>
struct Options {
  T eps_low, eps_high;  // ε of the clip, below and above 1
  T bound;              // c of the dual clip: where A < 0 the loss is at most −c·A. Infinite: none
  T cap;                // δ: no ratio counts for more, before anything else. Infinite: none
  T entropy_coef, kl_coef;
  Kl kl;
  bool reference;       // there is one
};

// What is known of a token but its distribution. The weight is 0 where the token does not count, else 1 over what its loss is divided by.
template <class T>
struct Token {
  T old_log_prob, advantage, weight, ref_log_prob;
};

template <class T>
struct Loss {
  T value, d_log_prob, d_entropy;
};

// Log-ratios beyond ±20, and k3 beyond 10, count as that, and no gradient flows there.
constexpr double kLogRatioLimit = 20, kK3Limit = 10;

template <class T>
VANTAGE_HD T clamped(T x, T low, T high) {
  return x < low ? low : x > high ? high : x;  // a NaN stays
}
template <class T>
VANTAGE_HD bool outside(T x, T low, T high) {
  return x < low || x > high;  // a NaN is nowhere: it reaches the gradient
}

// −min(ρ·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A), ρ = min(exp(ℓ − ℓ_old), δ) (Schulman et al. 2017; ε_low ≠ ε_high: Yu et al. 2025; c: Ye et al. 2020, eq. 5), and dL/dℓ.
// Where both sides of a minimum are equal they share the gradient.
template <class T>
VANTAGE_HD Loss<T> surrogate(T log_prob, const Token<T>& token, const Options<T>& o) {
  const T limit = static_cast<T>(kLogRatioLimit), difference = log_prob - token.old_log_prob, full = math::exp(clamped(difference, -limit, limit));
  const T ratio = math::minimum(full, o.cap), low = 1 - o.eps_low, high = 1 + o.eps_high;
  const T plain = ratio * token.advantage, clipped = clamped(full, low, high) * token.advantage;
  // Of the ratio's derivative in ℓ, how much passes: through ρ·A, and through the clip.
  const T slope = outside(difference, -limit, limit) ? T(0) : -full * token.advantage;
  const T through_plain = full < o.cap ? T(1) : full == o.cap ? T(0.5) : T(0), through_clip = outside(full, low, high) ? T(0) : T(1);
  const T share = plain < clipped ? through_plain : plain > clipped ? through_clip : (through_plain + through_clip) / 2;
  Loss<T> loss = {-math::minimum(plain, clipped), slope * share, 0};
  if (token.advantage < 0) {
    const T most = -o.bound * token.advantage;
    if (loss.value == most) loss.d_log_prob /= 2;
    if (loss.value > most) loss = {most, 0, 0};
  }
  return loss;
}

template <class T>
VANTAGE_HD Loss<T> divergence(T log_prob, T ref_log_prob, Kl kind) {
  const T d = log_prob - ref_log_prob;
  switch (kind) {
    case Kl::k1: return {d, 1, 0};
    case Kl::abs: return {math::absolute(d), math::sign(d), 0};
    case Kl::k2: return {d * d / 2, d, 0};
    default: {
      const T limit = static_cast<T>(kLogRatioLimit), most = static_cast<T>(kK3Limit), x = clamped(-d, -limit, limit);
      const T above = math::expm1(x), value = above - x;
      return {clamped(value, -most, most), outside(-d, -limit, limit) || outside(value, -most, most) ? T(0) : -above, 0};
    }
  }
}

// weight · (surrogate + c_kl·KL − c_H·H).
template <class T>
VANTAGE_HD Loss<T> token_loss(T log_prob, T entropy, const Token<T>& token, const Options<T>& o) {
  Loss<T> loss = surrogate(log_prob, token, o);
  if (o.reference) {
    const Loss<T> kl = divergence(log_prob, token.ref_log_prob, o.kl);
    loss.value += o.kl_coef * kl.value;
    loss.d_log_prob += o.kl_coef * kl.d_log_prob;
  }
  loss.value = token.weight * (loss.value - o.entropy_coef * entropy);
  loss.d_log_prob *= token.weight;
  loss.d_entropy = -token.weight * o.entropy_coef;
  return loss;
}

}  // namespace vantage::policy
