import { configText, gmaxTrain, type Template, type TemplateNames } from './template';

/** A smooth loss, so that finite differences hold everywhere. */
export function lossTemplate(names: TemplateNames): Template {
  const { name, className, imported, ts } = names;
  const fixed = (member: string) => `static ${ts('override readonly ')}${member}`;
  return {
    source: `import { EstimatorError, registerPolicyLoss, ${ts('type ResolvedOptions, type TokenLosses, ')}TokenPolicyLoss${ts(', type Tokens')} } from 'vantage-rl';

/**
 * −ρ·A + penalty·|A|·(ρ − 1)² for each token, where ρ = exp(ℓ − ℓ_old): the further the policy moves, the dearer.
 * A place to begin: write your formula here, in tokenLosses, and as plain numbers in ${name}.test.${names.extension}.
 */
export class ${className} extends TokenPolicyLoss {
  /** In messages. */
  ${fixed(`lossName = '${name}';`)}
  /** Those of every loss (reduction, klCoef, …) and its own, with defaults. In a configuration: trainer.algorithm.policy_loss_options. */
  ${fixed('options = { ...TokenPolicyLoss.options, penalty: 2.5 };')}

  /**
   * All inputs are [batch, time], and 0 where the mask is; mean is the mean over valid tokens. The base class does the rest: masks, weights, the KL term, the reduction.
   * What is to be constant for the gradient goes through stopGradient (of vantage-rl).
   */
  ${ts('protected ')}tokenLosses({ logProbs, oldLogProbs, advantages, mean }${ts(': Tokens')}, options${ts(': ResolvedOptions')})${ts(': TokenLosses')} {
    const { penalty } = options${ts(' as ResolvedOptions & { penalty: number }')};
    if (!Number.isFinite(penalty) || penalty < 0) throw new EstimatorError('${name}: penalty: expected a number, 0 or more, got ' + penalty);

    const ratio = logProbs.sub(oldLogProbs).exp();
    const away = ratio.sub(1).square();
    const losses = advantages.abs().mul(away).mul(penalty).sub(ratio.mul(advantages));

    // What is in metrics is logged as policy/loss_metrics/….
    return { losses, ratio, metrics: { away: mean(away) } };
  }
}

// Its name for configurations and commands.
registerPolicyLoss('${name}', ${className});
`,
    test: `import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { computePolicyLoss, gradients, ${ts('type PolicyLossOptions, ')}tensor } from 'vantage-rl';
import './${name}.${imported}';

// float64, for differences; NaN stands where the mask is 0, and must reach nothing.
const logProbs = [[-0.5, -1.2, -0.3], [-2, -0.1, NaN]];
const oldLogProbs = [[-0.6, -1, -0.3], [-1.5, -0.2, NaN]];
const advantages = [[1, 1, -0.5], [-1, 2, NaN]];
const mask = tensor([[1, 1, 1], [1, 1, 0]]);
const penalty = 1.5;

const float64 = (rows${ts(': number[][]')}) => tensor(rows, { dtype: 'float64' });
const options = { penalty, reduction: 'token_mean' }${ts(' as PolicyLossOptions')};
const lossAt = (at${ts(': ReturnType<typeof float64>')}) => computePolicyLoss('${name}', { logProbs: at, oldLogProbs: float64(oldLogProbs), advantages: float64(advantages), mask }, options).loss;

/** The formula for one token, as plain numbers. */
function tokenLoss(now${ts(': number')}, old${ts(': number')}, advantage${ts(': number')})${ts(': number')} {
  const ratio = Math.exp(now - old);
  return -ratio * advantage + penalty * Math.abs(advantage) * (ratio - 1) ** 2;
}

test('the loss is the mean of the formula over valid tokens', () => {
  const losses = logProbs.flatMap((row, b) => row.map((now, t) => tokenLoss(now, oldLogProbs[b]${ts('!')}[t]${ts('!')}, advantages[b]${ts('!')}[t]${ts('!')}))).filter((loss) => !Number.isNaN(loss));
  const expected = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  assert.ok(Math.abs(lossAt(float64(logProbs)).item() - expected) < 1e-9);
});

test('the gradient is that of central differences, and 0 where the mask is', () => {
  const at = float64(logProbs);
  const [gradient] = gradients(lossAt(at), [at]);
  const got = Array.from(gradient${ts('!')}.dataSync());
  const step = 1e-5;
  logProbs.flat().forEach((_, i) => {
    const moved = (by${ts(': number')}) => lossAt(float64(logProbs.map((row, b) => row.map((x, t) => (b * row.length + t === i ? x + by : x))))).item();
    const difference = (moved(step) - moved(-step)) / (2 * step);
    assert.ok(Math.abs(got[i]${ts('!')} - difference) < 1e-7, 'token ' + i + ': expected ' + difference + ', got ' + got[i]);
  });
});

test('an option of a wrong value is refused', () => {
  const inputs = { logProbs: float64(logProbs), oldLogProbs: float64(oldLogProbs), advantages: float64(advantages), mask };
  assert.throws(() => computePolicyLoss('${name}', inputs, { penalty: -1 }${ts(' as PolicyLossOptions')}), /penalty/);
});
`,
    train: gmaxTrain(names, 'loss'),
    config: configText(name, {
      title: `The policy loss ${name} on the largest of four digits, answered as "#### 9"`,
      environment: 'gmax',
      answerLength: '3 # "####", the digit, the end',
      algorithm: [
        'advantage_estimator: grpo',
        `policy_loss_type: ${JSON.stringify(name)} # to compare: regular`,
        '# policy_loss_options: { penalty: 1.0 } # of the class; others have other options',
      ],
    }),
  };
}
