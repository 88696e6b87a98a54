/** What losses, divergences and reductions answer to awkward batches: docs/numerics.md says it, this holds them to that. */
import {
  applyOffPolicyCorrection,
  computePolicyLoss,
  gradients,
  importanceWeights,
  klDivergence,
  klEstimators,
  listPolicyLosses,
  lossReductions,
  maskedMean,
  maskedStandardize,
  maskedVariance,
  offPolicyMetrics,
  reduceLoss,
  rejectionMask,
  tensor,
  valueLoss,
  type DType,
  type PolicyLossInputs,
  type PolicyLossOptions,
} from 'vantage-rl';

const [ROWS, TIME] = [3, 3];
type Numbers = number[][];
const table = (rows: number, time: number, f: (b: number, t: number) => number): Numbers => Array.from({ length: rows }, (_, b) => Array.from({ length: time }, (_, t) => f(b, t)));

function batchOf(rows = ROWS, time = TIME): Record<string, Numbers> {
  return {
    logProbs: table(rows, time, (b, t) => -0.5 - b / 8 - t / 4),
    oldLogProbs: table(rows, time, (b, t) => -0.625 - b / 8 - t / 8),
    rolloutLogProbs: table(rows, time, (b, t) => -0.5625 - b / 8 - t / 8),
    refLogProbs: table(rows, time, (_, t) => -0.75 - t / 8),
    advantages: table(rows, time, (b) => [1, -1, 0.5][b % 3]!),
    mask: table(rows, time, () => 1),
  };
}

const make = (x: Numbers, rows: number, time: number, dtype: DType) => tensor(Float64Array.from(x.flat()), { shape: [rows, time] }).cast(dtype);

/** Loss, gradient and metrics, with every option that a reduction may need. */
function run(
  name: string,
  batch: Record<string, Numbers>,
  { rows = ROWS, time = TIME, dtype = 'float32' as DType, ...options }: PolicyLossOptions & { rows?: number; time?: number; dtype?: DType } = {},
) {
  const inputs = Object.fromEntries(Object.entries(batch).map(([key, x]) => [key, make(x, rows, time, key === 'mask' ? 'uint8' : dtype)])) as unknown as PolicyLossInputs;
  const { loss, metrics } = computePolicyLoss(name, inputs, { klCoef: 0.1, maxSeqLen: 5, ...options });
  const [gradient] = gradients(loss, [inputs.logProbs], { allowUnused: true });
  const values = Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, value.item()]));
  return { loss: loss.item(), gradient: ((gradient?.toArray() ?? []) as Numbers).flat(), metrics: values };
}

const names = listPolicyLosses();
const finite = ({ loss, gradient, metrics }: ReturnType<typeof run>) => [loss, ...gradient, ...Object.values(metrics)].every(Number.isFinite);

/** Losses that exponentiate a log-ratio as it is: one beyond 88 overflows float32. The others bound it, or have no ratio. */
const unbounded = ['clip_cov', 'geo_mean', 'importance_sampling', 'kl_cov'];

