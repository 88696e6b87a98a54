/** Off-policy corrections against plain loops; what masked positions may not do; options by name. */
import {
  applyOffPolicyCorrection,
  gammaWeights,
  gradients,
  importanceWeights,
  offPolicyMetrics,
  offPolicySequenceMask,
  parseRejectionRules,
  rejectionMask,
  rejectionSampling,
  rolloutCorrection,
  tensor,
  zeros,
  type OffPolicyInputs,
  type Tensor,
} from 'vantage-rl';
import { kept, meanOf, offPolicyBatch, ratios, sumOf, validLogRatios, weights, type OffPolicyBatch } from './off_policy_reference';
import { expectClose } from '../closeness';

type Precision = 'float32' | 'float64';
const precisions: [Precision, number][] = [['float64', 1e-9], ['float32', 1e-5]];

function inputsOf(batch: OffPolicyBatch, dtype: Precision = 'float64'): OffPolicyInputs {
  return {
    oldLogProbs: tensor(batch.oldLogProbs, { dtype }),
    rolloutLogProbs: tensor(batch.rolloutLogProbs, { dtype }),
    mask: tensor(batch.masks, { dtype: 'uint8' }),
  };
}

const rows = (x: Tensor) => x.toArray() as number[][];

/** The batch with `garbage` at masked positions. */
const spoilt = (batch: OffPolicyBatch, garbage: number): OffPolicyBatch => {
  const spoil = (values: number[][]) => values.map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : garbage)));
  return { ...batch, oldLogProbs: spoil(batch.oldLogProbs), rolloutLogProbs: spoil(batch.rolloutLogProbs) };
};

const seeds = [0, 1, 2, 3, 4, 5];

describe('importanceWeights', () => {
  test.each(['token', 'sequence', 'geometric'] as const)('%s: bounded and masked', (level) => {
    for (const seed of seeds) {
      const batch = offPolicyBatch(seed);
      for (const [dtype, tolerance] of precisions) {
        for (const outside of ['truncate', 'mask'] as const) {
          for (const [low, high] of [[null, 1.05], [0.9, 1.1], [0.5, null]] as const) {
            expectClose(rows(importanceWeights(inputsOf(batch, dtype), { level, low, high, outside }).weights), weights(batch, level, low, high, outside), tolerance);
          }
        }
      }
    }
  });

  test('normalised weights have mean 1 over tokens, or over sequences', () => {
    for (const seed of seeds) {
      const batch = offPolicyBatch(seed);
      for (const level of ['token', 'sequence'] as const) {
        const plain = weights(batch, level, null, 1.1, 'truncate');
        const tokens = plain.map((row, b) => row.filter((_, t) => batch.masks[b]![t]));
        const mean = level === 'token' ? meanOf(tokens.flat()) : meanOf(tokens.filter((row) => row.length > 0).map((row) => row[0]!));
        const { weights: got, metrics } = importanceWeights(inputsOf(batch), { level, high: 1.1, normalize: true });
        expectClose(rows(got), plain.map((row) => row.map((w) => w / (mean || 1))), 1e-9);
        expect(metrics.batch_norm_factor!.item()).toBeCloseTo(mean || 1, 9);
      }
    }
  });

  test('metrics of tokens and sequences', () => {
    for (const seed of seeds) {
      const batch = offPolicyBatch(seed);
      for (const level of ['token', 'sequence'] as const) {
        const { metrics } = importanceWeights(inputsOf(batch), { level, high: 1.1 });
        const byRow = ratios(batch, level).map((row, b) => row.filter((_, t) => batch.masks[b]![t]));
        const tokens = byRow.flat();
        const filled = byRow.filter((row) => row.length > 0);
        const clipped = tokens.map((r) => Math.min(1.1, Math.max(1 / 1.1, r)));
        const deviation = Math.sqrt(meanOf(clipped.map((x) => (x - meanOf(clipped)) ** 2)));
        const wanted = {
          mean: meanOf(tokens),
          std: tokens.length > 1 ? deviation : 0,
          max: tokens.length ? Math.max(...tokens) : level === 'token' ? 0 : 1,
          eff_sample_size: tokens.length ? meanOf(clipped) ** 2 / meanOf(clipped.map((x) => x * x)) : 0,
          ratio_fraction_high: level === 'token' ? meanOf(tokens.map((r) => Number(r > 1.1))) : meanOf(filled.map((row) => Number(row[0]! > 1.1))),
          seq_mean: meanOf(filled.map(meanOf)),
          seq_fraction_low: meanOf(filled.map((row) => Number(meanOf(row) < 1 / 1.1))),
        };
        for (const [name, value] of Object.entries(wanted)) expect([name, metrics[name]!.item()]).toEqual([name, expect.closeTo(value, 9)]);
      }
    }
  });

  test('masked positions: 0, the weight of ratio 1, or what the log-probs give', () => {
    const batch = { oldLogProbs: [[-1, -2]], rolloutLogProbs: [[-1.5, -1]], masks: [[1, 0]] };
    const at = (masked: 'zero' | 'neutral' | 'raw') => rows(importanceWeights(inputsOf(batch), { high: null, masked }).weights)[0]![1];
    expect([at('zero'), at('neutral'), at('raw')]).toEqual([0, 1, expect.closeTo(Math.exp(-1), 9)]);
  });
});

