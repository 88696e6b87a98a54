/** Which responses a run leaves for people to look at, and what it leaves of them. */
import { join } from 'node:path';
import { ByteTokenizer, WordTokenizer } from '../../src/data';
import { readRun } from '../../src/tracking';
import { Experiment, Trainer, type TrainerParts, TrainingBatch, type Trajectory } from '../../src/trainer';
import { pieces, samplesOf } from '../../src/trainer/samples';
import { smallConfig, temporaryFolder } from './helpers';

const word = new WordTokenizer();

function batchOf(rows: { group: string; response: number[]; advantage: number }[], promptWidth = 4, responseWidth = 3): TrainingBatch {
  const trajectories = rows.map(({ group, response }): Trajectory => {
    const reward = response[0] === 9 ? 1 : 0;
    const rolloutLogProbs = response.map(() => -1);
    return { groupId: group, dataSource: 'd', promptIds: [3, 4, 10], responseIds: response, rolloutLogProbs, text: '', stopReason: 'stop', reward, metrics: {} };
  });
  const batch = new TrainingBatch(trajectories, { promptWidth, responseWidth, padId: word.padId });
  batch.advantages = Float32Array.from(rows.flatMap(({ advantage }) => Array(responseWidth).fill(advantage)));
  return batch;
}

describe('pieces', () => {
  it('are, together, the text of all tokens', () => {
    expect(pieces([11, 9, word.eosId], word)).toEqual(['####', ' 9', '']);
    const bytes = new ByteTokenizer();
    const text = 'aé 漢\n🙂!';
    const ids = [...bytes.encode(text), bytes.eosId];
    expect(pieces(ids, bytes).join('')).toBe(text);
    expect(pieces([...bytes.encode('é')], bytes)).toEqual(['', 'é']);
  });

  it('show bytes that are no text', () => {
    const bytes = new ByteTokenizer();
    expect(pieces([0x41, 0xc3, 0x28], bytes).join('')).toBe('A\ufffd(');
    expect(pieces([0xff], bytes)).toEqual(['\ufffd']);
    expect(pieces([], bytes)).toEqual([]);
  });
});

describe('samplesOf', () => {
  const rows = [
    { group: 'a', response: [9, word.eosId], advantage: 0 },
    { group: 'a', response: [9, 9, 9], advantage: 0 },
    { group: 'b', response: [9, word.eosId], advantage: 1 / 3 },
    { group: 'b', response: [8], advantage: -1 },
    { group: 'b', response: [7], advantage: -1 },
    { group: 'c', response: [1], advantage: 2 },
    { group: 'c', response: [9], advantage: -2 },
  ];

  it('gives responses to one prompt with their tokens and advantages, without padding', () => {
    const samples = samplesOf(batchOf(rows), word, { step: 1, count: 2 });
    expect(samples).toEqual([
      { step: 1, group: 'b', prompt: '3 4 =', tokens: ['9', ''], ids: [9, word.eosId], advantages: [0.333333, 0.333333], reward: 1, length: 2 },
      { step: 1, group: 'b', prompt: '3 4 =', tokens: ['8'], ids: [8], advantages: [-1], reward: 0, length: 1 },
    ]);
  });

  it('takes another prompt each step, passing over those whose responses are all alike', () => {
    const groupAt = (step: number) => samplesOf(batchOf(rows), word, { step, count: 1 })[0].group;
    expect([1, 2, 3, 4].map(groupAt)).toEqual(['b', 'c', 'b', 'b']);
    const alike = batchOf(rows.map((row) => ({ ...row, advantage: 0 })));
    expect(samplesOf(alike, word, { step: 2, count: 9 }).map(({ group }) => group)).toEqual(['c', 'c']);
    expect(samplesOf(alike, word, { step: 2, count: 0 })).toEqual([]);
  });

  it('marks what the loss passes over, and cuts what is long', () => {
    const batch = batchOf([{ group: 'a', response: [1, 2], advantage: NaN }]);
    batch.keepRows([]);
    expect(samplesOf(batch, word, { step: 1, count: 1 })[0].advantages).toEqual([null, null]);
    const long = batchOf([{ group: 'a', response: Array(600).fill(1), advantage: 1 }], 4, 700);
    const [{ tokens, ids, advantages, length }] = samplesOf(long, word, { step: 1, count: 1 });
    expect([tokens.length, ids.length, advantages.length, length]).toEqual([512, 512, 512, 600]);
  });
});

it('a run leaves samples whose advantages are those of its batches, and its configuration', async () => {
  const seen: { step: number; group: string; advantage: number }[] = [];
  class Watched extends Trainer {
    protected override computeAdvantages(batch: TrainingBatch) {
      const metrics = super.computeAdvantages(batch);
      const step = 1 + (seen.at(-1)?.step ?? 0);
      const width = batch.shape.responseWidth;
      for (let row = 0; row < batch.rows; row++) seen.push({ step, group: batch.groupIds[row], advantage: (batch.advantages as Float32Array)[row * width] });
      return metrics;
    }
  }
  class WatchedExperiment extends Experiment {
    override trainer(parts: TrainerParts) {
      return new Watched(parts);
    }
  }
  const folder = temporaryFolder();
  const config = smallConfig(['trainer.log_samples=3', `trainer.export_path=${join(folder, 'run')}`], folder);
  await new WatchedExperiment(config).run();
  const run = readRun(join(folder, 'run'));
  expect(run.config).toEqual(JSON.parse(JSON.stringify(config)));
  expect(run.samples.map(({ step }) => step)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3]);
  for (const { step, group, advantages, tokens, prompt } of run.samples) {
    const ofGroup = seen.filter((each) => each.step === step && each.group === group).map(({ advantage }) => Number(advantage.toPrecision(6)));
    expect(ofGroup).toContain(advantages[0]);
    expect(tokens.length).toBeGreaterThan(0);
    expect(prompt).toMatch(/^(\d ){4}=$/);
  }
});

it('log_samples=0 leaves none', async () => {
  const folder = temporaryFolder();
  await new Experiment(smallConfig(['trainer.log_samples=0', 'trainer.max_training_steps=1'], folder)).run();
  expect(readRun(folder).samples).toEqual([]);
});
