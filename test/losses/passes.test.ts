/** How often a policy loss, what it reports and its gradient go over memory: what the scheduler fuses, and what it has to know first. */
import { join } from 'node:path';
import { arange, computePolicyLoss, explain, gradients, listPolicyLosses, randomKey, randomUniform, type PolicyLossInputs } from 'vantage-rl';
import { read, root } from '../docs/markdown';

const shape = [1024, 256];
const over = new RegExp(`^program over \\[(${shape.join()}|${shape[0]! * shape[1]!}|1,${shape[0]! * shape[1]!})\\]`);

function inputs(): PolicyLossInputs {
  const random = (key: number) => randomUniform(shape, { key: randomKey(key) }).sub(2).realize();
  const lengths = arange(0, shape[0]!, 1).mul(37).mod(64).neg().add(shape[1]!);
  const mask = arange(0, shape[1]!, 1).expandDims(0).less(lengths.expandDims(1)).realize();
  return { logProbs: random(1), oldLogProbs: random(2), advantages: random(3), rolloutLogProbs: random(4), refLogProbs: random(5), mask };
}

function passes(name: string, options: object): number {
  const given = inputs();
  const { loss, metrics } = computePolicyLoss(name, given, { maxSeqLen: shape[1], klCoef: 0.1, ...options });
  const [gradient] = gradients(loss, [given.logProbs]);
  return explain([loss, gradient!, ...Object.values(metrics)]).split('\n').filter((line) => over.test(line)).length;
}

/** What the page says: means need the number of tokens, ratios of sequences their sums. What a selection went through is behind it. */
const [, table] = /^### Passes over memory\n([\s\S]*?)\n\n`/m.exec(read(join(root, 'docs/algorithms.md')))!;
const documented = Object.fromEntries(
  [...table!.matchAll(/^\| (\d+) \| (.*) \|$/gm)].flatMap(([, count, names]) => [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => [name!, Number(count)])),
);

test.each(listPolicyLosses())('%s: the loss with its KL term, its metrics and its gradient', (name) => {
  expect(passes(name, {})).toBe(documented[name]);
});

test.each(['token_mean', 'sequence_mean', 'seq_mean_token_sum', 'seq_mean_token_sum_norm'] as const)('regular, %s', (reduction) => {
  expect(passes('regular', { reduction })).toBe(reduction.includes('token_sum') ? 1 : 2);
});
