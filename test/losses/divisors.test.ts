/** A loss whose tokens are divided by the divisors of a reduction is the loss under that reduction, and its parts add up to it. */
import { computePolicyLoss, gradients, listPolicyLosses, lossReductions, reductionDivisors, tensor, type Tensor } from '../../src';

const data = (of: (i: number) => number) => tensor(Float64Array.from({ length: 12 }, (_, i) => of(i)), { shape: [4, 3] });
const logProbs = data((i) => -1 - Math.sin(3 * i));
const inputs = {
  logProbs,
  oldLogProbs: data((i) => -1 - Math.sin(3 * i) + 0.2 * Math.cos(5 * i)),
  rolloutLogProbs: data((i) => -1 - Math.sin(3 * i) + 0.1 * Math.cos(7 * i)),
  advantages: data((i) => Math.sin(11 * Math.floor(i / 3))),
  mask: tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]]),
};
const options = { maxSeqLen: 5, groupIds: [0, 0, 1, 1], microBatchSize: 2 };
const divisorsOf = (reduction: (typeof lossReductions)[number]) => reductionDivisors(inputs.mask, reduction, options, 'float64');

describe.each(listPolicyLosses())('%s', (name) => {
  test.each(lossReductions)('%s', (reduction) => {
    const whole = computePolicyLoss(name, inputs, { ...options, reduction });
    const divided = computePolicyLoss(name, { ...inputs, divisors: divisorsOf(reduction) }, { reduction: 'token_sum' });
    const [expected, got] = [whole, divided].map(({ loss }) => Array.from(gradients(loss, [logProbs])[0]!.dataSync()));
    expect(divided.loss.item()).toBeCloseTo(whole.loss.item(), 12);
    got!.forEach((value, i) => expect(value).toBeCloseTo(expected![i]!, 12));
  });

  // These look at all tokens they are given.
  if (name !== 'clip_cov' && name !== 'kl_cov') {
    test('rows apart add up', () => {
      const divisors = divisorsOf('prompt_mean');
      const part = (from: number, to: number) => {
        const rows = (x: Tensor) => x.slice([from, 0], [to, null]);
        const cut = Object.fromEntries(Object.entries({ ...inputs, divisors }).map(([key, value]) => [key, rows(value)])) as typeof inputs;
        return computePolicyLoss(name, cut, { reduction: 'token_sum' }).loss.item();
      };
      expect(part(0, 1) + part(1, 4)).toBeCloseTo(computePolicyLoss(name, inputs, { ...options, reduction: 'prompt_mean' }).loss.item(), 12);
    });
  }
});

test('divisors are one number a row, and go with sums', () => {
  expect(() => computePolicyLoss('regular', { ...inputs, divisors: inputs.mask })).toThrow("policy loss 'regular': divisors: expected a Tensor of shape [4,1], got one of shape [4,3]");
  const divisors = divisorsOf('token_mean');
  expect(() => computePolicyLoss('regular', { ...inputs, divisors }, { reduction: 'token_mean' })).toThrow("regular: reduction: expected 'token_sum', as divisors are given, got 'token_mean'");
  expect(() => computePolicyLoss('grpo', { ...inputs, divisors })).toThrow("grpo: reduction: expected 'token_sum'");
});