describe('rejectionMask', () => {
  const bounds = { ratio: [0.9, 1.1], k1: [-0.08, 0.1], k2: [null, 0.01], k3: [null, 0.01], binary_kl: [null, 0.01] } as const;
  const cases = (['ratio', 'k1', 'k2', 'k3', 'binary_kl'] as const).flatMap((metric) => (['token', 'sum', 'mean', 'max', 'any'] as const).map((aggregate) => [metric, aggregate] as const));

  test.each(cases)('%s, %s', (metric, aggregate) => {
    const [low, high] = bounds[metric];
    const level = aggregate === 'token' ? 'token' : 'sequence';
    for (const seed of seeds) {
      const batch = offPolicyBatch(seed);
      for (const [dtype] of precisions) {
        const { mask, metrics } = rejectionMask(inputsOf(batch, dtype), [{ level, metric, ...(aggregate !== 'token' && { aggregate }), low, high }]);
        const wanted = kept(batch, metric, aggregate, low, high);
        expect(mask.dtype).toBe('uint8');
        expect(rows(mask)).toEqual(wanted);
        const total = sumOf(batch.masks.flat());
        expect(metrics.masked_fraction!.item()).toBeCloseTo(total ? 1 - sumOf(wanted.flat()) / total : 0, 6);
        for (const [name, value] of Object.entries(metrics)) expect([name, Number.isFinite(value.item())]).toEqual([name, true]);
      }
    }
  });

  test('rules are joined by and; the other direction of the divergence', () => {
    const batch = offPolicyBatch(3);
    const both = rows(rejectionMask(inputsOf(batch), parseRejectionRules('token_k1,seq_mean_k3', '0.9_1.1,0.02')).mask);
    const first = kept(batch, 'k1', 'token', Math.log(0.9), Math.log(1.1));
    const second = kept(batch, 'k3', 'mean', null, 0.02);
    expect(both).toEqual(first.map((row, b) => row.map((m, t) => m * second[b]![t]!)));
    const swapped = { ...batch, oldLogProbs: batch.rolloutLogProbs, rolloutLogProbs: batch.oldLogProbs };
    const rule = { level: 'token', metric: 'k3', high: 0.005 } as const;
    expect(rows(rejectionMask(inputsOf(batch), [rule], { divergence: 'old_from_rollout' }).mask)).toEqual(rows(rejectionMask(inputsOf(swapped), [rule]).mask));
  });

  test('NaN on a valid token is outside', () => {
    const batch = { oldLogProbs: [[-1, NaN], [-1, -1]], rolloutLogProbs: [[-1, -1], [-1, -1]], masks: [[1, 1], [1, 1]] };
    expect(rows(rejectionMask(inputsOf(batch), [{ level: 'token', metric: 'ratio', high: 2 }]).mask)).toEqual([[1, 0], [1, 1]]);
    expect(rows(rejectionMask(inputsOf(batch), [{ level: 'sequence', metric: 'k3', aggregate: 'max', high: 2 }]).mask)).toEqual([[0, 0], [1, 1]]);
  });
});

