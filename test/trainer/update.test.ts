/** Micro-batches are a matter of memory: they change neither the loss nor the gradient of a minibatch. */
import { loadConfig } from '../../src/config';
import { lossReductions } from '../../src/losses';
import { AdamW, Transformer, ValueModel } from '../../src/models';
import { memory, randomKey, tensor, type Tensor } from '../../src/tensor';
import { TrainingBatch, Update } from '../../src/trainer';
import { eightResponses, smallBase } from './helpers';

const shape = {
  vocabSize: 14,
  hiddenSize: 32,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 64,
  ropeTheta: 1e4,
  rmsNormEps: 1e-6,
};
const architecture = { ...shape, tieWordEmbeddings: true, attentionBias: true, maxPositionEmbeddings: 64 };

/** A batch and an update whose micro-batches have `micro` rows. */
function prepared(micro: number, reduction: string) {
  const overrides = [
    `trainer.micro_train_batch_size_per_gpu=${micro}`,
    `trainer.algorithm.loss_reduction=${reduction}`,
    'trainer.algorithm.max_seq_len=3',
    'trainer.algorithm.use_kl_loss=true',
    'trainer.algorithm.kl_loss_coef=0.5',
    'trainer.algorithm.use_entropy_loss=true',
    'trainer.critic.model={}',
    'trainer.train_batch_size=2',
    'trainer.policy_mini_batch_size=2',
    'trainer.critic_mini_batch_size=2',
    'trainer.algorithm.eps_clip_high=0.3',
  ];
  const { config } = loadConfig({ base: smallBase(), overrides });
  const initialize = (seed: number) => Transformer.initialize(architecture, randomKey(seed), { std: 0.3 });
  const [policy, reference, critic] = [initialize(1), initialize(2), ValueModel.initialize(architecture, randomKey(3), { std: 0.3 })];
  const optimizers = { policy: new AdamW(policy.parameters, { lr: 1e-3 }), critic: new AdamW(critic.parameters, { lr: 1e-3 }) };
  const update = new Update(config, {
    policy: { model: policy, optimizer: optimizers.policy },
    critic: { model: critic, optimizer: optimizers.critic },
    reference,
  });
  const batch = new TrainingBatch(eightResponses(), { promptWidth: 4, responseWidth: 3, padId: 13 });
  const disposeAll = () => {
    for (const part of [policy, reference, critic, ...Object.values(optimizers)]) part.dispose();
  };
  return { update, batch, optimizers, disposeAll };
}

/** As if the weights had moved since the inputs were computed: some ratios are clipped. */
function fill(batch: TrainingBatch): void {
  batch.oldLogProbs = batch.oldLogProbs!.map((value, i) => value + 0.1 * ((i % 7) - 3));
  batch.advantages = Float32Array.from(batch.masks, (m, i) => m * ((i % 5) - 2));
  batch.returns = Float32Array.from(batch.masks, (m, i) => m * ((i % 3) - 1));
}

/** One optimizer step: its metrics, and the first moments, which are a tenth of the gradient. */
function step(micro: number, reduction: string) {
  const { update, batch, optimizers, disposeAll } = prepared(micro, reduction);
  update.computeInputs(batch);
  fill(batch);
  const metrics = update.optimize(batch);
  const moments = momentsOf(optimizers);
  disposeAll();
  return { metrics, moments };
}

function momentsOf(optimizers: Record<string, AdamW>) {
  return Object.values(optimizers).flatMap((optimizer) =>
    [...optimizer.state().tensors]
      .filter(([name]) => name.endsWith('.exp_avg'))
      .map(([name, value]) => [name, Array.from(value.dataSync())] as const)
  );
}

