/** A save that fails or is killed at any of its writes: the earlier checkpoint stands, and nothing is left in the way of the next one. */
import fs from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { AdamW, Transformer } from '../../../src/models';
import { randomKey, tidy } from '../../../src/tensor';
import { latestCheckpoint, loadCheckpoint, saveCheckpoint, type TrainerState } from '../../../src/trainer';
import { cleanCheckpoints } from '../../../src/trainer/checkpoint';
import { temporaryFolder } from '../helpers';

const shape = {
  ...{ vocabSize: 14, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 2, intermediateSize: 8, ropeTheta: 1e4, rmsNormEps: 1e-6 },
  ...{ tieWordEmbeddings: true, attentionBias: true, maxPositionEmbeddings: 64 },
};

function models(seed: number) {
  const model = Transformer.initialize(shape, randomKey(seed));
  const optimizer = new AdamW(model.parameters, { lr: 0.1 });
  tidy(() => {
    optimizer.accumulate([...model.parameters.values()].map((x) => x.square().sum()).reduce((a, b) => a.add(b)));
    optimizer.step();
  });
  return { policy: { model, optimizer } };
}

const contents = ({ policy: { model, optimizer } }: ReturnType<typeof models>): string =>
  JSON.stringify([model.parameters, optimizer.state().tensors].map((tensors) => [...tensors].map(([name, x]) => [name, Array.from(x.dataSync())])));

const state = (globalStep: number, seed: number): TrainerState => ({
  version: 3,
  globalStep,
  seconds: 1,
  data: { epoch: 0, batch: 2, seed, batchSize: 8, size: 64 },
  dataset: 'abc',
  seed,
  coefficients: { kl: { value: 0.001 }, entropy: null },
  evaluationPending: false,
  estimator: { name: 'spo', state: { prompts: { a: [0.5, 2] } } },
  history: [{ step: globalStep, a: seed }],
  config: { seed },
});

const [older, newer] = [models(1), models(2)];
const into = models(5);
const contentsOf = new Map([[1, contents(older)], [2, contents(newer)]]);

/** What is in the newest checkpoint, whole: its step and whose it is. */
function standing(path: string): { step: number; seed: number } {
  const read = loadCheckpoint(latestCheckpoint(path)!, into);
  expect(read).toEqual(state(read.globalStep, read.seed));
  expect(contents(into) === contentsOf.get(read.seed)).toBe(true);
  return { step: read.globalStep, seed: read.seed };
}

/** Calls that change the disk. */
const changing = ['openSync', 'writeSync', 'fsyncSync', 'renameSync', 'mkdirSync', 'rmSync', 'closeSync'] as const;
const growing = ['openSync', 'writeSync', 'fsyncSync', 'renameSync', 'mkdirSync'];

/** Runs `body` while `fails` says of each call, by its name and its number, whether it throws. @returns the number of calls */
function disturbed(body: () => void, fails: (name: string, call: number) => Error | null): number {
  let calls = 0;
  const spies = changing.map((name) => {
    const real = fs[name] as (...args: unknown[]) => unknown;
    return jest.spyOn(fs, name).mockImplementation(
      ((...args: unknown[]) => {
        const error = fails(name, calls++);
        // Descriptors are closed all the same: a dead process has none.
        if (error !== null && name === 'closeSync') real(...args);
        if (error !== null) throw error;
        return real(...args);
      }) as never,
    );
  });
  try {
    body();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return calls;
}

// Step 3 replaces a checkpoint of the same step, as a resumed run does whose evaluation was made up for.
describe.each([[4, 'of the next step'], [3, 'of the same step']])('a save of step %i, %s', (step) => {
  let template: string;
  const fresh = (): string => {
    const path = join(temporaryFolder(), 'checkpoints');
    fs.cpSync(template, path, { recursive: true });
    return path;
  };
  const save = (path: string) => saveCheckpoint(path, newer, state(step, 2), 2);
  const standingAfter = (path: string) => (save(path), standing(path));
  let calls = 0;
  beforeAll(() => {
    template = join(temporaryFolder(), 'checkpoints');
    for (const earlier of [2, 3]) saveCheckpoint(template, older, state(earlier, 1));
    const path = fresh();
    calls = disturbed(() => save(path), () => null);
    expect(calls).toBeGreaterThan(30);
    expect(standing(path)).toEqual({ step, seed: 2 });
  });

  it('that is killed at any call leaves the one before, or is complete', () => {
    const outcomes = new Set<string>();
    for (let at = 0; at < calls; at++) {
      const path = fresh();
      // From there on nothing happens any more, the tidying of a failed save included.
      expect(() => disturbed(() => save(path), (_, call) => (call >= at ? new Error('killed') : null))).toThrow('killed');
      cleanCheckpoints(path);
      const found = standing(path);
      expect([{ step: 3, seed: 1 }, { step, seed: 2 }]).toContainEqual(found);
      outcomes.add(JSON.stringify(found));
      expect(fs.readdirSync(path).filter((name) => !/^(global_step_\d+|latest_ckpt_global_step\.txt)$/.test(name))).toEqual([]);
      if (at % 8 === 0) expect(standingAfter(path)).toEqual({ step, seed: 2 });
    }
    expect(outcomes.size).toBe(2);
  });

  it('for which the disk is full at any write says so, and leaves nothing', () => {
    let failures = 0;
    for (let at = 0; at < calls; at++) {
      const path = fresh();
      const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall: 'write' });
      let wasHit = false;
      try {
        disturbed(() => save(path), (name, call) => {
          wasHit ||= call === at && growing.includes(name);
          return call === at && growing.includes(name) ? full : null;
        });
        expect(wasHit).toBe(false);
      } catch (error) {
        if (error !== full)
          expect((error as Error).message).toMatch(
            new RegExp(
              `^${path}/global_step_${step}: the checkpoint cannot be written \\(the disk is full: ENOSPC.*\\)\\. ${path}/global_step_\\d is whole: once this is mended, trainer\\.resume_mode=latest goes on from there$`,
            ),
          );
        failures++;
      }
      expect([{ step: 3, seed: 1 }, { step, seed: 2 }]).toContainEqual(standing(path));
      cleanCheckpoints(path);
      if (at % 8 === 0) expect(standingAfter(path)).toEqual({ step, seed: 2 });
    }
    expect(failures).toBeGreaterThan(20);
  });
});

/** Whether a small disk can be had: as root, where mounting is allowed. */
function mountSmall(path: string): boolean {
  fs.mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

it('on a disk that is really full keeps the earlier one and frees what it wrote', () => {
  const path = join(temporaryFolder(), 'small');
  if (!mountSmall(path)) return console.warn('not tested: a small disk cannot be mounted here');
  try {
    saveCheckpoint(path, older, state(1, 1));
    const message = () => {
      try {
        for (let step = 2; step < 9; step++) saveCheckpoint(path, newer, state(step, 2));
        return 'no error';
      } catch (error) {
        return (error as Error).message;
      }
    };
    const [first] = [message()];
    const stands = standing(path);
    expect(first).toContain(`global_step_${stands.step + 1}: the checkpoint cannot be written (the disk is full: ENOSPC`);
    expect(first).toContain(`global_step_${stands.step} is whole`);
    expect(fs.readdirSync(path).some((name) => name.endsWith('.draft'))).toBe(false);
    // Room is made: the next save works.
    fs.rmSync(join(path, 'global_step_1'), { recursive: true });
    saveCheckpoint(path, newer, state(20, 2));
    expect(standing(path)).toEqual({ step: 20, seed: 2 });
  } finally {
    execFileSync('umount', [path]);
  }
});
