/** The built-in policy losses against plain loops, on ragged masks with holes and garbage behind them. */
import { computePolicyLoss, type LossReduction, listPolicyLosses, type PolicyLossInputs, type PolicyLossOptions } from '../../src/losses';
import { gradients, type Tensor, tensor } from '../../src/tensor';
import { type Batch, references } from './reference';

/** Numbers from 0 to 1, the same every time. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

function batchOf(seed: number, rows: number, time: number, spread: number): Batch {
  const random = generator(seed);
  const array = (f: (t: number) => number) => Array.from({ length: rows }, () => Array.from({ length: time }, (_, t) => f(t)));
  const logProbs = array(() => -0.05 - 2 * random());
  const near = () => logProbs.map((row) => row.map((l) => Math.min(-0.01, l + spread * (random() - 0.5))));
  const mask = array(() => (random() < 0.75 ? 1 : 0));
  if (rows > 2) mask[1] = mask[1].map(() => 0);
  return { logProbs, oldLogProbs: near(), rolloutLogProbs: near(), advantages: array(() => 3 * (random() - 0.5)), weights: array(() => 0.5 + random()), mask };
}

/** The tensors of a batch, with `garbage` where the mask is 0. */
function tensorsOf(batch: Batch, dtype: 'float64' | 'float32', garbage: number, weights: boolean): PolicyLossInputs {
  const make = (values: number[][]) => tensor(values.map((row, b) => row.map((x, t) => (batch.mask[b][t] ? x : garbage))), { dtype });
  return {
    logProbs: make(batch.logProbs),
    oldLogProbs: make(batch.oldLogProbs),
    rolloutLogProbs: make(batch.rolloutLogProbs),
    advantages: make(batch.advantages),
    mask: tensor(batch.mask, { dtype: 'uint8' }),
    ...(weights && { weights: make(batch.weights) }),
  };
}

const list = (x: Tensor) => Array.from(x.dataSync());

function expectClose(got: number[], expected: number[], relative: number): void {
  const scale = Math.max(1, ...expected.map(Math.abs));
  expect(got).toHaveLength(expected.length);
  got.forEach((x, i) => {
    if (!(Math.abs(x - expected[i]) <= relative * scale)) throw new Error(`element ${i}: expected ${expected[i]}, got ${x}`);
  });
}

describe.each([['float64', 1e-9], ['float32', 1e-5]] as const)('%s', (dtype, tolerance) => {
  describe.each(references.map(([name, reference, options, weights = false]) => ({ name, reference, options, weights })))('$name $options', ({ name, reference, options, weights }) => {
    it.each([[5, 9, 1], [3, 4, 3], [1, 1, 0.5], [4, 17, 0]])('%d rows of %d, log-ratios up to %d: loss, gradient and metrics', (rows, time, spread) => {
      const batch = batchOf(rows * 31 + time, rows, time, spread);
      if (rows === 1) batch.mask[0][0] = 1;
      const points = reference(weights ? batch : { ...batch, weights: batch.weights.map((row) => row.map(() => 1)) }, options);
      const run = (garbage: number) => {
        const inputs = tensorsOf(batch, dtype, garbage, weights);
        const { loss, metrics } = computePolicyLoss(name, inputs, { ...(options as PolicyLossOptions), rowMetrics: true, driftMetrics: true });
        const [gradient] = gradients(loss, [inputs.logProbs]);
        return { loss: loss.item(), gradient: list(gradient), metrics: Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, value.item()])) };
      };
      const got = run(NaN);
      expectClose([got.loss], [points.flat().reduce((sum, { loss }) => sum + loss, 0)], tolerance * 3);
      expectClose(got.gradient, points.flat().map(({ slope }) => slope), tolerance * 3);
      expect(Object.values(got.metrics).every(Number.isFinite)).toBe(true);
      expect(got).toEqual(run(-Infinity));
      expect(got.metrics).toMatchObject(run(0).metrics);
    });
  });
});

it('has a reference for every loss but those that are another one by another name', () => {
  const named = new Set(references.map(([name]) => name));
  expect(listPolicyLosses().filter((name) => !named.has(name))).toEqual(['bnpo', 'dapo', 'dr_grpo', 'grpo', 'luspo']);
});

it.each(
  [
    ['grpo', 'sequence_mean', {}],
    ['bnpo', 'token_mean', {}],
    ['dapo', 'token_mean', { epsClipHigh: 0.28 }],
    ['dr_grpo', 'seq_mean_token_sum_norm', { maxSeqLen: 9 }],
    ['luspo', 'seq_mean_token_sum', { ratioLevel: 'sequence' }],
  ] as const,
)('%s is the clipped surrogate with reduction %s', (name, reduction, options) => {
  const run = (loss: string, more: PolicyLossOptions) => {
    const inputs = tensorsOf(batchOf(5, 5, 9, 1), 'float64', NaN, false);
    const result = computePolicyLoss(loss, inputs, { ...options, ...more });
    return [result.loss, ...gradients(result.loss, [inputs.logProbs])].flatMap(list);
  };
  expect(run(name, {})).toEqual(run('regular', { reduction }));
});