it('pauses between micro-batches change no bit, whatever runs in them', async () => {
  const whole = step(2, 'token_mean');
  const { update, batch, optimizers, disposeAll } = prepared(2, 'token_mean');
  let pauses = 0;
  const others: Tensor[] = [];
  const pause = async () => {
    pauses++;
    await new Promise((resolve) => setImmediate(resolve));
    others.push(tensor([pauses]));
  };
  await update.computeInputsWithPauses(batch, pause);
  // Eight rows, a forward pass each of policy, reference and critic.
  expect(pauses).toBe(3);
  fill(batch);
  // The models have their tables of rotations by now.
  const before = memory().tensors - others.length;
  pauses = 0;
  const metrics = await update.optimizeWithPauses(batch, pause);
  // Four micro-batches of each model.
  expect(pauses).toBe(8);
  expect([metrics, momentsOf(optimizers)]).toEqual([whole.metrics, whole.moments]);
  expect(others.map((x) => x.item())).toEqual([1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (const x of others) x.dispose();
  expect(memory().tensors).toBe(before);
  disposeAll();
});

// Of token_mean_legacy the micro-batches are a part.
describe.each(lossReductions.filter((name) => name !== 'token_mean_legacy'))('with the reduction %s', (reduction) => {
  const whole = step(8, reduction);

  it.each([1, 2, 3])('micro-batches of %i rows give the same gradients', (micro) => {
    const { metrics, moments } = step(micro, reduction);
    let largest = 0;
    for (const [, values] of whole.moments) for (const value of values) largest = Math.max(largest, Math.abs(value));
    expect(largest).toBeGreaterThan(1e-4);
    moments.forEach(([name, values], i) => {
      expect(name).toBe(whole.moments[i][0]);
      const differences = values.map((value, j) => Math.abs(value - whole.moments[i][1][j]));
      expect(Math.max(...differences)).toBeLessThanOrEqual(1e-6 * largest);
    });
    for (
      const name of [
        'policy/final_loss',
        'policy/policy_loss',
        'policy/policy_kl',
        'policy/policy_entropy',
        'policy/grad_norm',
        'critic/grad_norm',
      ]
    ) {
      expect([name, Math.abs(metrics[name] - whole.metrics[name])]).toEqual([name, expect.closeTo(0, 5)]);
    }
    expect(whole.metrics['policy/loss_metrics/clip_ratio']).toBeGreaterThan(0);
  });
});

describe('a batch', () => {
  it('right-aligns prompts, left-aligns responses, and puts the reward at the last token', () => {
    const batch = new TrainingBatch(eightResponses().slice(4, 7), { promptWidth: 4, responseWidth: 3, padId: 13 });
    expect(batch.tensor('ids').toArray()).toEqual([
      [13, 13, 5, 10, 11, 4, 13],
      [13, 13, 5, 10, 11, 5, 12],
      [13, 13, 5, 10, 11, 13, 13],
    ]);
    expect(batch.tensor('start').toArray()).toEqual([2, 2, 2]);
    expect(batch.tensor('masks').toArray()).toEqual([
      [1, 1, 0],
      [1, 1, 1],
      [1, 0, 0],
    ]);
    expect(batch.tensor('rewards', 1, 3).toArray()).toEqual([
      [0, 0, 1],
      [0, 0, 0],
    ]);
    expect([...batch.ranges(2)]).toEqual([
      [0, 2],
      [2, 3],
    ]);
    expect(batch.tokens()).toBe(6);
    batch.keepRows([0, 2]);
    expect(batch.tensor('masks').toArray()).toEqual([
      [1, 1, 0],
      [0, 0, 0],
      [1, 0, 0],
    ]);
  });

  it('names what does not fit', () => {
    const make = (width: number) => () => new TrainingBatch(eightResponses(), { promptWidth: width, responseWidth: 2, padId: 13 });
    expect(make(3)).toThrow('TrainingBatch: expected a prompt of 1 to 3 tokens, got 4');
    expect(make(4)).toThrow('TrainingBatch: expected a response of 1 to 2 tokens, got 3');
    const batch = new TrainingBatch(eightResponses(), { promptWidth: 4, responseWidth: 3, padId: 13 });
    expect(() => batch.tensor('values')).toThrow('TrainingBatch: values was not computed');
  });
});
