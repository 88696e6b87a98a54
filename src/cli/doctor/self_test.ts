import type { Tensor } from '../../tensor';
import type { Check, SelfTest } from './findings';

/**
 * A few results whose values are exact in float32, so that every device and instruction set gives these very bits: a kernel, a compiled `scan`, statistics of groups,
 * a matrix product. Each goes through a part of the native code of its own.
 */
const cases: Record<string, { compute: (device: 'cpu' | 'cuda') => Tensor; expected: unknown }> = {
  // δ = r + V′/2 − V = [−1/4, −1/4, 1/2], A = δ + A′/4; the second row's middle position is not the policy's, and what it holds counts for nothing.
  gae: {
    compute: (device) => {
      const { computeAdvantages, tensor } = library();
      const inputs = { rewards: [[0, 0, 1], [0, NaN, 1]], values: [[0.5, 0.5, 0.5], [0.5, NaN, 0.5]], masks: [[1, 1, 1], [1, 0, 1]] };
      const on = Object.fromEntries(Object.entries(inputs).map(([name, rows]) => [name, tensor(rows, { device })])) as Record<keyof typeof inputs, Tensor>;
      return computeAdvantages('gae', on, { gamma: 0.5, lambda: 0.5, whiten: false }).advantages;
    },
    expected: [[-0.28125, -0.125, 0.5], [-0.125, 0, 0.5]],
  },
  dr_grpo: {
    compute: (device) => {
      const { computeAdvantages, tensor } = library();
      const inputs = { rewards: tensor([[0, 1], [0, 0]], { device }), masks: tensor([[1, 1], [1, 0]], { device }), groupIds: ['a', 'a'] };
      return computeAdvantages('dr_grpo', inputs).advantages;
    },
    expected: [[0.5, 0.5], [-0.5, 0]],
  },
  // Reward-to-go with γ = 1/2, as a custom estimator writes it.
  scan: {
    compute: (device) => {
      const { scan, tensor } = library();
      return scan([tensor([[0, 0, 1], [1, 0, 2]], { device })], { reverse: true }, (running, [reward]) => reward.add(running.mul(0.5)));
    },
    expected: [[0.25, 0.5, 1], [1.5, 1, 2]],
  },
  matmul: {
    compute: (device) => {
      const { tensor } = library();
      return tensor([[1, 2], [3, 4]], { device }).matmul(tensor([[0, 1], [1, 0.5]], { device }));
    },
    expected: [[2, 2], [4, 5]],
  },
};

/** Loaded by who runs the test: whoever only asks for its names needs no addon. */
function library() {
  return { ...(require('../../tensor') as typeof import('../../tensor')), ...(require('../../advantages') as typeof import('../../advantages')) };
}

/** The results of `device`; `suffix` stands behind each name. */
export function selfTest(device: 'cpu' | 'cuda', suffix = ''): SelfTest {
  const checks = Object.entries(cases).map(([name, { compute, expected }]): Check => {
    let detail: string | null = null;
    try {
      const [got, wanted] = [JSON.stringify(compute(device).toArray()), JSON.stringify(expected)];
      if (got !== wanted) detail = `expected ${wanted}, got ${got}`;
    } catch (error) {
      detail = error instanceof Error ? error.message : String(error);
    }
    return { name: name + suffix, passed: detail === null, detail };
  });
  return { passed: checks.every(({ passed }) => passed), checks };
}
