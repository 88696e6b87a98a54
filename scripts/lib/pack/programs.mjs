// What a user would write, once for each way of writing it. Each prints one line: the advantages of two answers, the addon's file and the instruction set.

/** Two answers to a prompt, rewards 1 and 0: (R − μ) / (σ + ε) with σ = 1/√2, on the tokens that count. */
export const EXPECTED = [
  [Math.SQRT1_2, Math.SQRT1_2],
  [-Math.SQRT1_2, 0],
];

const call = `computeAdvantages('grpo', { rewards: [[0, 1], [0, 0]], masks: [[1, 1], [1, 0]], groupIds: ['a', 'a'] })`;
const print = `console.log(JSON.stringify({ advantages: advantages.toArray(), addon: Object.keys(cache).find((file) => file.endsWith('.node')), isa: deviceInfo('cpu').name }));`;
const esmCache = `import { createRequire } from 'node:module';\nconst { cache } = createRequire(import.meta.url);\n`;

export const PROGRAMS = {
  'example.mjs': `import { computeAdvantages, deviceInfo } from 'vantage-rl';\n${esmCache}const { advantages } = ${call};\n${print}\n`,
  'example.cjs': `const { computeAdvantages, deviceInfo } = require('vantage-rl');\nconst { cache } = require;\nconst { advantages } = ${call};\n${print}\n`,
  'worker.mjs': `import { Worker } from 'node:worker_threads';\nnew Worker(new URL('./example.cjs', import.meta.url));\nnew Worker(new URL('./example.mjs', import.meta.url));\n`,
};

// A custom estimator in TypeScript: the types of classes, of inputs and of results are looked at.
const typed = (addon) => `
class Centred extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups }: AdvantageContext): Tensor {
    return groups!.centre(rewards.sum(1)).mul(Math.SQRT2).expandDims(1).mul(masks);
  }
}
registerAdvantageEstimator('centred', Centred);
const { advantages } = computeAdvantages('centred', { rewards: [[0, 1], [0, 0]], masks: [[1, 1], [1, 0]], groupIds: ['a', 'a'] });
// @ts-expect-error a tensor is no number: the types are there, and not any
const wrong: number = advantages;
console.log(JSON.stringify({ advantages: advantages.toArray(), addon: ${addon}, isa: deviceInfo('cpu').name, wrong: typeof wrong }));
`;
const names = '{ AdvantageEstimator, computeAdvantages, deviceInfo, registerAdvantageEstimator, type AdvantageContext, type Tensor }';
const find = `Object.keys(cache).find((file) => file.endsWith('.node'))`;

/** TypeScript, as an ES module and as CommonJS. */
export const TYPED = {
  'typed.mts': `import ${names} from 'vantage-rl';\n${esmCache}${typed(find)}`,
  'typed.cts': `import ${names} from 'vantage-rl';\nconst { cache } = require;\n${typed(find)}`,
};

const compilerOptions = { target: 'es2022', lib: ['es2023', 'esnext.disposable'], types: ['node'], strict: true, noEmitOnError: true };
export const TSCONFIGS = {
  node16: { compilerOptions: { ...compilerOptions, module: 'node16', moduleResolution: 'node16', outDir: 'out-node16' }, files: ['typed.mts', 'typed.cts'] },
  bundler: { compilerOptions: { ...compilerOptions, module: 'preserve', moduleResolution: 'bundler', outDir: 'out-bundler' }, files: ['typed.mts'] },
};

/** The milliseconds from a program's first line to its first result, and the packages that it has loaded by then. */
export const STARTUP = `const start = performance.now();
const { computeAdvantages } = require('vantage-rl');
${call}.advantages.toArray();
const time = performance.now() - start;
const packages = new Set(Object.keys(require.cache).map((file) => /.*node_modules.((@[^/]+.)?[^/]+)/.exec(file)?.[1]).filter((name) => name !== undefined));
process.stdout.write(JSON.stringify({ time, packages: [...packages] }));
`;

/** Seconds of training on a generated task. */
export const CONFIG = `data: { train_data: [data/train.parquet], val_data: [data/validation.parquet] }
environment: { env_class: gmax }
generator: { n_samples_per_prompt: 4, sampling_params: { max_generate_length: 3 } }
trainer:
  algorithm: { advantage_estimator: grpo, use_kl_loss: false }
  policy: { model: { hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64 } }
  tokenizer: word
  max_prompt_length: 16
  train_batch_size: 8
  policy_mini_batch_size: 4
  max_training_steps: 2
  eval_interval: -1
  ckpt_interval: -1
  ckpt_path: run/checkpoints
`;
