/** Calls of advantage estimators and of what belongs to them. */
import { listAdvantageEstimators } from '../../../../src';

const inputs = `{ rewards: [[0, 0.5, 0.25, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0.5, 0, 0]], masks: [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0]], groupIds: ["a", "a", "b", "b"]`;
const everything =
  `values: T([4, 4]), oldLogProbs: T([4, 4]), refLogProbs: T([4, 4]), rolloutLogProbs: T([4, 4]), terminated: M([4, 4]), truncated: v.zeros([4, 4]), bootstrapValues: [0.5, 0, 1, 0], ` +
  'baselines: [0, 1, 0.5, 0], sumSquaredProbs: T([4, 4]).abs(), turnIds: [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]], rewardComponents: T([4, 2]), teacherLogProbs: T([4, 4]), ' +
  'importanceWeights: v.ones([4, 4]), anchorIds: I([4, 4]), policyDivergences: [0, 0, 0.1, 0.1] }';
const trajectory = '{ rewards: T([2, 4]), values: T([2, 4]), mask: M([2, 4]), terminated: v.zeros([2, 4]), bootstrapValues: T([2]) }';
const more = (name: string) => (name === 'pass_at_k' || name === 'pkpo' ? ', k: 2' : '');
const own = '(rewards, values, masks, context) =>';

export const estimators: readonly string[] = [
  ...listAdvantageEstimators().map((name) => `v.computeAdvantages("${name}", ${inputs}, ${everything}, { gamma: 0.9, lambda: 0.8${more(name)} })`),
  ...listAdvantageEstimators().map((name) => `v.computeAdvantages(v.createAdvantageEstimator("${name}", { gamma: 1${more(name)} }), ${inputs}, ${everything}, {})`),
  ...['skyrl', 'verl', 'trl', 'openrlhf'].map((name) => `v.computeAdvantages("grpo", ${inputs} }, { convention: "${name}", rewardOnMasked: "carry" })`),
  'v.computeAdvantages("gae", { rewards: [0, 1, 0.5, 0, 1], values: T([5]), rowOffsets: [0, 2, 5], bootstrapValues: [0, 1] }, { gamma: 0.9 })',
  `v.computeAdvantages(h.estimator(${own} rewards.sub(rewards.mean(null, { mask: masks })).mul(masks)), ${inputs} }, { gamma: 0.5 })`,
  `v.computeAdvantages(h.estimator(${own} ({ advantages: context.groups.centre(rewards.sum(1)).expandDims(1).mul(masks), returns: rewards, metrics: { best: rewards.max() } }), { requires: ["groupIds"] }), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} { h.nested(); return v.computeAdvantages("rloo", { rewards, masks, groupIds: [0, 0, 1, 1] }).advantages; }), ${inputs} })`,
  'v.createAdvantageEstimator("spo", {}).saveState()',
  'v.createAdvantageEstimator("spo", {}).restoreState(v.createAdvantageEstimator("spo").saveState())',
  'v.createAdvantageEstimator("gae", { gamma: 0.9, lambda: 0.5, convention: "verl" })',
  'v.getAdvantageEstimator("grpo")',
  'v.hasAdvantageEstimator("grpo")',
  'v.listAdvantageEstimators()',
  'v.registerAdvantageEstimator("fuzzed", h.estimatorClass((rewards) => rewards), { aliases: ["fuzzed_too"], override: true })',
  '[v.registerAdvantageEstimator("fuzzed", h.estimatorClass((rewards) => rewards)), v.unregisterAdvantageEstimator("fuzzed")]',
  'v.advantageInputs.length',
  'v.AdvantageEstimator.name',
  'v.conventionNames.length',
  'v.combineRewards(T([4, 2]), v.tensor([0.5, 0.5]))',
  'v.maskedWhiten(T([2, 4]), M([2, 4]), 1e-6)',
  'v.normalize(T([4]), { groups: ["a", "a", "b", "b"], leaveOneOut: false, mask: M([4]), meanLevel: "group", stdLevel: "batch", ddof: 1, epsilon: 1e-6 })',
  'v.outcomeRewards(T([2]), M([2, 4]))',
  '((groups) => [groups.sum(T([4])), groups.mean(T([4])), groups.centre(T([4])), groups.std(T([4]), 1), groups.moments(T([4])), groups.sumColumns(T([4, 3])), groups.maxOfOthers(T([4])), groups.besideOthers(T([4]))])(new v.Groups(["a", "b", "a", "c"], 4, "cpu"))',
  'new v.Groups(Int32Array.of(1, 2, 1), 3).sizes',
  'v.discountedReturns({ rewards: T([2, 4]), mask: M([2, 4]), terminated: v.zeros([2, 4]), bootstrapValues: T([2]) }, { gamma: 0.9 })',
  ...['lambdaReturns', 'td0Returns', 'td1Returns', 'truncatedGae'].map((name) => `v.${name}(${trajectory}, { gamma: 0.9, lambda: 0.8 })`.replace(name.startsWith('td') ? ', lambda: 0.8' : '~', '')),
  `v.nStepReturns(${trajectory}, { gamma: 0.9, lambda: 0.9, n: 2 })`,
  'v.qLambdaReturns({ rewards: T([2, 4]), nextActionValues: T([2, 4, 3]), mask: M([2, 4]), terminated: v.zeros([2, 4]) }, { gamma: 0.9, lambda: 0.8 })',
  'v.offPolicyReturns({ rewards: T([2, 4]), actionValues: T([2, 4]), nextValues: T([2, 4]), traces: T([2, 4]), mask: M([2, 4]) }, { gamma: 0.9 })',
  'v.retraceReturns({ rewards: T([2, 4]), actionValues: T([2, 4]), nextValues: T([2, 4]), importanceRatios: T([2, 4]).abs(), mask: M([2, 4]) }, { gamma: 0.9, lambda: 0.8 })',
  'v.importanceCorrectedErrors({ rewards: T([2, 4]), values: T([2, 4]), importanceRatios: T([2, 4]).abs(), mask: M([2, 4]) }, { gamma: 0.9, lambda: 0.8 })',
  'v.vtraceEstimates({ rewards: T([2, 4]), values: T([2, 4]), importanceRatios: T([2, 4]).abs(), mask: M([2, 4]) }, { gamma: 0.9, lambda: 0.8, clipRho: 1, clipC: 1 })',
];

export const estimatorsRefused: readonly string[] = [
  `v.computeAdvantages(h.estimator(${own} { h.disposeAll(); rewards.dispose(); return rewards; }), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} { masks.dispose(); return rewards; }), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} h.boom()), ${inputs} })`,
  `v.computeAdvantages(h.estimator(async ${own} rewards), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} ({ advantages: rewards, metrics: { a: h.throwing({}) } })), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} h.throwing({ advantages: rewards })), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} h.disposing({ advantages: rewards, returns: rewards })), ${inputs} })`,
  `v.computeAdvantages(h.estimator(${own} rewards.div(0)), ${inputs} })`,
  `v.computeAdvantages({ computeAdvantages: (rewards) => rewards }, ${inputs} })`,
];
