/** Batches of trajectories of several turns: exact masks, estimators over the holes, and the loop. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AdvantageInputs, computeAdvantages, registerEnvironment, unregisterEnvironment } from '../../src';
import { Environment, type EnvironmentStep } from '../../src/environments';
import { memory } from '../../src/tensor';
import { Experiment, Trainer, type TrainerParts, TrainingBatch, type Trajectory } from '../../src/trainer';
import type { MetricsRecord } from '../../src/tracking';
import { aCritic, history, withoutClock } from './helpers';

const base = { dataSource: 'test', text: '', metrics: {}, stopReason: 'stop' as const };
const shape = { promptWidth: 3, responseWidth: 9, padId: 13 };

/** Two turns, three, one, and one whose environment failed; the same prompt. */
const trajectories: Trajectory[] = [
  {
    ...base,
    ...{ groupId: 'a', promptIds: [5, 10], responseIds: [11, 1, 12, 7, 7, 11, 2, 12], rolloutLogProbs: [-1, -2, -3, 0, 0, -4, -5, -6], reward: 1.25 },
    turns: [
      { start: 0, end: 3, reward: 0.25 },
      { start: 5, end: 8, reward: 1 },
    ],
  },
  {
    ...base,
    ...{ groupId: 'a', promptIds: [5, 10], responseIds: [1, 12, 7, 2, 12, 8, 9, 3, 12], rolloutLogProbs: [-1, -1, 0, -1, -1, 0, 0, -1, -1], reward: 0.5 },
    turns: [
      { start: 0, end: 2, reward: 0.125 },
      { start: 3, end: 5, reward: 0.125 },
      { start: 7, end: 9, reward: 0.25 },
    ],
  },
  { ...base, groupId: 'a', promptIds: [4, 5, 10], responseIds: [11, 12], rolloutLogProbs: [-1, -1], reward: 0 },
  {
    ...base,
    ...{ groupId: 'a', promptIds: [5, 10], responseIds: [11, 12, 7], rolloutLogProbs: [-1, -1, 0], reward: 8, stopReason: 'error', error: 'broken' },
    turns: [{ start: 0, end: 2, reward: 8 }],
  },
];

