/** logitsPolicyLoss against what it stands for: tokenLogProbs, computePolicyLoss, klDivergence and the entropy, with the gradients of all. */
import { computePolicyLoss, klDivergence, logitsPolicyLoss, type LogitsPolicyLossOptions, reductionDivisors } from '../../src/losses';
import { type DType, evaluate, explain, gradients, tensor, type Tensor, tokenLogProbs, where } from '../../src/tensor';
import { Random } from '../tensor/helpers';

const [batch, time, vocabulary] = [3, 4, 37];
const maskRows = [
  [1, 1, 0, 1],
  [1, 0, 1, 1],
  [0, 1, 1, 1],
];

/** A batch whose ratios lie on every side of the clips; what is masked is `garbage`. */
function batchOf(dtype: DType, garbage = 0) {
  const random = new Random(7);
  const valid = maskRows.flat();
  const away = [-0.4, 0.1, 0.3, -0.05, 1.4, -2, 0.02, -0.15, 0.6, 0.25, -0.3, 0.05];
  const uniform = (size: number, scale: number) => Array.from({ length: size }, () => scale * (2 * random.next() - 1));
  // Exact in bfloat16.
  const logits = uniform(batch * time * vocabulary, 3).map((x) => Math.round(x * 32) / 32);
  const ids = Array.from({ length: batch * time }, () => random.integer(0, vocabulary - 1));
  const logProbs = ids.map((id, row) => {
    const scores = logits.slice(row * vocabulary, (row + 1) * vocabulary);
    return scores[id]! - Math.log(scores.reduce((sum, x) => sum + Math.exp(x), 0));
  });
  const row = dtype === 'float64' ? 'float64' : 'float32';
  const rows = (values: number[]) => tensor(values.map((x, i) => (valid[i] ? x : garbage)), { shape: [batch, time], dtype: row });
  const mask = tensor(maskRows, { dtype: 'uint8' });
  return {
    logits: tensor(logits.map((x, i) => (valid[Math.floor(i / vocabulary)] ? x : garbage)), { shape: [batch, time, vocabulary], dtype }),
    ids: tensor(ids.map((id, i) => (valid[i] || garbage === 0 ? id : -1)), { shape: [batch, time], dtype: 'int32' }),
    inputs: {
      oldLogProbs: rows(logProbs.map((x, i) => x + away[i]!)),
      advantages: rows(uniform(batch * time, 2)),
      refLogProbs: rows(logProbs.map((x, i) => x - away[(i + 5) % 12]! / 2)),
      mask,
      divisors: reductionDivisors(mask, 'sequence_mean').cast(row),
    },
  };
}

type Batch = ReturnType<typeof batchOf>;

function composed({ logits, ids, inputs }: Batch, options: LogitsPolicyLossOptions) {
  const { type = 'regular', temperature = 1, klCoef = 0, entropyCoef = 0, klEstimator = 'k3', epsClipLow, epsClipHigh, clipRatioC } = options;
  const clip = { epsClipLow, epsClipHigh, clipRatioC };
  const { oldLogProbs, advantages, mask, refLogProbs, divisors } = inputs;
  const { logProbs, entropy } = tokenLogProbs(logits, ids, { temperature });
  const policy = computePolicyLoss(type, { logProbs, oldLogProbs, advantages: advantages.div(divisors), mask }, clip);
  const reduce = (perToken: Tensor) => perToken.div(divisors).sum(null, { mask });
  let { loss } = policy;
  if (klCoef !== 0) loss = loss.add(reduce(klDivergence(logProbs, refLogProbs, klEstimator, mask)).mul(klCoef));
  if (entropyCoef !== 0) loss = loss.sub(reduce(entropy).mul(entropyCoef));
  const masked = (x: Tensor) => where(mask.notEqual(0), x, 0);
  // Its metrics are not those of the divided advantages.
  return { loss, logProbs: masked(logProbs), entropy: masked(entropy), metrics: computePolicyLoss(type, { logProbs, oldLogProbs, advantages, mask }, clip).metrics };
}

const settings: LogitsPolicyLossOptions[] = [
  {},
  { type: 'regular', epsClipLow: 0.1, epsClipHigh: 0.3, temperature: 0.7 },
  { type: 'dual_clip', clipRatioC: 1.5, entropyCoef: 0.05 },
  ...(['k1', 'abs', 'k2', 'k3'] as const).map((klEstimator) => ({ type: 'dual_clip' as const, klCoef: 0.3, klEstimator, entropyCoef: -0.2, temperature: 1.3 })),
];
const tolerances = { float64: 1e-11, float32: 1e-5, bfloat16: 1e-5 } as const;

const list = (x: Tensor) => Array.from(x.dataSync());
function expectClose(got: Tensor, expected: Tensor, relative: number, absolute = relative): void {
  expect(got.shape).toEqual(expected.shape);
  const values = list(expected);
  list(got).forEach((x, i) => {
    if (!(Math.abs(x - values[i]!) <= absolute + relative * Math.abs(values[i]!))) throw new Error(`element ${i}: expected ${values[i]}, got ${x}`);
  });
}

