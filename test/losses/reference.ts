/** Policy losses in plain loops over numbers: the value of each token's loss, and its slope in the token's log-prob. */

export interface Batch {
  logProbs: number[][];
  oldLogProbs: number[][];
  rolloutLogProbs: number[][];
  advantages: number[][];
  weights: number[][];
  mask: number[][];
}

/** Of one token; `slope` is the derivative of the whole sum in its log-prob. */
export interface Point {
  loss: number;
  slope: number;
}

/** The rows' valid positions. */
export type Reference = (batch: Batch, options: Record<string, any>) => Point[][];

const positions = (row: number[]) => row.flatMap((m, t) => (m ? [t] : []));
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const average = (xs: number[]) => (xs.length === 0 ? 0 : xs.reduce((a, b) => a + b, 0) / xs.length);
const zero: Point = { loss: 0, slope: 0 };

/** Each valid token by its own numbers. */
function tokenwise(f: (l: number, old: number, advantage: number, rollout: number, weight: number) => Point): Reference {
  return ({ logProbs, oldLogProbs, rolloutLogProbs, advantages, weights, mask }) =>
    mask.map((row, b) => row.map((m, t) => (m ? f(logProbs[b][t], oldLogProbs[b][t], advantages[b][t], rolloutLogProbs[b][t], weights[b][t]) : zero)));
}

function surrogate(ratio: number, advantage: number, { epsClipLow = 0.2, epsClipHigh = 0.2, delta = Infinity, clipRatioC = Infinity }): Point {
  const unclipped = Math.min(ratio, delta) * advantage;
  const clipped = clamp(ratio, 1 - epsClipLow, 1 + epsClipHigh) * advantage;
  if (advantage < 0 && -Math.min(unclipped, clipped) > -clipRatioC * advantage) return { loss: -clipRatioC * advantage, slope: 0 };
  if (clipped < unclipped) return { loss: -clipped, slope: 0 };
  // Between the clips both sides are the same and pass the whole gradient on.
  return { loss: -unclipped, slope: ratio > delta ? 0 : -ratio * advantage };
}

const regular: Reference = (batch, options) =>
  tokenwise((l, old, a) => {
    const d = clamp(l - old, -20, 20);
    const point = surrogate(Math.exp(d), a, options);
    return Math.abs(l - old) > 20 ? { ...point, slope: 0 } : point;
  })(batch, options);

/** Rows whose tokens share one log-ratio. */
function rowwise(f: (mean: number, batch: Batch, b: number, at: number[]) => Point[]): Reference {
  return (batch) =>
    batch.mask.map((row, b) => {
      const at = positions(row);
      const mean = average(at.map((t) => batch.logProbs[b][t] - batch.oldLogProbs[b][t]));
      const points = f(mean, batch, b, at);
      return row.map((m, t) => (m ? points[at.indexOf(t)] : zero));
    });
}

const gspo: Reference = (batch, options) => rowwise((mean, { advantages }, b, at) => at.map((t) => surrogate(Math.exp(Math.min(mean, 10)), advantages[b][t], options)))(batch, options);

/** The ratio of a sequence with the gradient through its mean: each token's slope is the mean of the row's. */
const sequence: Reference = (batch, options) =>
  rowwise((mean, { advantages }, b, at) => {
    const points = at.map((t) => surrogate(Math.exp(clamp(mean, -20, 20)), advantages[b][t], options));
    const slope = average(points.map((point) => point.slope));
    return points.map(({ loss }) => ({ loss, slope }));
  })(batch, options);

