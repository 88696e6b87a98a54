import { configText, gmaxTrain, type Template, type TemplateNames } from './template';

/** Reward-to-go over the mean of the group: a recurrence along time, a statistic over rows, an option. */
export function estimatorTemplate(names: TemplateNames): Template {
  const { name, className, imported, ts } = names;
  const fixed = (member: string) => `static ${ts('override readonly ')}${member}`;
  return {
    source: `import { ${ts('type AdvantageContext, ')}AdvantageEstimator, ${ts('type AdvantageResult, ')}registerAdvantageEstimator, scan${ts(', type Tensor')} } from 'vantage-rl';

/**
 * A_t = G_t − b, where G_t = r_t + discount · G_{t+1} is what is still to come, and b the mean of the summed rewards over the answers to the same prompt.
 * A place to begin: write your formula here, in computeAdvantages, and as a plain loop in ${name}.test.${names.extension}.
 */
export class ${className} extends AdvantageEstimator {
  /** Inputs that it cannot do without; a call that lacks one is refused. Others: values, refLogProbs, turnIds, … */
  ${fixed(`requires = ['groupIds']${ts(' as const')};`)}
  /** What it looks at beside those, such as 'gamma' and 'lambda': a run refuses settings that nothing reads. */
  ${fixed(`reads = []${ts(' as const')};`)}
  /** What its results claim, which checkEstimator holds them to: on which rows they depend, what changes nothing. Rows without a valid token count here, with a reward of 0. */
  ${fixed(`declares = { scope: 'group', emptyRows: 'count' }${ts(' as const')};`)}
  /** Options with their defaults. In a configuration: trainer.algorithm.advantage_options. */
  ${fixed('options = { discount: 1 };')}
  /** The numbers that an option may be. */
  ${fixed('ranges = { discount: { low: 0, high: 1 } };')}

  /**
   * rewards and masks are [batch, time]; values too, or null in a run without a critic. The mask is 0 at padding and at tokens that the policy did not write:
   * rewards and values are 0 there, and so will be what this returns. The fourth argument holds all other inputs.
   */
  computeAdvantages(rewards${ts(': Tensor')}, values${ts(': Tensor | null')}, masks${ts(': Tensor')}, { groups }${ts(': AdvantageContext')})${ts(': AdvantageResult')} {
    const { discount } = this.options${ts(` as typeof ${className}.options`)};

    // From the last token to the first; masked positions are passed over. Called once, with symbols: no JavaScript runs per token.
    const returns = scan([rewards], { reverse: true, mask: masks }, (next, [r]) => r.add(next.mul(discount)));
    const { mean } = groups${ts('!')}.moments(rewards.sum(1)); // [batch], float64: a number for each row

    // The difference is taken in float64: where rewards are large, float32 would keep little of it.
    const advantages = returns.cast('float64').sub(mean.expandDims(1)).cast(returns.dtype);
    return { advantages, returns, metrics: { baseline: mean.mean() } };
  }
}

// Its name for configurations and commands.
registerAdvantageEstimator('${name}', ${className});
`,
    test: `import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { assertEstimator, computeAdvantages } from 'vantage-rl';
import { ${className} } from './${name}.${imported}';

// Two prompts, whose answers do not lie side by side. NaN stands where the mask is 0 (padding, and a hole in the second row): it must reach nothing.
const groupIds = ['a', 'b', 'a', 'b', 'a'];
const rewards = [
  [0, 0, 0.5, 1],
  [0.25, NaN, 1, -1],
  [0, 2, NaN, NaN],
  [1, NaN, NaN, NaN],
  [0, 0, 0, NaN],
];
const masks = rewards.map((row) => row.map((r) => (Number.isNaN(r) ? 0 : 1)));

/** The formula as plain loops, in float64. */
function reference(discount${ts(': number')})${ts(': number[][]')} {
  const scores = rewards.map((row) => row.reduce((sum, r) => (Number.isNaN(r) ? sum : sum + r), 0));
  return rewards.map((row, b) => {
    const group = scores.filter((_, i) => groupIds[i] === groupIds[b]);
    const baseline = group.reduce((sum, score) => sum + score, 0) / group.length;
    let next = 0;
    return row.map((_, i) => row[row.length - 1 - i]${ts('!')}).map((r) => (Number.isNaN(r) ? 0 : (next = r + discount * next) - baseline)).reverse();
  });
}

for (const discount of [1, 0.9, 0]) {
  test('advantages are those of the plain loops, discount ' + discount, () => {
    const { advantages } = computeAdvantages('${name}', { rewards, masks, groupIds }, { discount });
    const expected = reference(discount).flat();
    const got = Array.from(advantages.dataSync());
    assert.equal(got.length, expected.length);
    expected.forEach((value, i) => assert.ok(Math.abs(got[i]${ts('!')} - value) < 1e-5, 'position ' + i + ': expected ' + value + ', got ' + got[i]));
  });
}

// Padding, holes, order and groups of rows, awkward batches, precision, memory: on drawn batches, with the smallest one that fails in the message.
test('it is what it declares to be', () => {
  assertEstimator(${className}, { runs: 10 });
  assertEstimator(${className}, { runs: 5, options: { discount: 0.5 } });
});

test('what it requires must be there, and an option must be in its range', () => {
  assert.throws(() => computeAdvantages('${name}', { rewards, masks }), /groupIds/);
  assert.throws(() => computeAdvantages('${name}', { rewards, masks, groupIds }, { discount: 2 }), /discount/);
});
`,
    train: gmaxTrain(names, 'estimator'),
    config: configText(name, {
      title: `The advantage estimator ${name} on the largest of four digits, answered as "#### 9"`,
      environment: 'gmax',
      answerLength: '3 # "####", the digit, the end',
      algorithm: [`advantage_estimator: ${JSON.stringify(name)} # to compare: grpo, rloo`, '# advantage_options: { discount: 0.9 } # of the class; others have other options'],
    }),
  };
}