describe.each(['float64', 'float32', 'bfloat16'] as const)('%s logits', (dtype) => {
  it.each(settings)('%j: loss, results, metrics and gradient are those of the parts', (options) => {
    const ours = batchOf(dtype);
    const result = logitsPolicyLoss(ours.logits, ours.ids, ours.inputs, options);
    const [gradient] = gradients(result.loss, [ours.logits]);
    evaluate([result.loss, result.logProbs, result.entropy, gradient!]);
    const theirs = batchOf(dtype);
    const expected = composed(theirs, options);
    const [expectedGradient] = gradients(expected.loss, [theirs.logits]);
    const tolerance = tolerances[dtype];
    expectClose(gradient!, expectedGradient!, dtype === 'bfloat16' ? 2 ** -7 : tolerance, 1e-6);
    expectClose(result.loss, expected.loss, tolerance);
    expectClose(result.logProbs, expected.logProbs, tolerance);
    expectClose(result.entropy, expected.entropy, tolerance);
    for (const [name, value] of Object.entries(expected.metrics)) if (name !== 'clip_ratio_dual') expectClose(result.metrics[name]!, value, tolerance);
  });

  it.each([NaN, Infinity])('%p at masked positions has no effect', (garbage) => {
    const run = ({ logits, ids, inputs }: Batch) => {
      const { loss, logProbs, entropy, metrics } = logitsPolicyLoss(logits, ids, inputs, { klCoef: 0.1, entropyCoef: 0.1 });
      return [loss, ...gradients(loss, [logits]), logProbs, entropy, ...Object.values(metrics)].flatMap(list);
    };
    const expected = run(batchOf(dtype));
    expect(expected.every(Number.isFinite)).toBe(true);
    expect(run(batchOf(dtype, garbage))).toEqual(expected);
  });
});

it('reads the logits once, with the gradient in their place; without one, none is computed', () => {
  const { logits, ids, inputs } = batchOf('float32');
  const { loss, logProbs } = logitsPolicyLoss(logits.mul(2), ids, inputs);
  const [gradient] = gradients(loss, [logits]);
  const kernels = (tensors: Tensor[]) => explain(tensors).split('\n').filter((step) => step.startsWith('token_'));
  expect(kernels([loss, logProbs, gradient!])).toEqual([expect.stringMatching(/^token_policy_gradient .* float32\[12,37\]$/)]);
  expect(kernels([loss, logProbs])).toEqual([expect.stringMatching(/^token_policy_gradient .* float32\[0,0\]$/)]);
  expect(Number.isFinite(loss.item())).toBe(true);
});

it('passes on what the loss is multiplied with', () => {
  const run = (factor: number) => {
    const { logits, ids, inputs } = batchOf('float64');
    const { loss } = logitsPolicyLoss(logits, ids, inputs, { entropyCoef: 0.1 });
    return list(gradients(loss.mul(factor), [logits])[0]!);
  };
  const once = run(1);
  run(-2.5).forEach((x, i) => expect(x).toBeCloseTo(-2.5 * once[i]!, 12));
});

it('delta bounds the ratio of both signs', () => {
  const run = (logProb: number, advantage: number) => {
    // Two logits, the first of which has the log-prob.
    const logits = tensor([[0, Math.log(Math.exp(-logProb) - 1)]], { dtype: 'float64' });
    const one = (x: number) => tensor([x], { dtype: 'float64' });
    const inputs = { oldLogProbs: one(-3), advantages: one(advantage), mask: tensor([1], { dtype: 'uint8' }) };
    const { loss } = logitsPolicyLoss(logits, tensor([0], { dtype: 'int32' }), inputs, { delta: 4 });
    const [gradient] = gradients(loss, [logits]);
    evaluate([loss, gradient!]);
    return [loss.item(), list(gradient!)[0]!];
  };
  // Ratios e² and e: above δ, and between the clip and δ.
  expect(run(-1, -2)[0]).toBeCloseTo(8, 10);
  expect(run(-1, -2)[1]).toBeCloseTo(0, 12);
  expect(run(-2, -2)[0]).toBeCloseTo(2 * Math.E, 10);
  expect(run(-2, -2)[1]).toBeCloseTo(2 * Math.E * (1 - Math.exp(-2)), 10);
  expect(run(-1, 2)[0]).toBeCloseTo(-2.4, 10);
});

it('names what is wrong', () => {
  const { logits, ids, inputs } = batchOf('float32');
  const { refLogProbs: _, ...withoutReference } = inputs;
  const call = (...[x = logits, i = ids, given = inputs, options]: Partial<Parameters<typeof logitsPolicyLoss>>) => () => logitsPolicyLoss(x, i, given, options);
  expect(call(logits.reshape([12, 37]))).toThrow('logitsPolicyLoss: logits: expected shape [3,4,V], got [12,37]');
  expect(call(undefined, ids.reshape([12]))).toThrow('logitsPolicyLoss: oldLogProbs: expected shape [12] as ids, got [3,4]');
  expect(call(undefined, ids.cast('float32'))).toThrow('logitsPolicyLoss: ids: expected integers, got float32');
  expect(call(logits.cast('int32'))).toThrow('logitsPolicyLoss: logits: expected a floating Tensor, got int32');
  expect(call(undefined, undefined, withoutReference, { klCoef: 0.1 })).toThrow('logitsPolicyLoss: refLogProbs: expected a Tensor, as klCoef is 0.1');
  expect(call(undefined, undefined, undefined, { type: 'cispo' as never })).toThrow('logitsPolicyLoss: type: expected regular or dual_clip, got "cispo"');
  expect(call(undefined, undefined, undefined, { temperature: 0 })).toThrow('logitsPolicyLoss: temperature');
  const { loss } = logitsPolicyLoss(logits, ids, inputs);
  const [gradient] = gradients(loss, [logits]);
  expect(() => gradients(gradient!.sum(), [logits])).toThrow('no second one');
});
