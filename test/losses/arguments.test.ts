/** Typos, values out of range and things of another kind are refused under the name of the function, the argument and what was expected. */
import * as losses from '../../src/losses';
import {
  AdaptiveEntropyCoefficient,
  computePolicyLoss,
  createKlController,
  klDivergence,
  listPolicyLosses,
  reduceLoss,
  reductionDivisors,
  TokenPolicyLoss,
  topEntropyMask,
  valueLoss,
} from '../../src/losses';
import { lossRules } from '../../src/losses/options';
import { combineRewards, EstimatorError, getPolicyLoss, outcomeRewards, overlongFilter, overlongPenalty, tensor, transformRewards, klShapedRewards, type Tensor } from 'vantage-rl';

const float = (values: number[][]) => tensor(values, { dtype: 'float64' });
const x = () => float([[-0.5, -1], [-0.25, -2]]);
const mask = () => tensor([[1, 1], [1, 0]], { dtype: 'uint8' });
const inputs = () => ({ logProbs: x(), oldLogProbs: x(), advantages: float([[1, -1], [1, 2]]), mask: mask() });
const disposed = () => {
  const gone = x();
  gone.dispose();
  return gone;
};
const loss = (name: string, options: object = {}, more: object = {}) => computePolicyLoss(name, { ...inputs(), ...more }, options as never);
const values = () => ({ values: x(), oldValues: x(), returns: x(), mask: mask() });
const policies = () => ({ oldLogProbs: x(), rolloutLogProbs: x(), mask: mask() });
const any = (value: unknown) => value as never;
const logits = () => tensor([[[0, 1], [1, 0]], [[0, 1], [1, 0]]]);
const ids = () => tensor([[0, 1], [1, 1]], { dtype: 'int32' });
const known = () => ({ oldLogProbs: x(), advantages: x(), mask: mask() });

