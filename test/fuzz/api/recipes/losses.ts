/** Calls of policy losses, of what corrects them, and of what shapes rewards and batches. */
import { lossReductions, listPolicyLosses } from '../../../../src';

const inputs =
  '{ logProbs: T([2, 4]), oldLogProbs: T([2, 4]).mul(0.9), advantages: T([2, 4]), mask: M([2, 4]), rolloutLogProbs: T([2, 4]).mul(1.1), refLogProbs: T([2, 4]), entropy: T([2, 4]).abs(), weights: v.ones([2, 4]) }';
const correction = '{ oldLogProbs: T([2, 4]), rolloutLogProbs: T([2, 4]).mul(0.9), mask: M([2, 4]) }';
const classes =
  'BatchNormalizedPolicyLoss ClipCovariancePolicyLoss ClippedWeightPolicyLoss CrossEntropyLoss DecoupledClipPolicyLoss DivergencePolicyLoss DualClipPolicyLoss GeometricMeanPolicyLoss GroupRelativePolicyLoss ImportanceSamplingLoss KlCovariancePolicyLoss LengthUnbiasedPolicyLoss PolicyGradientLoss RegularPolicyLoss ReinforceLoss RolloutWeightPolicyLoss SequencePolicyLoss SoftAdaptivePolicyLoss UnbiasedLengthPolicyLoss VariationalSequencePolicyLoss'
    .split(
      ' ',
    );