test('rejectionSampling: weights of what is left, and how much was filtered', () => {
  for (const seed of seeds) {
    const batch = offPolicyBatch(seed);
    const total = sumOf(batch.masks.flat()) || 1;
    const masked = rejectionSampling(inputsOf(batch), { level: 'sequence', metric: 'k3', aggregate: 'mean', high: 0.01 });
    const wanted = kept(batch, 'k3', 'mean', null, 0.01);
    expect(rows(masked.mask)).toEqual(wanted);
    expectClose(rows(masked.weights), weights({ ...batch, masks: wanted }, 'token', null, null, 'truncate'), 1e-9);
    expect(masked.filteredFraction.item()).toBeCloseTo((sumOf(batch.masks.flat()) - sumOf(wanted.flat())) / total, 9);
    const clamped = rejectionSampling(inputsOf(batch), { action: 'clamp', low: 0.95, high: 1.1 });
    expect(rows(clamped.mask)).toEqual(batch.masks);
    expectClose(rows(clamped.weights), weights(batch, 'token', 0.95, 1.1, 'truncate'), 1e-9);
    const geometric = rejectionSampling(inputsOf(batch), { level: 'sequence', action: 'clamp', aggregate: 'sum', high: 1.05 });
    expectClose(
      rows(geometric.weights),
      ratios(batch, 'geometric').map((row, b) => {
        const isOut = Math.exp(sumOf(validLogRatios(batch)[b]!)) > 1.05;
        return row.map((r, t) => (batch.masks[b]![t] ? (isOut ? Math.min(1.05, r) : r) : 0));
      }),
      1e-9,
    );
  }
});

describe('applyOffPolicyCorrection', () => {
  const options = {
    tisRatioType: 'token',
    tokenTisRatioClipHigh: 1.05,
    sequenceMaskMetric: 'geometric',
    geoMaskLow: 0.95,
    geoMaskHigh: 1.05,
    outlierTokenIsThresholdHigh: 1.24,
    tokenMaskIsThresholdLow: 0.85,
    tokenMaskIsThresholdHigh: 1.2,
  } as const;

  test('outliers, tokens, weights, sequences: each over what is left', () => {
    for (const seed of seeds) {
      const batch = offPolicyBatch(seed);
      const loss = batch.oldLogProbs.map((row) => row.map((x) => x * 2 + 1));
      let masks = kept(batch, 'ratio', 'any', null, 1.24);
      masks = kept({ ...batch, masks }, 'ratio', 'token', 0.85, 1.2);
      const weighed = weights({ ...batch, masks }, 'token', null, 1.05, 'truncate');
      masks = kept({ ...batch, masks }, 'ratio', 'mean', 0.95, 1.05);
      for (const [dtype, tolerance] of precisions) {
        const result = applyOffPolicyCorrection(tensor(loss, { dtype }), inputsOf(batch, dtype), options);
        expect(rows(result.mask)).toEqual(masks);
        expectClose(rows(result.loss), loss.map((row, b) => row.map((x, t) => x * weighed[b]![t]!)), tolerance);
      }
    }
  });

  test('weights are constants for the gradient', () => {
    const batch = offPolicyBatch(2);
    const loss = tensor(batch.oldLogProbs, { dtype: 'float64' });
    const result = applyOffPolicyCorrection(loss, inputsOf(batch), { tisRatioType: 'sequence' });
    const [gradient] = gradients(result.loss.sum(null, { mask: result.mask }), [loss]);
    expectClose(rows(gradient!), rows(result.weights!).map((row, b) => row.map((w, t) => w * batch.masks[b]![t]!)), 1e-12);
    const inputs = inputsOf(batch);
    const [toOld] = gradients(applyOffPolicyCorrection(loss, inputs, { tisRatioType: 'token' }).loss.sum(), [inputs.oldLogProbs], { allowUnused: true });
    expect(rows(toOld!).flat().every((x) => x === 0)).toBe(true);
  });

  test('without a correction, or without log-probs of the sampler, the mask stays', () => {
    const batch = offPolicyBatch(1);
    const loss = tensor(batch.oldLogProbs, { dtype: 'float64' });
    for (const result of [applyOffPolicyCorrection(loss, inputsOf(batch)), applyOffPolicyCorrection(loss, { ...inputsOf(batch), rolloutLogProbs: null }, options)]) {
      expect(rows(result.mask)).toEqual(batch.masks);
      expect([result.weights, result.metrics]).toEqual([null, {}]);
    }
  });
});