const cases: [string, () => unknown, string][] = [
  // Names
  ['an input of a loss', () => loss('regular', {}, { rolloutLogprobs: x() }), "policy loss 'regular': unknown input 'rolloutLogprobs'. Did you mean 'rolloutLogProbs'?"],
  ['another one', () => loss('regular', {}, { weight: x() }), "policy loss 'regular': unknown input 'weight'. Did you mean 'weights'?"],
  ['an option of valueLoss', () => valueLoss(values(), any({ valueclip: 1 })), "valueLoss: unknown option 'valueclip'. Did you mean 'valueClip'?"],
  ['an input of valueLoss', () => valueLoss(any({ ...values(), return: x() })), "valueLoss: unknown input 'return'. Did you mean 'returns'?"],
  ['a convention of valueLoss', () => valueLoss(values(), any({ convention: 'nope' })), "valueLoss: unknown option 'convention'"],
  ['reduceLoss', () => reduceLoss(x(), mask(), 'token_mean', any({ totalToken: 3 })), "token_mean: unknown option 'totalToken'. Did you mean 'totalTokens'?"],
  ['reductionDivisors', () => reductionDivisors(mask(), 'token_mean', any({ scales: 3 })), "token_mean: unknown option 'scales'. Did you mean 'scale'?"],
  ['klDivergence', () => klDivergence(x(), x(), 'k1', undefined, any({ inputclamp: 3 })), "klDivergence: unknown option 'inputclamp'. Did you mean 'inputClamp'?"],
  ['logitsPolicyLoss, an option', () => losses.logitsPolicyLoss(logits(), ids(), known(), any({ temprature: 1 })), "logitsPolicyLoss: unknown option 'temprature'. Did you mean 'temperature'?"],
  ['logitsPolicyLoss, an input', () => losses.logitsPolicyLoss(logits(), ids(), any({ ...known(), refLogprobs: x() })), "logitsPolicyLoss: unknown input 'refLogprobs'. Did you mean 'refLogProbs'?"],
  ['maskedMean', () => losses.maskedMean(x(), mask(), any({ axes: 1 })), "maskedMean: unknown option 'axes'. Did you mean 'axis'?"],
  ['maskedVariance', () => losses.maskedVariance(x(), mask(), any({ dof: 1 })), "maskedVariance: unknown option 'dof'. Did you mean 'ddof'?"],
  ['maskedStandardize', () => losses.maskedStandardize(x(), mask(), any({ keepmean: true })), "maskedStandardize: unknown option 'keepmean'. Did you mean 'keepMean'?"],
  ['createKlController', () => createKlController(any({ coeficient: 1 })), "createKlController: unknown option 'coeficient'. Did you mean 'coefficient'?"],
  // Kinds
  ['no inputs of valueLoss', () => valueLoss(any(null)), 'valueLoss: expected inputs {values, oldValues, returns, mask, rowOffsets}, got null'],
  ['null as its options', () => valueLoss(values(), any(null)), 'valueLoss: expected options {'],
  ['null as options of reduceLoss', () => reduceLoss(x(), mask(), 'token_mean', any(null)), 'token_mean: expected options {'],
  ['null as options of klDivergence', () => klDivergence(x(), x(), 'k1', undefined, any(null)), 'klDivergence: expected options {inputClamp, outputClamp, weights}, got null'],
  ['nothing for createKlController', () => createKlController(), 'FixedKlController: coefficient: expected a number, got undefined'],
  ['texts for outcomeRewards', () => outcomeRewards(any(['x']), [[1]]), 'outcomeRewards: scores: '],
  ['null for outcomeRewards', () => outcomeRewards(any(null), any(null)), 'outcomeRewards: expected scores, got null'],
  ['a list for combineRewards', () => combineRewards([1, 2]), 'combineRewards: expected components [batch, K] and K weights, got [2]'],
  ['null for importanceWeights', () => losses.importanceWeights(any(null)), 'importanceWeights: expected inputs {oldLogProbs, rolloutLogProbs, mask}, got null'],
  ['null for rolloutCorrection', () => losses.rolloutCorrection(any(null)), 'rolloutCorrection: expected inputs {oldLogProbs, rolloutLogProbs, mask}, got null'],
  ['null for applyOffPolicyCorrection', () => losses.applyOffPolicyCorrection(x(), any(null)), 'applyOffPolicyCorrection: expected inputs {'],
  ['null for offPolicySequenceMask', () => losses.offPolicySequenceMask(any(null), { threshold: 1 }), 'offPolicySequenceMask: expected inputs {'],
  ['null for gammaWeights', () => losses.gammaWeights(any(null)), 'gammaWeights: expected inputs {'],
  ['a list for reductionDivisors', () => reductionDivisors(any([[1, 1]]), 'token_mean'), 'token_mean: mask: expected a Tensor, got [[1,1]]'],
  ['a Map as options', () => loss('regular', new Map([['epsClipLow', 0.1]])), "policy loss 'regular': expected options, got a Map of 1"],
  ['a correction that gives null', () => loss('regular', {}, { correction: () => null }), 'regular: correction: expected { losses, mask, metrics? }, got null'],
  ['a correction without a mask', () => loss('cispo', {}, { correction: ({ losses: all }: { losses: Tensor }) => ({ losses: all }) }), 'cispo: correction: mask: expected a Tensor, got undefined'],
  ['a correction of another shape', () => loss('gpg', {}, { correction: () => ({ losses: float([[1, 1]]), mask: mask() }) }), 'gpg: correction: losses: expected shape [2,2], got [1,2]'],
  ['a disposed input', () => loss('regular', {}, { advantages: disposed() }), "policy loss 'regular': advantages: expected a Tensor that is there, got one that was disposed"],
  ['disposed weights', () => loss('regular', {}, { weights: disposed() }), "policy loss 'regular': weights: expected a Tensor that is there"],
  ['a disposed value', () => valueLoss({ ...values(), oldValues: disposed() }), 'valueLoss: oldValues: expected a Tensor that is there'],
  ['a disposed log-prob', () => losses.importanceWeights({ ...policies(), oldLogProbs: disposed() }), 'importanceWeights: oldLogProbs: expected a Tensor that is there'],
  ['a disposed one of packed rows', () => loss('regular', {}, { rowOffsets: [0, 2], advantages: disposed() }), "policy loss 'regular': advantages: expected a Tensor that is there"],
  ['a disposed score', () => klShapedRewards(disposed(), x(), mask()), 'klShapedRewards: scores: expected a Tensor that is there'],
  ['a disposed mask of a filter', () => overlongFilter(disposed(), ['stop', 'stop']), 'overlongFilter: masks: expected a Tensor that is there'],
  ['NaN in a mask', () => loss('regular', {}, { mask: float([[1, 0], [NaN, 1]]) }), "policy loss 'regular': mask: expected numbers that are 0 or not, got NaN at row 1, position 0"],
  ['NaN in the mask of a value loss', () => valueLoss({ ...values(), mask: float([[1, NaN], [1, 1]]) }), 'valueLoss: mask: expected numbers that are 0 or not, got NaN at row 0, position 1'],
  [
    'no estimator of the divergence',
    () => klDivergence(x(), x(), any('k4')),
    'klDivergence: type: expected one of k1 (kl), abs, k2 (mse), k3 (low_var_kl), k1+, k2+, k3+, got "k4". Did you mean \'k1\'?',
  ],
  ['divisors of 0', () => loss('regular', {}, { divisors: float([[1], [0]]) }), "policy loss 'regular': divisors: expected numbers above 0 (Infinity: the row weighs nothing), got 0 in row 1"],
  ['negative divisors', () => loss('regular', {}, { divisors: float([[-2], [1]]) }), 'divisors: expected numbers above 0 (Infinity: the row weighs nothing), got -2 in row 0'],
  ['divisors that are NaN', () => loss('regular', {}, { divisors: float([[1], [NaN]]) }), 'got NaN in row 1'],
  ['totalTokens of 0', () => loss('bnpo', { totalTokens: 0 }), "policy loss 'bnpo': option 'totalTokens': expected a number, 1 or more, or null, got 0"],
  ['dr_grpo without a length', () => loss('dr_grpo', {}), "policy loss 'dr_grpo': option 'maxSeqLen': expected a number, 1 or more, as the reduction seq_mean_token_sum_norm divides by it, got null"],
  ['an option of other losses', () => loss('reinforce', { clipRatioC: 3 }), "policy loss 'reinforce': unknown option 'clipRatioC', which "],
  ['no threshold', () => losses.offPolicySequenceMask(any({ ...policies(), logProbs: x(), advantages: x() }), any({})), "offPolicySequenceMask: option 'threshold': expected a number, got undefined"],
  // Ranges
  ['ε of clip_cov', () => loss('clip_cov', { epsClipLow: 1.5 }), 'clip_cov: epsClipLow: expected a number from 0 to 1, got 1.5'],
  ['ε of rollout_is', () => loss('rollout_is', { epsClipLow: 1.5 }, { rolloutLogProbs: x() }), 'rollout_is: epsClipLow: expected a number from 0 to 1, got 1.5'],
  ['bounds of the log-ratio', () => loss('regular', { logRatioMin: 3, logRatioMax: 2 }), "policy loss 'regular': option 'logRatioMin': expected at most logRatioMax, 2, got 3"],
  ['bounds of the covariance', () => loss('clip_cov', { clipCovLow: 6 }), "policy loss 'clip_cov': option 'clipCovLow': expected at most clipCovHigh, 5, got 6"],
  [
    'rows of a micro-batch',
    () => loss('regular', { reduction: 'token_mean_legacy', microBatchSize: 1.5 }),
    "policy loss 'regular': option 'microBatchSize': expected a whole number, 1 or more, or null, got 1.5",
  ],
  [
    'the same of reductionDivisors',
    () => reductionDivisors(mask(), 'token_mean_legacy', { microBatchSize: 1.5 }),
    'token_mean_legacy: microBatchSize: expected a whole number, 1 or more, or null, got 1.5',
  ],
  ['no anchor of cispo', () => loss('cispo', { anchor: null }), 'cispo: anchor: expected one of old, rollout, got null'],
  ['a temperature of sapo', () => loss('sapo', { tauPos: 1e-320 }), "policy loss 'sapo': option 'tauPos': expected a number, 0.000001 or more, got 1e-320"],
  ['an estimator of the divergence that is not used', () => loss('regular', { klEstimator: 'k9' }), "policy loss 'regular': option 'klEstimator': expected one of k1, abs, k2, k3,"],
  ['a bound of the divergence', () => loss('regular', { klInputClamp: -1 }), "policy loss 'regular': option 'klInputClamp': expected a number, 0 or more, or null, got -1"],
  ['a seed', () => loss('clip_cov', { seed: 1.5 }), "policy loss 'clip_cov': option 'seed': expected a whole number, got 1.5"],
  ['bounds of rewards', () => transformRewards(x(), { low: 2, high: 1 }), "transformRewards: option 'low': expected at most high, 1, got 2"],
  ['bounds of scores', () => klShapedRewards(tensor([1, 2]), x(), mask(), { low: 2, high: 1 }), "klShapedRewards: option 'low': expected at most high, 1, got 2"],
  [
    'a state of the entropy coefficient',
    () => new AdaptiveEntropyCoefficient({ target: 1 }).restore({ coefficient: NaN, isLow: true }),
    'AdaptiveEntropyCoefficient: state: expected { coefficient, isLow }',
  ],
  ['entropy that is NaN', () => topEntropyMask(float([[1, 2], [NaN, 3]]), mask()), 'topEntropyMask: entropy: expected numbers on valid tokens, got NaN at row 1, position 0, and 1 such in all'],
  ['a length that is NaN', () => overlongPenalty([3, NaN], { maxLength: 4, bufferLength: 1 }), 'overlongPenalty: lengths: expected finite numbers, 0 or more, got NaN in row 1'],
  ['a negative length', () => overlongPenalty([-3, 1], { maxLength: 4, bufferLength: 1 }), 'overlongPenalty: lengths: expected finite numbers, 0 or more, got -3 in row 0'],
];