export const losses: readonly string[] = [
  ...listPolicyLosses().map((name) => `v.computePolicyLoss("${name}", ${inputs}, { reduction: "token_mean", klCoef: 0.1 })`),
  ...listPolicyLosses().map((name) =>
    `((x) => v.gradients(v.computePolicyLoss("${name}", { logProbs: x, oldLogProbs: T([2, 4]), advantages: T([2, 4]), mask: M([2, 4]), rolloutLogProbs: T([2, 4]) }, { maxSeqLen: 4 }).loss, [x]))(T([2, 4]))`
  ),
  ...classes.map((name) => `new v.${name}().computeLoss(${inputs}, { maxSeqLen: 4 })`),
  'v.computePolicyLoss("regular", { logProbs: T([5]), oldLogProbs: T([5]), advantages: T([5]), rowOffsets: [0, 2, 5] }, { epsClipLow: 0.1, epsClipHigh: 0.3, ratioLevel: "token", logRatioMin: -5, logRatioMax: 5 })',
  'v.computePolicyLoss("regular", { logProbs: T([2, 4]), oldLogProbs: T([2, 4]), advantages: T([2, 4]), mask: M([2, 4]), correction: ({ losses, mask }) => ({ losses: losses.mul(2), mask, metrics: {} }) })',
  'v.getPolicyLoss("regular")',
  'v.listPolicyLosses()',
  'v.policyLosses.list()',
  'v.registerPolicyLoss("fuzzed", class extends v.PolicyLoss { computeLoss({ logProbs }) { return { loss: logProbs.sum(), metrics: {} }; } }, { aliases: ["fuzzed_too"], override: true })',
  '[v.registerPolicyLoss("fuzzed", class extends v.TokenPolicyLoss { tokenLosses({ logProbs, advantages }) { return { losses: logProbs.mul(advantages) }; } }, {}), v.computePolicyLoss("fuzzed", { logProbs: T([2, 4]), oldLogProbs: T([2, 4]), advantages: T([2, 4]), mask: M([2, 4]) }, {}), v.unregisterPolicyLoss("fuzzed")]',
  ...lossReductions.map((name) => `v.reduceLoss(T([4, 3]), M([4, 3]), "${name}", { microBatchSize: 2, groupIds: ["a", "a", "b", "b"], maxSeqLen: 3, totalTokens: 8, scale: 2 })`),
  'v.reductionDivisors(M([4, 3]), "token_mean", { microBatchSize: 2 })',
  'v.lossReductions.length + v.klEstimators.length',
  'v.klDivergence(T([2, 4]), T([2, 4]).mul(0.9), "k3", M([2, 4]), { outputClamp: 10, inputClamp: 5, weights: T([2, 4]) })',
  'v.klDivergence(T([2, 4]), T([2, 4]).mul(0.9), "k2+")',
  'v.logitsPolicyLoss(T([2, 3, 5]), I([2, 3], 5), { oldLogProbs: T([2, 3]), advantages: T([2, 3]), mask: M([2, 3]), refLogProbs: T([2, 3]) }, { temperature: 0.9, klCoef: 0.1, epsClipLow: 0.2, epsClipHigh: 0.2, type: "dual_clip" })',
  'v.maskedMean(T([2, 4]), M([2, 4]), { axis: 1 })',
  'v.maskedVariance(T([2, 4]), M([2, 4]), { ddof: 1, countEpsilon: 0 })',
  'v.maskedStandardize(T([2, 4]), M([2, 4]), { keepMean: true })',
  'v.topEntropyMask(T([2, 4]), M([2, 4]), { rho: 0.5 })',
  'v.valueLoss({ values: T([2, 4]), oldValues: T([2, 4]), returns: T([2, 4]), mask: M([2, 4]) }, { valueClip: 0.2, reduction: "token_mean" })',
  `v.applyOffPolicyCorrection(T([2, 4]), ${correction}, { tisRatioType: "token", sequenceMaskMetric: "geometric" })`.replace('tisRatioType: "token", ', ''),
  `v.rolloutCorrection(${correction}, { weights: { level: "token" }, rules: [{ level: "sequence", metric: "ratio", low: 0.5, high: 2 }] })`,
  `v.importanceWeights(${correction}, { level: "sequence", high: 2, outside: "truncate", normalize: true })`,
  `v.offPolicyMetrics(${correction})`,
  `v.rejectionMask(${correction}, [{ level: "token", metric: "k1", high: 1, low: -1 }], {})`,
  `v.rejectionSampling(${correction}, { action: "clamp", low: 0.5, high: 2 })`,
  'v.parseRejectionRules("token_k1", "0.5_2")',
  `v.offPolicySequenceMask({ advantages: T([2, 4]), logProbs: T([2, 4]), oldLogProbs: T([2, 4]), rolloutLogProbs: T([2, 4]), mask: M([2, 4]) }, { threshold: 0.5 })`,
  'v.gammaWeights({ advantages: T([2, 4]), mask: M([2, 4]), logRatio: T([2, 4]), importanceRatio: T([2, 4]).abs() }, {})',
  '((c) => [c.update(3), c.value, c.state(), c.restore(c.state())])(new v.AdaptiveEntropyCoefficient({ coefficient: 0.01, target: 1, delta: 0.001, min: 0, max: 1 }))',
  '((c) => [c.update(0.5, 2), c.value, c.state(), c.restore(c.state())])(new v.AdaptiveKlController({ coefficient: 0.1, target: 6, horizon: 10000 }))',
  'new v.FixedKlController(0.1).update(1)',
  'v.createKlController({ type: "adaptive", coefficient: 0.1, target: 6, horizon: 100 }).update(1, 2)',

  '((f) => [f.add({ groupIds: ["a", "a", "b", "b"], rewards: [0, 1, 0, 0], samples: [1, 2, 3, 4] }), f.promptsCollected, f.collected, f.take()])(new v.DynamicSamplingFilter({ trainBatchSize: 1, samplesPerPrompt: 2 }))',
  'v.dynamicSamplingReplace({ groupIds: ["a", "a", "b", "b"], rewards: [0, 1, 0, 0], samples: [1, 2, 3, 4] }, { minReplaceRatio: 0.3, samplesPerPrompt: 2, seed: 1 })',
  'v.klShapedRewards(T([2]), T([2, 4]), M([2, 4]), { klCoef: 0.1, low: -5, high: 5 })',
  'v.missingEosPenalty([1, 0], [true, false], { penalty: 1, replace: true })',
  'v.overlongFilter([[1, 1], [1, 0]], ["stop", "length"], { kept: ["stop"] })',
  'v.overlongFilter(M([2, 4]), ["stop", "length"])',
  'v.overlongPenalty([3, 9], { maxLength: 10, bufferLength: 4, factor: 1 })',
  'v.repetitionPenalty([[1, 2, 1, 2, 1, 2], [3, 4]], { ngramSize: 2, maxPenalty: -1 })',
  'v.stopProperlyPenalty([1, 0], [0, 1], { coefficient: 0.5, allowNegative: false })',
  'v.transformRewards(T([4]), { low: -5, high: 5, bias: 1, scale: 2, whiten: true }, M([4]))',
  'v.zeroVarianceFilter([0, 1, [0, 0], 0], ["a", "a", "b", "b"], { tolerance: 0 }, [1, 1, true, 1])',
  'v.PolicyLoss.name + v.TokenPolicyLoss.name',
];