test('offPolicyMetrics and rolloutCorrection', () => {
  for (const seed of seeds) {
    const batch = offPolicyBatch(seed);
    const x = validLogRatios(batch);
    const filled = x.filter((row) => row.length > 0);
    const logProbs = batch.masks.map((row, b) => row.flatMap((m, t) => (m ? [batch.oldLogProbs[b]![t]!] : []))).filter((row) => row.length > 0);
    const wanted = {
      kl: -meanOf(x.flat()),
      k3_kl: meanOf(x.flat().map((each) => Math.exp(each) - 1 - each)),
      training_ppl: meanOf(logProbs.map((row) => Math.exp(-meanOf(row)))),
      log_ppl_abs_diff: meanOf(filled.map((row) => Math.abs(meanOf(row)))),
      chi2_token: meanOf(x.flat().map((each) => Math.exp(2 * each))) - 1,
      chi2_seq: meanOf(filled.map((row) => Math.exp(2 * sumOf(row)))) - 1,
    };
    const { metrics, weights: weighed, mask } = rolloutCorrection(inputsOf(batch), { weights: { level: 'token' }, rules: parseRejectionRules('token_k2', 0.01) });
    for (const [name, value] of Object.entries(wanted)) {
      expect([name, metrics[name]!.item()]).toEqual([name, expect.closeTo(value, 9)]);
      expect(offPolicyMetrics(inputsOf(batch))[name]!.item()).toBeCloseTo(value, 9);
    }
    expectClose(rows(weighed!), weights(batch, 'token', null, 2, 'truncate'), 1e-9);
    expect(rows(mask)).toEqual(kept(batch, 'k2', 'token', null, 0.01));
    expect(Object.keys(metrics)).toEqual(expect.arrayContaining(['rollout_is_mean', 'rollout_rs_token_k2_mean', 'rollout_rs_masked_fraction']));
  }
});

test('offPolicySequenceMask keeps what is good or near', () => {
  for (const seed of seeds) {
    const batch = offPolicyBatch(seed);
    const advantages = batch.masks.map((_, b) => (b % 2 ? -1 : 0.5));
    const { oldLogProbs: logProbs, rolloutLogProbs, mask } = inputsOf(batch);
    const got = rows(offPolicySequenceMask({ logProbs, rolloutLogProbs, mask, advantages: tensor(advantages) }, { threshold: 0.01 }));
    expect(got).toEqual(validLogRatios(batch).map((row, b) => [Number(advantages[b]! >= 0 || -meanOf(row) <= 0.01)]));
  }
});

test('gammaWeights: φ(w) = w^k·e^(λ(1−w)) of each sequence, φ(1) = 1', () => {
  for (const seed of seeds) {
    const batch = offPolicyBatch(seed, 2);
    const logRatio = batch.oldLogProbs.map((row, b) => row.map((x, t) => x - batch.rolloutLogProbs[b]![t]!));
    const importance = logRatio.map((row) => row.map((x) => Math.exp(x / 3)));
    const advantages = batch.masks.map((_, b) => (b % 2 ? -1 : 0));
    const wanted = validLogRatios(batch).map((row, b) => {
      const w = Math.exp(sumOf(row) + sumOf(row.map((x) => x / 3)));
      const [k, lambda] = advantages[b]! >= 0 ? [2, 3] : [3, 2];
      return [w ** k * Math.exp(lambda * (1 - w))];
    });
    for (const [dtype, tolerance] of precisions) {
      const inputs = { logRatio: tensor(logRatio, { dtype }), advantages: tensor(advantages), mask: tensor(batch.masks, { dtype: 'uint8' }), importanceRatio: tensor(importance, { dtype }) };
      expectClose(rows(gammaWeights(inputs)), wanted, tolerance);
    }
  }
  const one = { logRatio: tensor([[0, 0]]), advantages: tensor([-1]), mask: tensor([[1, 1]]) };
  expect(rows(gammaWeights(one))).toEqual([[1]]);
});

test.each([NaN, Infinity, -Infinity, 1e30])('%p at masked positions has no effect', (garbage) => {
  for (const seed of [0, 1, 2, 4]) {
    const batch = offPolicyBatch(seed);
    const run = (each: OffPolicyBatch) => {
      const inputs = inputsOf(each);
      const rules = parseRejectionRules('token_k1,seq_max_k3,seq_mean_binary_kl,seq_any_ratio', '1.1,0.02,0.02,1.2');
      const corrected = applyOffPolicyCorrection(inputs.oldLogProbs, inputs, { tisRatioType: 'sequence', sequenceMaskMetric: 'product', outlierTokenIsThresholdHigh: 1.2 });
      const correction = rolloutCorrection(inputs, { weights: { level: 'token', outside: 'mask', low: 0.9 }, rules });
      const sampled = rejectionSampling(inputs, { level: 'sequence', action: 'clamp', high: 1.05 });
      const opsm = offPolicySequenceMask({ ...inputs, logProbs: inputs.oldLogProbs, advantages: tensor(each.masks.map(() => -1)) }, { threshold: 0.01 });
      const phi = gammaWeights({ logRatio: inputs.oldLogProbs, advantages: tensor(each.masks.map(() => 1)), mask: inputs.mask, importanceRatio: inputs.rolloutLogProbs.exp() });
      const tensors = [corrected.loss, corrected.mask, corrected.weights!, correction.weights!, correction.mask, sampled.weights, sampled.filteredFraction, opsm, phi];
      return [...tensors, ...Object.values(correction.metrics), ...Object.values(corrected.metrics)].flatMap((x) => Array.from(x.dataSync()));
    };
    expect(run(spoilt(batch, garbage))).toEqual(run(batch));
  }
});