describe.each(names)('policy loss %s', (name) => {
  const plain = batchOf();

  test.each([['nothing valid', 3, 3, 0], ['no rows', 0, 3, 1], ['no time', 2, 0, 1]] as const)('%s: loss and gradient are 0, and the metrics are numbers', (_, rows, time, m) => {
    for (const options of [{}, { rowMetrics: true, driftMetrics: true }]) {
      const { loss, gradient, metrics } = run(name, { ...batchOf(rows, time), mask: table(rows, time, () => m) }, { rows, time, ...options });
      expect([loss, ...gradient].every((x) => x === 0)).toBe(true);
      // φ of a row without a token is 1.
      expect(Object.entries(metrics).filter(([key, value]) => value !== 0 && !(key === 'phi_mean' && value === 1))).toEqual([]);
    }
  });

  test('a single valid token, and a batch of one', () => {
    const one = run(name, { ...plain, mask: table(ROWS, TIME, (b, t) => Number(b === 1 && t === 2)) });
    expect(finite(one)).toBe(true);
    expect(one.gradient.filter((g) => g !== 0)).toHaveLength(1);
    expect(finite(run(name, batchOf(1, 1), { rows: 1, time: 1 }))).toBe(true);
  });

  test('NaN and infinities at masked positions reach nothing', () => {
    const mask = [[1, 0, 1], [0, 1, 1], [0, 0, 0]];
    const holding = (what: (i: number) => number) => ({
      ...Object.fromEntries(Object.entries(plain).map(([key, x]) => [key, x.map((row, b) => row.map((v, t) => (mask[b]![t] ? v : what(b + t))))])),
      mask,
    });
    const result = run(name, holding((i) => [NaN, Infinity, -Infinity][i % 3]!));
    expect(finite(result)).toBe(true);
    expect(result).toEqual(run(name, holding(() => 0)));
    expect(result.gradient.every((g, i) => mask.flat()[i] === 1 || g === 0)).toBe(true);
  });

  test('advantages of 0, and probabilities of 1', () => {
    expect(finite(run(name, { ...plain, advantages: table(ROWS, TIME, () => 0) }))).toBe(true);
    const zero = table(ROWS, TIME, () => 0);
    expect(finite(run(name, { ...plain, logProbs: zero, oldLogProbs: zero, rolloutLogProbs: zero }))).toBe(true);
  });

  test('log-ratios far away are bounded, where the loss bounds them', () => {
    const far = (gap: number) => ({ ...plain, logProbs: table(ROWS, TIME, () => -1), oldLogProbs: table(ROWS, TIME, () => -1 - gap), rolloutLogProbs: table(ROWS, TIME, () => -1 - gap) });
    for (const gap of [-200, -20, 20, 200]) {
      const { loss, gradient } = run(name, far(gap));
      const isFinite = [loss, ...gradient].every(Number.isFinite);
      expect([gap, isFinite]).toEqual([gap, !(gap === 200 && unbounded.includes(name))]);
    }
  });

  test('NaN on a valid token shows in the loss', () => {
    for (const key of ['logProbs', 'refLogProbs']) expect(run(name, { ...plain, [key]: plain[key]!.map((row, b) => row.map((x, t) => (b + t === 0 ? NaN : x))) }).loss).toBeNaN();
  });

  test('bfloat16 inputs', () => {
    const [single, half] = [run(name, plain), run(name, plain, { dtype: 'bfloat16' })];
    expect(finite(half)).toBe(true);
    expect(Math.abs(half.loss - single.loss)).toBeLessThan(0.02 * Math.max(1, Math.abs(single.loss)));
  });
});

test('a divergence to a sampler that was certain is what it is, not NaN: the token is dropped', () => {
  const one = (x: number) => [[x]];
  const batch = { logProbs: one(-3), oldLogProbs: one(0), rolloutLogProbs: one(0), refLogProbs: one(-3), advantages: one(-1), mask: one(1) };
  const { loss, metrics } = run('dppo', batch, { rows: 1, time: 1, divergence: 'binary_kl', klCoef: 0 });
  expect([loss, metrics.clip_ratio]).toEqual([0, 1]);
});

describe.each(klEstimators)('divergence %s', (type) => {
  const of = (l: number, ref: number, m = 1) => {
    const logProbs = tensor([[l]], { dtype: 'float32' });
    const kl = klDivergence(logProbs, tensor([[ref]]), type, tensor([[m]], { dtype: 'uint8' }));
    const gradient = gradients(kl.sum(), [logProbs])[0]!;
    return [kl.item(), gradient.item()] as const;
  };

  test('0 where masked, whatever stands there, the gradient too', () => {
    for (const [l, ref] of [[NaN, 0], [-Infinity, -1], [-Infinity, -Infinity], [Infinity, 2]] as const) expect(of(l, ref, 0)).toEqual([0, 0]);
  });

  test('0 for equal log-probs; finite far apart, and at most 10 for k3', () => {
    expect(of(-1, -1)[0]).toBe(0);
    for (const [l, ref] of [[-200, -0.5], [-0.5, -200]] as const) {
      const [kl, gradient] = of(l, ref);
      expect([kl, gradient].every(Number.isFinite)).toBe(true);
      if (type.startsWith('k3')) expect(kl).toBe(10);
    }
  });

  test('NaN on a valid token is NaN', () => expect(of(NaN, -1)[0]).toBeNaN());

  test('no rows, no time', () => {
    for (const shape of [[0, 3], [2, 0]] as const)
      expect(klDivergence(tensor([], { shape: [...shape], dtype: 'float32' }), tensor([], { shape: [...shape], dtype: 'float32' }), type).shape).toEqual(shape);
  });
});

