/** The few distributions that tests and intervals need. */

/** log Γ(x), x > 0: Stirling's series at an x that Γ(x + 1) = xΓ(x) has made large enough for 1e-14. */
function logGamma(x: number): number {
  let shift = 0;
  for (; x < 15; x++) shift += Math.log(x);
  const inverse = 1 / (x * x);
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x - shift;
}

/** Q(a, x) = Γ(a, x)/Γ(a), the tail of the gamma distribution of shape a: by its series below a + 1, by Lentz's continued fraction above. */
export function gammaTail(a: number, x: number): number {
  if (!(x > 0)) return 1;
  if (x === Infinity) return 0;
  const factor = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let [term, sum] = [1 / a, 1 / a];
    for (let n = 1; n < 10_000 && term > sum * 1e-16; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return Math.max(0, 1 - factor * sum);
  }
  let b = x + 1 - a;
  let c = Infinity;
  let d = 1 / b;
  let fraction = d;
  for (let i = 1; i < 10_000; i++) {
    const numerator = -i * (i - a);
    b += 2;
    d = 1 / (numerator * d + b);
    c = c === Infinity ? b : b + numerator / c;
    fraction *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return factor * fraction;
}

/** P(|Z| > |z|) of a standard normal Z. */
export const normalTails = (z: number): number => gammaTail(0.5, (z * z) / 2);

/** The z with P(|Z| ≤ z) = `confidence`, by bisection. */
export function normalQuantile(confidence: number): number {
  let [low, high] = [0, 40];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (normalTails(middle) > 1 - confidence) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The t with P(|T| ≤ t) = `confidence` of Student's t with so many degrees of freedom, by the expansion of Cornish and Fisher: to 1e-3 from 10 degrees on. */
export function studentQuantile(confidence: number, freedom: number): number {
  const z = normalQuantile(confidence);
  const [z3, z5] = [z ** 3, z ** 5];
  return z + (z3 + z) / (4 * freedom) + (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom ** 2) + (3 * z ** 7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * freedom ** 3);
}

/** The value below which a share of the sorted numbers lies, interpolated. */
export function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  // Infinite ends have no middle.
  return below === above ? below : below + (above - below) * (place - Math.floor(place));
}
