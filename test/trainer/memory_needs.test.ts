/** Sizes that no machine has are refused with the bytes that they would take, before anything is allocated. */
import { checkMemory, memoryLimits } from '../../src/trainer/memory_needs';
import { Experiment } from '../../src/trainer';
import { smallConfig } from './helpers';

const sizes = { vocabSize: 14, promptWidth: 5, evalPrompts: 16, hasReference: true };
const limits = { device: 2 ** 34, heap: 2 ** 32 };
const check = (overrides: readonly string[], more: object = {}) => () => checkMemory(smallConfig(overrides), { ...sizes, ...more }, limits);

test.each<[overrides: string[], message: RegExp]>([
  [
    ['trainer.policy.model.hidden_size=1000000000'],
    /^this run takes at least \d+ bytes \([\d.]+ EiB\) of memory, expected at most 17179869184 bytes \(16\.0 GiB\), which there are:\n {2}- \d+ bytes \([\d.]+ EiB\): weights, gradients and moments of trainer\.policy\.model \(\d+ weights: hidden_size=1000000000, num_layers=1, intermediate_size=64\)$/,
  ],
  [['trainer.policy.model.num_layers=1000000'], /num_layers=1000000/],
  [['trainer.critic.model={intermediate_size: 1000000000}'], /moments of trainer\.critic\.model/],
  [['generator.sampling_params.max_generate_length=1000000000'], /32 responses \(.*\) of up to 1000000000 tokens \(generator\.sampling_params\.max_generate_length\)/],
  [['generator.eval_sampling_params.max_generate_length=1000000000'], /16 responses \(an evaluation's, .*\) of up to 1000000000 tokens \(generator\.eval_sampling_params\.max_generate_length\)/],
  [['generator.n_samples_per_prompt=1000000000'], /8000000000 responses \(trainer\.train_batch_size=8 × generator\.n_samples_per_prompt=1000000000\)/],
  [['generator.eval_n_samples_per_prompt=1000000000'], /generator\.eval_n_samples_per_prompt=1000000000/],
  [['trainer.train_batch_size=1000000000000'], /trainer\.train_batch_size=1000000000000 × generator\.n_samples_per_prompt=4/],
])('%j', (overrides, message) => {
  expect(check(overrides)).toThrow(message);
});

test('a vocabulary, and responses that fit the device but not the heap', () => {
  expect(check([], { vocabSize: 1e12 })).toThrow(/this run takes at least/);
  expect(check(['generator.n_samples_per_prompt=1000000', 'trainer.policy.model.num_kv_heads=1'])).toThrow(
    /of JavaScript heap \(NODE_OPTIONS=--max-old-space-size=MIB raises it\), expected at most 4294967296 bytes \(4\.00 GiB\), which there are:\n {2}- 4800000000 bytes \(4\.47 GiB\): 8000000 responses/,
  );
});

test('what fits passes; what the machine has is known', () => {
  expect(check([])).not.toThrow();
  expect(check(['trainer.critic.model={}', 'generator.n_samples_per_prompt=500'])).not.toThrow();
  const { device, heap } = memoryLimits();
  expect(device).toBeGreaterThan(2 ** 28);
  expect(heap).toBeGreaterThan(2 ** 26);
});

test('a run is refused before it makes anything', async () => {
  const run = new Experiment(smallConfig(['generator.n_samples_per_prompt=1000000000'])).run();
  await expect(run).rejects.toThrow(/this run takes at least \d+ bytes/);
});
