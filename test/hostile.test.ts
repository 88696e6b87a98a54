/** What nobody would write on purpose, past TypeScript: found by `npm run fuzz`, and refused in our own words. What is found about tensors is in tensor/hostile.test.ts. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from '../src';

/** Longer than memory, and nothing in it. */
const holes: never[] = new Array<never>(2 ** 32 - 1);
const wrong = (value: unknown): never => value as never;

function detached(): Int32Array {
  const view = new Int32Array(4);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

const row = v.tensor([[1, 2]]);
const loaded = v.loadConfig();
const folder = mkdtempSync(join(tmpdir(), 'vantage-hostile-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'file');
const comparison = { title: 't', threshold: { metric: 'm', window: 1, value: 1 }, groups: [], head: ['x'] };

test.each<[string, () => unknown, string]>([
  ['aliases without end', () => v.registerAdvantageEstimator('hostile', v.getAdvantageEstimator('grpo'), { aliases: holes }), 'expected a name (non-empty text), got undefined'],
  ['a row of a table without end', () => v.writeComparison(file, { ...comparison, rows: [holes] }), 'rows: expected an array of arrays of texts'],
  ['metadata in a list', () => v.writeSafetensors(file, new Map(), wrong(holes)), 'metadata: expected an object of texts'],
  ['memory that is gone as an estimator of KL', () => v.klDivergence(row, row, wrong(detached())), 'klDivergence: type: expected one of'],
  ['no environment of a process', () => v.wandbMode(wrong(null)), 'wandbMode: expected variables of an environment, got null'],
  ['a number as an experiment', () => v.checkConfig(loaded, wrong(0)), 'checkConfig: experiment: expected an Experiment, got 0'],
  ['null as options of a task', () => v.generateTask('gmax', wrong(null)), 'generateTask: options: expected { trainSize, validationSize, seed }, got null'],
  ['no report', () => v.checkText(wrong(undefined)), 'checkText: expected a report, as checkEstimator gives, got undefined'],
  ['null as options of a check', () => v.checkExactGradient('gmax' as never, wrong(null)), 'checkExactGradient: expected options, got null'],
  ['a function that makes no tokenizer', () => v.registerTokenizer('hostile', wrong(() => 1)), 'tokenizer "hostile": expected a class without arguments to its constructor'],
  [
    'a symbol as a ratio',
    () => v.dynamicSamplingReplace({ groupIds: [], rewards: [], samples: [] }, { samplesPerPrompt: 2, minReplaceRatio: wrong(Symbol('s')) }),
    'minReplaceRatio: expected a number',
  ],
  [
    'a reward without end',
    () => v.dynamicSamplingReplace({ groupIds: ['a'], rewards: [holes], samples: [1] }, { samplesPerPrompt: 2 }),
    'rewards: expected a number, or an array of numbers, a row, got',
  ],
  ['rows without end', () => v.repetitionPenalty(holes), 'ids of row 0: expected token ids, got undefined'],
  [
    'a table without end',
    () => new v.LookupEnvironment({ prompt: [{ role: 'user', content: 'x' }], reward_spec: { ground_truth: '1' }, extra_info: { table: holes, key: '1' } }),
    "environment 'lookup': expected a list of texts",
  ],
  ['overrides without end', () => v.loadConfig({ overrides: holes }), 'overrides: expected texts key=value, got undefined'],
  ['a setting that is no number', () => new v.AdamW(new Map(), { lr: 0, maxGradNorm: wrong(detached()) }), 'maxGradNorm'],
  ['prompts without end', () => v.padPrompts(holes, 0), 'padPrompts: expected an array of token ids in row 0, got undefined'],
  ['names without end', () => v.validateConfig(loaded.config, wrong({ estimators: holes })), 'validateConfig: estimators: expected an array of names or a registry'],
  [
    'an input that is required under no name',
    () =>
      v.computeAdvantages(
        new (class extends v.AdvantageEstimator {
          static override requires = wrong([detached()]);
          computeAdvantages = (rewards: v.Tensor) => rewards;
        })(),
        { rewards: row, masks: row },
      ),
    'static requires: expected names of inputs, got',
  ],
  ['0 as a mask of a divergence', () => v.klDivergence(row, row, 'k2+', wrong(0)), 'klDivergence: mask: expected a Tensor, got 0'],
  ['0 as its weights', () => v.klDivergence(row, row, 'k1', undefined, { weights: wrong(0) }), 'klDivergence: weights: expected a Tensor, got 0'],
  ['0 as a mask of rewards', () => v.transformRewards(row, {}, wrong(0)), 'transformRewards: mask: expected a Tensor, got 0'],
])('%s', (_name, call, message) => {
  expect(call).toThrow(v.VantageError);
  expect(call).toThrow(message);
  expect(existsSync(file)).toBe(false);
});

test('token ids in memory that is gone are none', () => {
  expect(v.padPrompts([wrong(detached()), [5]], 4)).toEqual({ ids: Int32Array.of(4, 5), width: 1, start: Int32Array.of(1, 0) });
  expect(v.repetitionPenalty([detached(), Int32Array.of(1, 1, 1, 1)]).toArray()).toEqual([0, -0.5]);
});

test('null as options of a configuration gives the defaults', () => {
  expect(v.loadConfig(wrong(null)).config).toEqual(loaded.config);
});