describe('a batch', () => {
  const batch = new TrainingBatch(trajectories, shape);

  it('has holes where observations stand, the rewards at the ends of turns, and nothing of a trajectory that failed', () => {
    expect(batch.tensor('masks').toArray()).toEqual([
      [1, 1, 1, 0, 0, 1, 1, 1, 0],
      [1, 1, 0, 1, 1, 0, 0, 1, 1],
      [1, 1, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]);
    expect(batch.tensor('turnIds').toArray()).toEqual([
      [0, 0, 0, 0, 0, 1, 1, 1, 1],
      [0, 0, 0, 1, 1, 1, 1, 2, 2],
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]);
    expect(batch.tensor('rewards', 0, 3).toArray()).toEqual([
      [0, 0, 0.25, 0, 0, 0, 0, 1, 0],
      [0, 0.125, 0, 0, 0.125, 0, 0, 0, 0.25],
      [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]);
    expect(Array.from(batch.ids.subarray(0, 12))).toEqual([13, 5, 10, 11, 1, 12, 7, 7, 11, 2, 12, 13]);
    expect([batch.tokens(), batch.tokens(0, 1)]).toEqual([14, 6]);
    expect(new Set(batch.groupIds.slice(0, 3))).toEqual(new Set(['a']));
    expect(batch.groupIds[3]).not.toBe('a');
  });

  it('puts what an override adds to a reward at the last turn', () => {
    const { rewards } = new TrainingBatch([{ ...trajectories[0]!, reward: 0 }], shape);
    expect(Array.from(rewards)).toEqual([0, 0, 0.25, 0, 0, 0, 0, -0.25, 0]);
  });

  it('takes rows out that did not end by themselves', () => {
    const cut = new TrainingBatch([trajectories[0]!, { ...trajectories[1]!, stopReason: 'length' }, trajectories[2]!], shape);
    cut.keepStopped();
    expect([0, 1, 2].map((row) => cut.tokens(row, row + 1))).toEqual([6, 0, 2]);
  });

  const file = join(__dirname, '../../../shared/fixtures/shaping/skyrl-overlong-filtering.json');
  if (!existsSync(file)) console.warn('skipped: ../shared/fixtures is not here');
  (existsSync(file) ? it : it.skip)('takes those out that SkyRL does', () => {
    type Case = { inputs: { loss_masks: number[][]; stop_reasons: string[] }; expected: { loss_masks?: number[][] } };
    // The others are refused there.
    const cases = (JSON.parse(readFileSync(file, 'utf8')) as Case[]).filter(({ expected }) => expected.loss_masks !== undefined);
    expect(cases.length).toBeGreaterThan(5);
    for (const { inputs, expected } of cases) {
      const reasons = inputs.stop_reasons.map((reason) => (reason === 'stop' ? 'stop' : 'length') as 'stop' | 'length');
      const rows = inputs.loss_masks.map((mask, row): Trajectory => {
        const turns = mask.flatMap((m, start) => (m === 1 ? [{ start, end: start + 1, reward: 0 }] : []));
        return { ...trajectories[2]!, responseIds: [...mask, 0].map(() => 1), rolloutLogProbs: [...mask, 0].map(() => -1), turns, stopReason: reasons[row]! };
      });
      const width = Math.max(...rows.map(({ responseIds }) => responseIds.length));
      const filtered = new TrainingBatch(rows, { ...shape, responseWidth: width });
      filtered.keepStopped();
      const got = filtered.tensor('masks').toArray() as number[][];
      expect(got.map((mask, row) => mask.slice(0, inputs.loss_masks[row]!.length))).toEqual(expected.loss_masks);
    }
  });

  it.each([
    [{ start: 0, end: 10 }, '{start, end} with 0 ≤ start < end ≤ 8'],
    [{ start: -1, end: 2 }, 'got {"start":-1,"end":2,"reward":0}'],
    [{ start: 2, end: 2 }, 'turns[0]'],
  ])('refuses the turn %j', (turn, message) => {
    expect(() => new TrainingBatch([{ ...trajectories[0]!, turns: [{ ...turn, reward: 0 }] }], shape)).toThrow(message);
    const overlapping = [trajectories[0]!.turns![0]!, { start: 2, end: 4, reward: 0 }];
    expect(() => new TrainingBatch([{ ...trajectories[0]!, turns: overlapping }], shape)).toThrow('turns[1]: expected {start, end} with 3 ≤ start');
  });
});

describe('the advantages of a batch with holes', () => {
  const batch = new TrainingBatch(trajectories.slice(0, 3), shape);
  const values = Float32Array.from({ length: 27 }, (_, i) => (batch.masks[i] === 1 ? Math.sin(i) : NaN));
  const fields = { rewards: batch.rewards, masks: batch.masks, turnIds: batch.turnIds, values, oldLogProbs: batch.rolloutLogProbs, refLogProbs: batch.rolloutLogProbs };

  /** The inputs with `columns(row)` as the columns of each row, padded with what stands nowhere. */
  function inputs(columns: (row: number) => number[]): AdvantageInputs {
    const pick = (data: ArrayLike<number>) =>
      Array.from({ length: 3 }, (_, row) => {
        const kept = columns(row).map((column) => data[9 * row + column]!);
        return kept.concat(new Array<number>(9 - kept.length).fill(0));
      });
    return { ...(Object.fromEntries(Object.entries(fields).map(([name, data]) => [name, pick(data)])) as Record<keyof typeof fields, number[][]>), groupIds: batch.groupIds };
  }
  const whole = inputs(() => Array.from({ length: 9 }, (_, i) => i));
  const actions = (row: number) => Array.from({ length: 9 }, (_, i) => i).filter((i) => batch.masks[9 * row + i] === 1);
  const collapsed = inputs(actions);

  it.each(['grpo', 'rloo', 'reinforce++', 'gae', 'vapo_gae', 'dr_grpo', 'opo', 'turn_discount', 'turn_level', 'td_lambda', 'discounted_return'])(
    'are those of the sequence without them: %s',
    (estimator) => {
      const options = { gamma: 0.9, lambda: 0.8 };
      const [holes, without] = [whole, collapsed].map((given) => computeAdvantages(estimator, given, options).advantages.toArray() as number[][]);
      for (const row of [0, 1, 2]) {
        actions(row).forEach((column, i) => expect(Math.abs(holes![row]![column]! - without![row]![i]!)).toBeLessThan(1e-6));
        for (let column = 0; column < 9; column++) if (!actions(row).includes(column)) expect(holes![row]![column]).toBe(0);
      }
      expect(Math.max(...holes!.flat().map(Math.abs))).toBeGreaterThan(0.01);
    },
  );
});

/** Asks for the same digit again; pays for each `####`. */
class Again extends Environment {
  private turns = 0;
  step(action: string): EnvironmentStep {
    this.turns++;
    if (this.turns === 2 && this.row.broken === true) throw new Error('out of order');
    return { observations: [{ role: 'user', content: '7 =' }], reward: action.includes('####') ? 0.5 : 0, done: action === '' };
  }
}

describe('the loop', () => {
  beforeAll(() => registerEnvironment('again', Again));
  afterAll(() => unregisterEnvironment('again'));
  const several = ['generator.max_turns=3', 'generator.max_input_length=40'];
  class AgainExperiment extends Experiment {
    override environment() {
      return Again;
    }
  }

  it.each([
    ['grpo', []],
    ['turn_level', []],
    ['turn_discount', ['trainer.algorithm.gamma=0.9']],
    ['gae', [...aCritic, 'trainer.algorithm.use_kl_loss=true']],
  ])('trains over several turns with %s, the same for the same seed, and keeps no memory', async (estimator, overrides) => {
    const run = () => history([...several, `trainer.algorithm.advantage_estimator=${estimator}`, ...overrides], AgainExperiment);
    const before = memory().bytes;
    const records = await run();
    expect(memory().bytes).toBeLessThanOrEqual(before);
    for (const record of records) for (const [name, value] of Object.entries(record)) expect([name, Number.isFinite(value)]).toEqual([name, true]);
    for (const record of records.slice(1)) {
      expect(record['generate/avg_num_turns']).toBeGreaterThan(2);
      expect(record['policy/grad_norm']).toBeGreaterThan(0);
      // Of the first optimizer step, whose ratios are all 1, and of the later ones.
      expect(record['policy/response_length']).toBeCloseTo(record['generate/avg_num_tokens']!, 5);
      expect(record['loss/avg_final_rewards']).toBeCloseTo(record['reward/avg_raw_reward']!, 5);
    }
    expect((await run()).map(withoutClock)).toEqual(records.map(withoutClock));
  });

  /** The batch of each step, and what trained on it. */
  async function batches(overrides: string[]): Promise<{ batch: TrainingBatch; metrics: MetricsRecord }[]> {
    const seen: TrainingBatch[] = [];
    class Watching extends Trainer {
      protected override computeAdvantages(batch: TrainingBatch) {
        seen.push(batch);
        return super.computeAdvantages(batch);
      }
    }
    class Watched extends AgainExperiment {
      override trainer(parts: TrainerParts) {
        for (const [i, { row }] of parts.trainDataset.examples.entries()) row.broken = i % 4 === 0;
        return new Watching(parts);
      }
    }
    const records = await history([...several, 'trainer.eval_interval=-1', 'trainer.eval_before_train=false', 'data.val_data=[]', ...overrides], Watched);
    return seen.map((batch, i) => ({ batch, metrics: records[i]! }));
  }

  it('leaves trajectories whose environment failed out, and counts them', async () => {
    const steps = await batches([]);
    let failures = 0;
    for (const { batch, metrics } of steps) {
      const failed = batch.stopReasons.flatMap((reason, row) => (reason === 'error' ? [row] : []));
      expect(metrics['generate/num_environment_errors']).toBe(failed.length);
      for (const row of failed)
        expect([batch.tokens(row, row + 1), Array.from(batch.advantages!.subarray(row * batch.shape.responseWidth, (row + 1) * batch.shape.responseWidth)).some(Boolean)]).toEqual([0, false]);
      failures += failed.length;
    }
    expect(failures).toBeGreaterThan(4);
  });

  it('filters responses that were cut off out of the loss, their rewards staying in the baseline', async () => {
    const [[plain], [filtered]] = [await batches(['trainer.max_training_steps=1']), await batches(['trainer.max_training_steps=1', 'generator.apply_overlong_filtering=true'])];
    const rows = [...plain!.batch.stopReasons.keys()];
    expect(filtered!.batch.stopReasons).toEqual(plain!.batch.stopReasons);
    expect(filtered!.batch.advantages).toEqual(plain!.batch.advantages);
    expect(new Set(plain!.batch.stopReasons)).toEqual(new Set(['stop', 'length', 'error']));
    for (const row of rows) {
      const isKept = plain!.batch.stopReasons[row] === 'stop';
      expect(filtered!.batch.tokens(row, row + 1)).toBe(isKept ? plain!.batch.tokens(row, row + 1) : 0);
    }
    expect(filtered!.metrics['policy/grad_norm']).not.toBe(plain!.metrics['policy/grad_norm']);
  });

  it('gives rewards of 0 to responses that were cut off, in training and evaluation', async () => {
    const records = async (overrides: string[]) => history([...several, ...overrides], AgainExperiment);
    const [plain, zeroed] = [await records([]), await records(['generator.zero_reward_on_non_stop=true'])];
    expect(zeroed[1]!['reward/avg_raw_reward']).toBeLessThan(plain[1]!['reward/avg_raw_reward']!);
    expect(zeroed[0]!['eval/all/avg_score']).toBeLessThanOrEqual(plain[0]!['eval/all/avg_score']!);
  });

  it('ends answers at a stop text', async () => {
    const records = await history(['generator.sampling_params.stop=["####"]', 'generator.sampling_params.max_generate_length=8', 'trainer.max_prompt_length=16']);
    const free = await history(['generator.sampling_params.max_generate_length=8']);
    expect(records[1]!['generate/avg_num_tokens']).toBeLessThan(free[1]!['generate/avg_num_tokens']!);
  });

  it('says on the console how many environments failed, and with what', async () => {
    const lines: string[] = [];
    const spy = jest.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
    await batches(['trainer.logger=[console]']);
    spy.mockRestore();
    expect(lines.join('')).toMatch(/after step 0: \d+ of 32 environments failed, the first: out of order/);
  });
});