const geoMean: Reference = (batch, { epsClipLow = 0.4, epsClipHigh = 0.4 }) =>
  batch.mask.map((row, b) => {
    const at = positions(row);
    const kept = at.map((t) => {
      const [d, a] = [batch.logProbs[b][t] - batch.oldLogProbs[b][t], batch.advantages[b][t]];
      const x = clamp(d, -epsClipLow, epsClipHigh);
      if (a > 0) return { x: Math.min(d, x), open: d <= x };
      if (a < 0) return { x: Math.max(d, x), open: d >= x };
      return { x: 0, open: false };
    });
    const advantage = average(at.map((t) => batch.advantages[b][t]));
    const ratio = Math.exp(average(kept.map(({ x }) => x))) * Math.exp(average(at.map((t) => Math.log(batch.weights[b][t] + 1e-10))));
    // All of the row's tokens hold its loss, so that each token's slope is that of the loss itself.
    return row.map((m, t) => (m ? { loss: -advantage * ratio, slope: kept[at.indexOf(t)].open ? -advantage * ratio : 0 } : zero));
  });

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

const sapo: Reference = (batch, { tauPos = 1, tauNeg = 1.05 }) =>
  tokenwise((l, old, a) => {
    const ratio = Math.exp(l - old);
    const tau = a > 0 ? tauPos : tauNeg;
    const gate = sigmoid(tau * (ratio - 1));
    return { loss: (-4 / tau) * gate * a, slope: -4 * gate * (1 - gate) * ratio * a };
  })(batch, {});

const cispo: Reference = (batch, { cispoEpsClipLow = 1, cispoEpsClipHigh = 4, anchor = 'old' }) =>
  tokenwise((l, old, a, rollout) => {
    const ratio = Math.exp(l - (anchor === 'old' ? old : rollout));
    const weight = Math.min(Math.max(ratio, cispoEpsClipLow === null ? -Infinity : 1 - cispoEpsClipLow), 1 + cispoEpsClipHigh);
    return { loss: -weight * a * l, slope: -weight * a };
  })(batch, {});

const rolloutIs: Reference = (batch, { epsClipLow = 0.2, epsClipHigh = 0.2 }) =>
  tokenwise((l, _, a, rollout) => {
    const ratio = Math.exp(l - rollout);
    const weight = ratio > 1 - epsClipLow && ratio < 1 + epsClipHigh ? ratio : 0;
    return { loss: -weight * a * l, slope: -weight * a };
  })(batch, {});

const dppo: Reference = (batch, { divergence = 'binary_tv', deltaLow = 0.2, deltaHigh = 0.2, anchor = 'rollout' }) =>
  tokenwise((l, old, a, rollout) => {
    const from = anchor === 'old' ? old : rollout;
    const [p, q, ratio] = [Math.exp(l), Math.exp(from), Math.exp(l - from)];
    const distance = divergence === 'binary_tv' ? Math.abs(p - q) : q * Math.log(q / p) + (1 - q) * Math.log((1 - q) / (1 - p));
    if ((a > 0 && ratio > 1 && distance > deltaHigh) || (a < 0 && ratio < 1 && distance > deltaLow)) return zero;
    return { loss: -ratio * a, slope: -ratio * a };
  })(batch, {});

const weighted = (f: (l: number, old: number, a: number) => Point) =>
  tokenwise((l, old, a, _, w) => {
    const { loss, slope } = f(l, old, a);
    return { loss: w * loss, slope: w * slope };
  });

function covariances({ logProbs, advantages, mask }: Batch): number[][] {
  const all = mask.flatMap((row, b) => positions(row).map((t) => [advantages[b][t], logProbs[b][t]]));
  const [a, l] = [average(all.map(([x]) => x)), average(all.map(([, x]) => x))];
  return mask.map((row, b) => row.map((_, t) => (advantages[b][t] - a) * (logProbs[b][t] - l)));
}

const klCov: Reference = (batch, { klCovRatio = 0.0002, ppoKlCoef = 1 }) => {
  const covariance = covariances(batch);
  const valid = batch.mask.flatMap((row, b) => positions(row).map((t) => ({ b, t, value: covariance[b][t] })));
  const count = Math.max(1, Math.trunc(valid.length * klCovRatio));
  const chosen = new Set(valid.sort((x, y) => y.value - x.value).slice(0, count).map(({ b, t }) => `${b},${t}`));
  return batch.mask.map((row, b) =>
    row.map((m, t) => {
      if (!m) return zero;
      const d = batch.logProbs[b][t] - batch.oldLogProbs[b][t];
      const [plain, penalty] = [-Math.exp(d) * batch.advantages[b][t], chosen.has(`${b},${t}`) ? ppoKlCoef : 0];
      return { loss: plain + penalty * Math.abs(d), slope: plain + penalty * Math.sign(d) };
    })
  );
};