test.each([[[[0, 0]]], [[[0, 0], [0, 0]]], [[[1]]], [[[1, 0]]]])('nothing or one token valid, %j: all is finite', (masks: number[][]) => {
  const batch = { oldLogProbs: masks.map((row) => row.map(() => -1)), rolloutLogProbs: masks.map((row) => row.map(() => -2)), masks };
  const inputs = inputsOf(batch);
  const { weights: weighed, metrics } = rolloutCorrection(inputs, { weights: { level: 'sequence', normalize: true }, rules: parseRejectionRules('seq_max_k2', 1) });
  const corrected = applyOffPolicyCorrection(inputs.oldLogProbs, inputs, { tisRatioType: 'token', sequenceMaskMetric: 'geometric' });
  for (const x of [weighed!, corrected.loss, ...Object.values(metrics), ...Object.values(corrected.metrics)]) {
    expect(Array.from(x.dataSync()).every(Number.isFinite)).toBe(true);
  }
});

test.each([[[0, 3]], [[2, 0]]])('batches of shape %j give batches of that shape', (shape) => {
  const inputs = { oldLogProbs: zeros(shape), rolloutLogProbs: zeros(shape), mask: zeros(shape, { dtype: 'uint8' }) };
  const { weights: weighed, mask, metrics } = rolloutCorrection(inputs, { weights: { level: 'sequence', normalize: true }, rules: parseRejectionRules('seq_max_k3,seq_any_ratio', 2) });
  expect([weighed!.shape, mask.shape]).toEqual([shape, shape]);
  for (const x of Object.values(metrics)) expect(Number.isFinite(x.item())).toBe(true);
  expect(applyOffPolicyCorrection(inputs.oldLogProbs, inputs, { tisRatioType: 'token', sequenceMaskMetric: 'geometric' }).loss.shape).toEqual(shape);
});

test('errors name what was expected', () => {
  const inputs = inputsOf(offPolicyBatch(0));
  expect(() => importanceWeights(inputs, { levle: 'token' } as never)).toThrow("importanceWeights: unknown option 'levle'. Did you mean 'level'?");
  expect(() => importanceWeights(inputs, { level: 'tokn' as never })).toThrow('expected one of token, sequence, geometric, got "tokn". Did you mean \'token\'?');
  expect(() => importanceWeights(inputs, { low: 3, high: 2 })).toThrow('low: expected a number from 0 to 2, got 3');
  expect(() => importanceWeights(inputs, { convention: 'skyrll' as never })).toThrow("Did you mean 'skyrl'?");
  expect(() => importanceWeights({ ...inputs, mask: tensor([[1]]) })).toThrow('importanceWeights: mask: expected shape');
  expect(() => rejectionMask(inputs, [{ level: 'token', metric: 'k4' as never }])).toThrow('rule: \'metric\': expected one of ratio, k1, k2, k3, binary_kl, got "k4"');
  expect(() => rejectionMask(inputs, [{ level: 'token', metric: 'k1', hihg: 0.1 } as never])).toThrow(
    "rejectionMask: rule: unknown key 'hihg'. Did you mean 'high'? Keys: level, metric, aggregate, low, high",
  );
  expect(() => rejectionMask(inputs, ['token_k1' as never])).toThrow('rejectionMask: rule: expected keys {level, metric, aggregate, low, high}, got "token_k1"');
  expect(() => parseRejectionRules('token_k4', 1)).toThrow('parseRejectionRules: names: expected one of');
  expect(() => parseRejectionRules('seq_mean_k3', '0.1_0.2')).toThrow('bounds of seq_mean_k3: expected one positive number, got "0.1_0.2"');
  expect(() => parseRejectionRules('token_k1,token_k2', '1,2,3')).toThrow('expected one bound, or one for each of 2 rules');
  expect(() => applyOffPolicyCorrection(inputs.oldLogProbs, inputs, { tisRatioType: 'batch' as never })).toThrow("option 'tisRatioType': expected one of token, sequence");
  expect(() => offPolicySequenceMask({ ...inputs, logProbs: inputs.oldLogProbs, advantages: tensor([1, 2, 3, 4, 5, 6, 7, 8, 9]) }, { threshold: 0 })).toThrow('advantages: expected shape');
});
