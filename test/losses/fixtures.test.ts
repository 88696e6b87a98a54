/** The losses against SkyRL's own numbers (../shared/fixtures). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { computePolicyLoss, klDivergence, type KlEstimator, lossReductions, type LossReduction, reduceLoss, reductionDivisors, valueLoss } from '../../src/losses';
import { gradients, onesLike, type Tensor, tensor, type TensorData } from '../../src/tensor';
import { expectClose } from '../closeness';

const folder = join(__dirname, '../../../shared/fixtures');

interface Case {
  id: string;
  precision: 'float64' | 'float32';
  params: Record<string, any>;
  inputs: Record<string, unknown>;
  expected: Record<string, any>;
  note?: string;
}

/** The cases of a file; none, with a message, where the fixtures are missing. */
function cases(file: string, keep: (each: Case) => boolean = () => true): Case[] {
  const path = join(folder, file);
  if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as Case[]).filter(keep);
  console.warn(`skipped: ${file} (../shared/fixtures is not here)`);
  return [];
}

/** One test a case, or one that is skipped. */
function forEachCase(list: Case[], check: (each: Case) => void): void {
  if (list.length === 0) it.skip('fixtures are missing', () => {});
  else it.each(list.map((each) => [each.id, each] as const))('%s', (_, each) => check(each));
}

/** Non-finite numbers are written as text. */
function numbers(value: unknown): unknown {
  return Array.isArray(value) ? value.map(numbers) : Number(value);
}

const input = (value: unknown) => tensor(numbers(value) as TensorData, { dtype: 'float64' });
/** No mask is one of ones. */
const mask = (value: unknown, like: unknown = value) => value === null ? onesLike(input(like)) : tensor(numbers(value) as TensorData, { dtype: 'uint8' });
const flat = (value: unknown): number[] => (numbers([value]) as unknown[]).flat(Infinity) as number[];

function expectAnswer(got: Tensor, expected: unknown, { precision }: Pick<Case, 'precision'>): void {
  expectClose(Array.from(got.dataSync()), flat(expected), precision === 'float64' ? 1e-9 : 1e-5);
}

describe.each(['regular', 'dual_clip'])('policy loss %s', (name) => {
  // Off-policy correction is no part of these losses here.
  const list = cases(`losses/skyrl-ppo-${name.replace('_', '-')}.json`, ({ params }) => !params.off_policy_correction);
  forEachCase(list, ({ params, inputs, expected, ...rest }) => {
    const logProbs = input(inputs.log_probs);
    const options = { epsClipLow: params.eps_clip_low, epsClipHigh: params.eps_clip_high, clipRatioC: params.clip_ratio_c };
    const { loss, metrics } = computePolicyLoss(
      name,
      {
        logProbs,
        oldLogProbs: input(inputs.old_log_probs),
        advantages: input(inputs.advantages),
        mask: mask(inputs.mask, inputs.log_probs),
      },
      options,
    );
    const [gradient] = gradients(loss, [logProbs]);
    expectAnswer(loss, expected.loss, rest);
    expectAnswer(gradient, expected.grad_log_probs, rest);
    expectAnswer(metrics.clip_ratio, expected.metrics.clip_ratio, { precision: 'float32' });
  });
});

describe('value loss', () => {
  forEachCase(cases('losses/skyrl-value.json'), ({ params, inputs, expected, ...rest }) => {
    const values = input(inputs.values);
    const targets = { oldValues: input(inputs.old_values), returns: input(inputs.returns), mask: mask(inputs.mask, inputs.values) };
    const { loss, clipFraction } = valueLoss({ values, ...targets }, { valueClip: params.value_clip });
    const [gradient] = gradients(loss, [values]);
    expectAnswer(loss, expected.loss, rest);
    expectAnswer(gradient, expected.grad_values, rest);
    expectAnswer(clipFraction, expected.metrics.clip_frac ?? 0, { precision: 'float32' });
  });
});

describe('KL estimators', () => {
  forEachCase(cases('kl/skyrl-approx-kl.json'), ({ params, inputs, expected, note = '', ...rest }) => {
    const type = params.kl_estimator_type as KlEstimator;
    const logProbs = input(inputs.log_probs);
    const valid = inputs.mask == null ? undefined : input(inputs.mask);
    const run = () => {
      const kl = klDivergence(logProbs, input(inputs.ref_log_probs), type, valid);
      // SkyRL's mask may hold fractions, which are factors.
      return valid ? kl.mul(valid) : kl;
    };
    if (expected.throws) return expect(run).toThrow(`klDivergence: type: expected one of k1 (kl), abs, k2 (mse), k3 (low_var_kl), k1+, k2+, k3+, got "${type}"`);
    const kl = run();
    const [gradient] = gradients(kl.sum(), [logProbs]);
    expectAnswer(kl, expected.kl, rest);
    // Behind a mask the libraries' gradient may be NaN; ours is 0.
    const wanted = flat(expected.grad_log_probs).map((value) => (Number.isNaN(value) && note.includes('non-finite') ? 0 : value));
    expectAnswer(gradient, wanted, rest);
  });
});

describe('loss reduction', () => {
  // Rows after the last whole micro-batch stay 0 in SkyRL; here they count.
  const list = cases(
    'reductions/skyrl-advantage-reduction.json',
    ({ params, note = '' }) => lossReductions.includes(params.loss_reduction) && !note.includes('stay 0') && !note.includes('no prompt_boundaries'),
  );
  forEachCase(list, ({ params, inputs, expected, ...rest }) => {
    const mode = params.loss_reduction as LossReduction;
    const advantages = input(inputs.advantages);
    const groupIds = (inputs.prompt_boundaries as number[][] | undefined)?.flatMap(([first, end], prompt) => new Array<number>(end - first).fill(prompt));
    const options = { maxSeqLen: params.max_seq_len, microBatchSize: params.micro_batch_size, groupIds };
    // What stands at masked positions reaches no loss: SkyRL keeps it, the comparison leaves it out.
    const scaled = advantages.div(reductionDivisors(mask(inputs.mask), mode, options)).mul(mask(inputs.mask));
    const valid = flat(inputs.mask);
    const wanted = flat(expected.advantages).map((value, i) => (valid[i] ? value : 0));
    expectAnswer(scaled, wanted, rest);
    const sum = wanted.reduce((a, b) => a + b, 0);
    expectAnswer(reduceLoss(advantages, mask(inputs.mask), mode, options), sum, rest);
  });
});