/** Every candidate taken: what chance chooses makes no difference. */
const clipCov: Reference = (batch, { clipCovLow = 1, clipCovHigh = 5, ...options }) => {
  const covariance = covariances(batch);
  return regular(batch, options).map((row, b) =>
    row.map((point, t) => {
      const clips = point.slope === 0 && batch.advantages[b][t] !== 0;
      return !clips && covariance[b][t] > clipCovLow && covariance[b][t] < clipCovHigh ? zero : point;
    })
  );
};

const vespo: Reference = (batch, { kPos = 2, lambdaPos = 3, kNeg = 3, lambdaNeg = 2 }) =>
  batch.mask.map((row, b) => {
    const at = positions(row);
    const least = Math.log(1e-8);
    const sum = at.reduce((total, t) => total + clamp(batch.logProbs[b][t] - batch.oldLogProbs[b][t], -20, 20) + clamp(Math.log(batch.weights[b][t]), least, 20), 0);
    const log = clamp(sum, least, 20);
    return row.map((m, t) => {
      if (!m) return zero;
      const a = batch.advantages[b][t];
      const [k, lambda] = a >= 0 ? [kPos, lambdaPos] : [kNeg, lambdaNeg];
      const phi = Math.exp(lambda + k * log - lambda * Math.exp(log));
      return { loss: -phi * a * batch.logProbs[b][t], slope: -phi * a };
    });
  });

/** By name: the reference, options to try it with, and whether it takes `weights`. */
export const references: readonly (readonly [name: string, reference: Reference, options: Record<string, any>, weights?: boolean])[] = [
  ['regular', regular, {}],
  ['regular', regular, { epsClipLow: 0.1, epsClipHigh: 0.3, delta: 1.5 }],
  ['regular', sequence, { ratioLevel: 'sequence' }],
  ['dual_clip', (batch, options) => regular(batch, { clipRatioC: 3, ...options }), { clipRatioC: 1.25 }],
  ['gspo', gspo, { epsClipLow: 0.05, epsClipHigh: 0.1 }],
  ['geo_mean', geoMean, {}, true],
  ['geo_mean', geoMean, { epsClipLow: 0.1, epsClipHigh: 0.2 }, true],
  ['cispo', cispo, {}],
  ['cispo', cispo, { cispoEpsClipLow: null, cispoEpsClipHigh: 0.2, anchor: 'rollout' }],
  ['sapo', sapo, { tauPos: 2 }],
  ['rollout_is', rolloutIs, {}],
  ['dppo', dppo, { deltaLow: 0.05, deltaHigh: 0.1 }],
  ['dppo', dppo, { divergence: 'binary_kl', deltaLow: 0.01, deltaHigh: 0.02, anchor: 'old' }],
  ['gpg', weighted((l, _, a) => ({ loss: -a * l, slope: -a })), {}, true],
  ['reinforce', weighted((l, _, a) => ({ loss: -a * l, slope: -a })), {}, true],
  ['importance_sampling', weighted((l, old, a) => ({ loss: -Math.exp(l - old) * a, slope: -Math.exp(l - old) * a })), {}, true],
  ['cross_entropy', tokenwise((l) => ({ loss: -l, slope: -1 })), {}],
  ['clip_cov', clipCov, { clipCovRatio: 1, clipCovLow: 0.1, clipCovHigh: 2 }],
  ['kl_cov', klCov, { klCovRatio: 0.3, ppoKlCoef: 0.5 }],
  ['kl_cov', klCov, {}],
  ['vespo', vespo, {}, true],
  ['vespo', vespo, { kPos: 1, lambdaPos: 0.5, kNeg: 2, lambdaNeg: 1 }],
];