const awkward = [['nothing valid', 2, 3, 0], ['no rows', 0, 3, 1], ['no time', 2, 0, 1]] as const;

describe.each(lossReductions)('reduction %s', (mode) => {
  test.each(awkward)('%s: 0, and so is the gradient', (_, rows, time, m) => {
    for (const emptyRows of ['count', 'leave_out'] as const) {
      const losses = make(table(rows, time, () => (m ? 1 : NaN)), rows, time, 'float32');
      const options = { maxSeqLen: 4, microBatchSize: 2, groupIds: Array.from({ length: rows }, (_, b) => b), emptyRows };
      const loss = reduceLoss(losses, make(table(rows, time, () => m), rows, time, 'uint8'), mode, options);
      const [gradient] = gradients(loss, [losses], { allowUnused: true });
      expect([loss.item(), ...((gradient?.toArray() ?? []) as Numbers).flat()].every((x) => x === 0)).toBe(true);
    }
  });
});

describe('value loss and masked statistics', () => {
  test.each(awkward)('%s: 0', (_, rows, time, m) => {
    const values = make(table(rows, time, () => (m ? 1 : NaN)), rows, time, 'float32');
    const mask = make(table(rows, time, () => m), rows, time, 'uint8');
    for (const valueClip of [null, 0.2]) {
      const { loss, clipFraction } = valueLoss({ values, oldValues: values, returns: values, mask }, { valueClip });
      const [gradient] = gradients(loss, [values], { allowUnused: true });
      expect([loss.item(), clipFraction.item(), ...((gradient?.toArray() ?? []) as Numbers).flat()].every((x) => x === 0)).toBe(true);
    }
    expect([maskedMean(values, mask).item(), maskedVariance(values, mask).item(), ...(maskedStandardize(values, mask).toArray() as Numbers).flat()].every((x) => x === 0)).toBe(true);
  });

  test('a single number has variance 0 and whitens to 0; an offset of 1e4 costs no digits', () => {
    const one = [make([[3]], 1, 1, 'float32'), make([[1]], 1, 1, 'uint8')] as const;
    expect([maskedVariance(...one).item(), maskedStandardize(...one).item()]).toEqual([0, 0]);
    const x = table(4, 4, (b, t) => (b * 4 + t) / 8);
    const [near, far] = [x, x.map((row) => row.map((v) => v + 1e4))].map((v) => maskedVariance(make(v, 4, 4, 'float32'), make(table(4, 4, () => 1), 4, 4, 'uint8')).item());
    expect(Math.abs(far! / near! - 1)).toBeLessThan(1e-5);
  });
});

describe('off-policy corrections', () => {
  test.each(awkward)('%s: weights of 0, an empty mask, metrics that are finite', (_, rows, time, m) => {
    const x = make(table(rows, time, (b, t) => (m ? -b - t : NaN)), rows, time, 'float32');
    const inputs = { oldLogProbs: x, rolloutLogProbs: x, mask: make(table(rows, time, () => m), rows, time, 'uint8') };
    const results = [
      ...(['token', 'sequence', 'geometric'] as const).flatMap((level) => (['truncate', 'mask'] as const).map((outside) => importanceWeights(inputs, { level, outside, normalize: true }))),
      rejectionMask(inputs, [{ level: 'token', metric: 'k3', high: 0.1 }, { level: 'sequence', metric: 'ratio', aggregate: 'sum', low: 0.5, high: 2 }]),
      { metrics: offPolicyMetrics(inputs) },
      applyOffPolicyCorrection(x, inputs, { tisRatioType: 'token', sequenceMaskMetric: 'geometric', outlierTokenIsThresholdHigh: 2 }),
    ];
    for (const { metrics } of results) expect(Object.entries(metrics).filter(([, value]) => !Number.isFinite(value.item()))).toEqual([]);
    for (const result of results) if ('weights' in result && result.weights) expect((result.weights.toArray() as Numbers).flat().every((w) => w === 0)).toBe(true);
  });
});