test.each(cases)('%s', (_, run, message) => {
  expect(run).toThrow(EstimatorError);
  expect(run).toThrow(message);
});

test('entropy that is NaN where the mask is 0 has no effect', () => {
  expect(topEntropyMask(float([[1, 2], [3, NaN]]), mask(), { rho: 0.5 }).toArray()).toEqual([[0, 1], [1, 0]]);
});

test('divisors of Infinity leave a row out', () => {
  const rowOf = (divisor: number) => loss('gpg', {}, { divisors: float([[1], [divisor]]) }).loss.item();
  expect(rowOf(Infinity)).toBeCloseTo(rowOf(1e12), 6);
});

test('a mask of the divergence is one, whatever number marks its positions', () => {
  const [now, reference] = [float([[-0.5, NaN], [-0.25, -2]]), float([[-1, -1], [-1.25, -1]])];
  const kl = (dtype: 'float32' | 'int32') => klDivergence(now, reference, 'k2', tensor([[2, 0], [3, 1]], { dtype })).toArray();
  expect(kl('float32')).toEqual([[0.125, 0], [0.5, 0.5]]);
  expect(kl('int32')).toEqual(kl('float32'));
});

test('every option of every loss has a rule', () => {
  const options = listPolicyLosses().flatMap((name) => Object.keys(getPolicyLoss(name).options ?? {}));
  // The prompts of rows are looked at where they are used.
  expect([...new Set(options)].filter((option) => option !== 'groupIds' && !Object.hasOwn(lossRules, option))).toEqual([]);
});

