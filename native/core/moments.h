// Count, mean and spread of a set of numbers, and how those of two sets are joined without losing digits.
#pragma once
#include "math.h"

namespace vantage {

// As a row of a kernel's moments f64[B,3] holds them.
struct Moments {
  double count = 0, mean = 0, spread = 0;  // spread is Σ(x − mean)²
};

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
VANTAGE_HD void combine(Moments& into, const Moments& other) {
  if (other.count == 0) return;
  const double count = into.count + other.count, difference = other.mean - into.mean, share = other.count / count;
  into.spread += other.spread + difference * difference * into.count * share;
  into.mean += difference * share;
  into.count = count;
}

// From sums over d = x − shift, where the shift is near the numbers.
VANTAGE_HD Moments moments_of(double count, double shift, double sum, double sum_of_squares) {
  Moments result;
  if (count == 0) return result;
  const double mean = sum / count, spread = sum_of_squares - sum * mean;
  result.count = count;
  result.mean = shift + mean;
  result.spread = spread < 0 ? 0 : spread;  // a NaN stays
  return result;
}

// σ² = Σ(x−μ)² / max(n − ddof, 1), and the factor of a whitening: 1/√(σ²+ε), or 1/(√σ²+ε) with ε outside of the root. 0 where that is a division by 0: all x are μ then.
VANTAGE_HD double whitening_factor(const Moments& moments, double ddof, double epsilon, bool epsilon_outside) {
  const double free = moments.count - ddof, variance = moments.spread / (free > 1 ? free : 1);
  const double divisor = epsilon_outside ? math::sqrt(variance) + epsilon : math::sqrt(variance + epsilon);
  return divisor == 0 ? 0 : 1 / divisor;
}

}  // namespace vantage
