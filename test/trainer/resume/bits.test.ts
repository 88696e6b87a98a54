/** A run that was stopped and resumed leaves what the run leaves that never stopped, bit for bit. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Trainer, TrainerParts, TrainingResult } from '../../../src/trainer';
import { temporaryFolder } from '../helpers';
import { kinds, RecordingTrainer, recording, remains, tinyConfig } from './runs';

beforeEach(() => {
  jest.spyOn(process.stdout, 'write').mockReturnValue(true);
  jest.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => jest.restoreAllMocks());

function run(folder: string, overrides: readonly string[], stopAfter: (step: number) => boolean = () => false): Promise<TrainingResult> {
  const interrupt = (step: number) => void (stopAfter(step) && process.emit('SIGINT'));
  return new (recording(folder, { after: interrupt }))(tinyConfig(folder, overrides)).run();
}

describe.each(Object.entries(kinds))('%s', (kind, overrides) => {
  let whole: object;
  beforeAll(async () => {
    const folder = temporaryFolder();
    await run(folder, overrides);
    whole = remains(folder);
  }, 60_000);

  it('is the same where it is interrupted after every step', async () => {
    const folder = temporaryFolder();
    for (let step = 1; step <= 7; step++) {
      const { reason, steps, signal } = await run(folder, overrides, (made) => made === step);
      expect([reason, steps, signal]).toEqual(['interrupted', step, 'SIGINT']);
    }
    const result = await run(folder, overrides);
    expect([result.reason, result.steps, result.signal]).toEqual(['max_training_steps', 8, null]);
    expect(result.history.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(remains(folder)).toEqual(whole);
  }, 60_000);

  // Once only, beside an evaluation and in the middle of an epoch: one kind says it for all.
  if (kind !== 'grpo') return;
  it.each([3, 5])('is the same where it is interrupted after step %i', async (step) => {
    const folder = temporaryFolder();
    await run(folder, overrides, (made) => made === step);
    await run(folder, overrides);
    expect(remains(folder)).toEqual(whole);
  }, 60_000);
});

describe('an evaluation', () => {
  const overrides = kinds.grpo!;

  /** Interrupted in the second batch of an evaluation: the `nth` one that is begun. */
  async function interruptedIn(folder: string, nth: number): Promise<TrainingResult> {
    let evaluations = 0;
    class Interrupting extends RecordingTrainer {
      protected override async evaluate() {
        evaluations++;
        return super.evaluate();
      }
    }
    const Class = recording(folder);
    class Own extends Class {
      override trainer(parts: TrainerParts): Trainer {
        let batches = 0;
        const collect = parts.rollout.collect.bind(parts.rollout);
        parts.rollout.collect = (examples, options) => {
          if (options.sampling === this.config.generator.eval_sampling_params && ++batches % 3 === 2 && evaluations === nth) process.emit('SIGTERM');
          return collect(examples, options);
        };
        return new Interrupting(parts, folder);
      }
    }
    return new Own(tinyConfig(folder, overrides)).run();
  }

  it('that is interrupted is made up for, and one before training begins anew', async () => {
    const undisturbed = temporaryFolder();
    await run(undisturbed, overrides);
    const folder = temporaryFolder();
    const first = await interruptedIn(folder, 1);
    expect(first).toMatchObject({ reason: 'interrupted', signal: 'SIGTERM', steps: 0, checkpoint: null, history: [] });
    // Of step 3, and of the last step.
    const second = await interruptedIn(folder, 2);
    expect([second.reason, second.steps]).toEqual(['interrupted', 3]);
    expect(second.history.at(-1)).not.toHaveProperty('eval/all/avg_score');
    const state = JSON.parse(readFileSync(join(second.checkpoint!, 'trainer_state.json'), 'utf8')) as { evaluationPending: boolean };
    expect(state.evaluationPending).toBe(true);
    const third = await interruptedIn(folder, 3);
    expect([third.reason, third.steps]).toEqual(['interrupted', 8]);
    const last = await run(folder, overrides);
    expect([last.reason, last.steps]).toEqual(['max_training_steps', 8]);
    expect(remains(folder)).toEqual(remains(undisturbed));
  }, 60_000);
});

describe('stop_when', () => {
  it('looks back over the interruption, and a run that it ended is not trained on', async () => {
    const overrides = [...kinds.grpo!, 'trainer.stop_when.window=5', 'trainer.stop_when.value=0'];
    const folder = temporaryFolder();
    expect((await run(folder, overrides, (step) => step === 3)).reason).toBe('interrupted');
    expect(await run(folder, overrides)).toMatchObject({ reason: 'stop_when', steps: 5 });
    const again = await run(folder, overrides);
    expect(again).toMatchObject({ reason: 'stop_when', steps: 5, checkpoint: join(folder, 'checkpoints/global_step_5') });
    // Another window looks back on the same metrics.
    expect(await run(folder, [...overrides, 'trainer.stop_when.window=6'])).toMatchObject({ reason: 'stop_when', steps: 6 });
  }, 60_000);
});

describe('metrics.jsonl', () => {
  it('is whole again, and has nothing of what came after the checkpoint', async () => {
    const overrides = [...kinds.grpo!, 'trainer.eval_interval=-1'];
    const folder = temporaryFolder();
    await run(folder, overrides, (step) => step === 3);
    const file = join(folder, 'metrics.jsonl');
    const lines = readFileSync(file, 'utf8').split('\n');
    // Without the line of the checkpoint's step, as a process killed between the two writes leaves it, with later ones, and a half one.
    writeFileSync(file, `${lines.slice(0, 3).join('\n')}\n{"step":4,"stale":1}\n{"step":5,"sta`);
    await run(folder, overrides);
    const steps = readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as { step: number });
    expect(steps.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(steps.some((record) => 'stale' in record)).toBe(false);
  }, 60_000);
});

describe('keeping the newest', () => {
  it('deletes the checkpoint that was resumed from only after the next one stands', async () => {
    const overrides = [...kinds.grpo!, 'trainer.max_ckpts_to_keep=1', 'trainer.ckpt_interval=3', 'trainer.eval_interval=-1'];
    const folder = temporaryFolder();
    await run(folder, overrides, (step) => step === 2);
    const path = join(folder, 'checkpoints');
    const present = () => readdirSync(path).filter((name) => name.startsWith('global_step_')).sort();
    const seen: string[][] = [];
    const watching = (step: number) => (seen.push(present()), step === 7);
    await run(folder, overrides, watching);
    // After steps 3 to 7, before their checkpoints; those of steps 3, 4 (the end of an epoch) and 6 have been written in between.
    expect(seen).toEqual([['global_step_2'], ['global_step_3'], ['global_step_4'], ['global_step_4'], ['global_step_6']]);
    expect(present()).toEqual(['global_step_7']);
  }, 60_000);
});

it('goes on in another place, where the prompts lie under other names', async () => {
  const overrides = kinds.grpo!;
  const folder = temporaryFolder();
  await run(folder, overrides, (step) => step === 3);
  const elsewhere = temporaryFolder();
  for (const name of ['checkpoints', 'samples.txt', 'metrics.jsonl']) cpSync(join(folder, name), join(elsewhere, name), { recursive: true });
  mkdirSync(join(elsewhere, 'data'));
  cpSync(join(folder, 'train.jsonl'), join(elsewhere, 'data/prompts.jsonl'));
  expect((await run(elsewhere, [...overrides, `data.train_data=${join(elsewhere, 'data/prompts.jsonl')}`])).steps).toBe(8);
  await run(folder, overrides);
  expect(remains(elsewhere)).toEqual(remains(folder));
}, 60_000);