test('a loss that reduces by itself may hand its options on', () => {
  class Doubled extends TokenPolicyLoss {
    static override readonly lossName = 'doubled';
    protected tokenLosses(tokens: Parameters<TokenPolicyLoss['tokenLosses']>[0]) {
      return { losses: tokens.logProbs, ratio: tokens.logProbs, metrics: {} };
    }
    protected override reduce(all: Tensor, valid: Tensor, options: Parameters<TokenPolicyLoss['reduce']>[2]): Tensor {
      return reduceLoss(all.mul(2), valid, options.reduction, { ...options, scale: 3 });
    }
  }
  expect(new Doubled().computeLoss(inputs(), {}).loss.item()).toBe(6 * (-0.5 - 1 - 0.25));
});

test.each<[string, (tokens: Tensor) => Tensor, string]>([
  ['a number a row', (x) => x.sum(1), 'float32 [2]'],
  ['a number', (x) => x.sum(), 'float32 []'],
  ['a number a column', (x) => x.sum(0, { keepDims: true }), 'float32 [1,2]'],
  ['integers', (x) => x.cast('int32'), 'int32 [2,2]'],
])('losses of a custom loss: %s', (_, losses, got) => {
  class Shaped extends TokenPolicyLoss {
    static override readonly lossName = 'shaped';
    protected tokenLosses({ logProbs }: Parameters<TokenPolicyLoss['tokenLosses']>[0]) {
      return { losses: losses(logProbs), ratio: logProbs, metrics: {} };
    }
  }
  const two = tensor([[-1, -2], [-3, -4]]);
  const batch = { logProbs: two, oldLogProbs: two, advantages: two, mask: tensor([[1, 1], [1, 1]]) };
  expect(() => new Shaped().computeLoss(batch)).toThrow(`shaped: tokenLosses: expected losses of shape [2,2], or [2,1] for one a row, of floating-point numbers, got ${got}`);
});