describe('what comes after the tokens', () => {
  const batch = batchOf(11, 4, 7, 1);
  const value = (name: string, options: PolicyLossOptions, more: Partial<PolicyLossInputs> = {}) =>
    computePolicyLoss(name, { ...tensorsOf(batch, 'float64', NaN, false), ...more }, options).loss.item();
  const float = (values: number[][]) => tensor(values, { dtype: 'float64' });

  it('the KL term is added to each token, after the weights, and counts as the ratio says', () => {
    const refLogProbs = float(batch.rolloutLogProbs);
    const weights = float(batch.weights);
    const kl = (weigh: boolean) => {
      let sum = 0;
      batch.mask.forEach((row, b) =>
        row.forEach((m, t) => {
          const x = batch.rolloutLogProbs[b][t] - batch.logProbs[b][t];
          if (m) sum += (Math.exp(x) - x - 1) * (weigh ? Math.exp(batch.logProbs[b][t] - batch.oldLogProbs[b][t]) : 1);
        })
      );
      return sum;
    };
    const plain = value('importance_sampling', {}, { weights });
    expect(value('importance_sampling', { klCoef: 0.3 }, { weights, refLogProbs })).toBeCloseTo(plain + 0.3 * kl(false), 10);
    expect(value('importance_sampling', { klCoef: 0.3, klRatioWeighted: true }, { weights, refLogProbs })).toBeCloseTo(plain + 0.3 * kl(true), 10);
    expect(() => value('regular', { klCoef: 0.3 })).toThrow('regular: refLogProbs: expected a Tensor, as klCoef is 0.3');
  });

  it('only tokens of high entropy keep their policy term', () => {
    const valid = batch.mask.flatMap((row, b) => row.flatMap((m, t) => (m ? [[batch.weights[b][t], batch.advantages[b][t] * batch.logProbs[b][t]]] : [])));
    const sorted = valid.map(([entropy]) => entropy).sort((a, b) => a - b);
    for (const quantile of [0.2, 0.5, 0.9]) {
      const at = (sorted.length - 1) * (1 - quantile);
      const bound = sorted[Math.floor(at)] + (at % 1) * (sorted[Math.ceil(at)] - sorted[Math.floor(at)]);
      const expected = valid.reduce((sum, [entropy, product]) => sum - (entropy >= bound ? product : 0), 0);
      expect(value('gpg', { topEntropyQuantile: quantile }, { entropy: float(batch.weights) })).toBeCloseTo(expected, 10);
    }
    expect(() => value('gpg', { topEntropyQuantile: 0.5 })).toThrow('gpg: entropy: expected a Tensor, as topEntropyQuantile is 0.5');
  });

  it('rows that the policy has left lose their negative advantages', () => {
    const gap = (b: number) => {
      const at = batch.mask[b].flatMap((m, t) => (m ? [batch.rolloutLogProbs[b][t] - batch.logProbs[b][t]] : []));
      return at.length === 0 ? 0 : at.reduce((x, y) => x + y, 0) / at.length;
    };
    let expected = 0;
    batch.mask.forEach((row, b) =>
      row.forEach((m, t) => {
        if (m && (batch.advantages[b][t] >= 0 || gap(b) <= 0.02)) expected -= batch.advantages[b][t] * batch.logProbs[b][t];
      })
    );
    expect(value('gpg', { offPolicyThreshold: 0.02 })).toBeCloseTo(expected, 10);
    expect(expected).not.toBeCloseTo(value('gpg', {}), 3);
  });

  it('a correction changes losses, mask and metrics', () => {
    const inputs = tensorsOf(batch, 'float64', NaN, false);
    const { loss, metrics } = computePolicyLoss('gpg', {
      ...inputs,
      correction: ({ losses, mask, rolloutLogProbs }) => {
        expect(rolloutLogProbs).toBe(inputs.rolloutLogProbs);
        return { losses: losses.mul(2), mask: mask.logicalAnd(losses.greater(0)), metrics: { kept: losses.greater(0).sum(null, { mask }) } };
      },
    });
    const products = batch.mask.flatMap((row, b) => row.flatMap((m, t) => (m ? [-batch.advantages[b][t] * batch.logProbs[b][t]] : [])));
    expect(loss.item()).toBeCloseTo(2 * products.filter((x) => x > 0).reduce((x, y) => x + y, 0), 10);
    expect(metrics.kept.item()).toBe(products.filter((x) => x > 0).length);
  });

  it('nothing valid: every loss is 0, and so is its gradient', () => {
    const nothing = { ...batch, mask: batch.mask.map((row) => row.map(() => 0)) };
    for (const name of listPolicyLosses()) {
      for (const reduction of ['token_sum', 'token_mean', 'sequence_mean'] as LossReduction[]) {
        const inputs = tensorsOf(nothing, 'float64', NaN, false);
        const { loss } = computePolicyLoss(name, inputs, { reduction });
        const [gradient] = gradients(loss, [inputs.logProbs]);
        expect([name, ...list(loss), ...list(gradient)].map((x) => (x === 0 ? 0 : x))).toEqual([name, ...new Array(29).fill(0)]);
      }
    }
  });

  it('clip_cov takes out as many tokens as it says, by chance: others from another seed, and at another step', () => {
    const wide = batchOf(3, 16, 32, 0);
    const run = (seed: number, shift = 0) => {
      const inputs = tensorsOf(wide, 'float32', NaN, false);
      const logProbs = shift === 0 ? inputs.logProbs : inputs.logProbs.mul(1 - shift).realize();
      const options = { clipCovRatio: 0.2, clipCovLow: -100, clipCovHigh: 100, seed };
      const { loss, metrics } = computePolicyLoss('clip_cov', { ...inputs, logProbs, oldLogProbs: logProbs.detach() }, options);
      const [gradient] = gradients(loss, [logProbs]);
      const share = metrics.clip_ratio.item();
      return { share, taken: list(gradient).map((x, i) => Number(x === 0 && wide.mask.flat()[i] === 1)) };
    };
    const valid = wide.mask.flat().filter(Boolean).length;
    const { share, taken } = run(0);
    expect(taken.reduce((a, b) => a + b, 0)).toBe(Math.trunc(0.2 * valid));
    expect(share * valid).toBeCloseTo(Math.trunc(0.2 * valid), 3);
    expect(run(0).taken).toEqual(taken);
    expect(run(1).taken).not.toEqual(taken);
    expect(run(0, 0.01).taken).not.toEqual(taken);
  });

  it('clip_cov draws tokens of every log-prob alike', () => {
    const levels = [-0.1, -1, -2, -4, -8];
    const n = 16_384;
    const logProbs = tensor([Array.from({ length: n }, (_, i) => levels[i % 5]! + (i % 97) * 1e-4)]);
    const advantages = tensor([Array.from({ length: n }, (_, i) => (i % 2 ? 1 : -1))]);
    const inputs = { logProbs, oldLogProbs: logProbs.detach(), advantages, mask: tensor([new Array(n).fill(1)]) };
    const { loss } = computePolicyLoss('clip_cov', inputs, { clipCovRatio: 0.05, clipCovLow: -100, clipCovHigh: 100 });
    const drawn = levels.map(() => 0);
    list(gradients(loss, [logProbs])[0]!).forEach((x, i) => (drawn[i % 5] += Number(x === 0)));
    const expected = Math.trunc(0.05 * n) / 5;
    for (const count of drawn) expect(Math.abs(count - expected)).toBeLessThan(5 * Math.sqrt(expected));
  });

  it('options are known by name, and conventions are bundles of them', () => {
    expect(() => value('regular', { epsClipHihg: 0.2 } as never)).toThrow("policy loss 'regular': unknown option 'epsClipHihg'. Did you mean 'epsClipHigh'?");
    expect(() => value('gpg', { epsClipLow: 0.2 })).toThrow("policy loss 'gpg': unknown option 'epsClipLow'");
    expect(() => value('regular', { convention: 'tlr' as never })).toThrow(
      "policy loss 'regular': option 'convention': expected one of vantage, skyrl, verl, trl, openrlhf, nemo, areal, got \"tlr\". Did you mean 'trl'?",
    );
    expect(() => value('dppo', { divergence: 'tv' as never })).toThrow("policy loss 'dppo': option 'divergence': expected one of binary_tv, binary_kl, got \"tv\"");
    expect(() => value('sapo', { tauPos: 0 })).toThrow("policy loss 'sapo': option 'tauPos': expected a number, 0.000001 or more, got 0");
    const { rolloutLogProbs: _, ...without } = tensorsOf(batch, 'float64', NaN, false);
    expect(() => computePolicyLoss('rollout_is', without)).toThrow('rollout_is: rolloutLogProbs: expected a Tensor, got null');
    expect(value('regular', { convention: 'verl', countEpsilon: 0 })).toBeCloseTo(value('regular', { reduction: 'token_mean' }), 12);
    expect(value('regular', { convention: 'verl', reduction: 'token_sum' })).toBeCloseTo(value('regular', {}), 12);
  });
});
