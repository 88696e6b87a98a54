/**
 * `npm run test:memory`: a real training run (trainer, tiny model, every tracker that writes files, checkpoints) is flat in memory from its first steps on.
 * Usage: node --expose-gc --import tsx test/memory/training.ts [STEPS]
 *
 * What is alive is counted at a quarter of the steps and at the end. On the device both are the same. The heap may grow by the history of metrics, which a run
 * keeps to its end and which is small.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { defaultDevice, Experiment, generateTask, loadConfig, memory, type MemoryInfo, type TrainerCallback, writeJsonl } from 'vantage-rl';

/** Bytes a step: some forty metrics under their names, which are kept once. */
const HISTORY = 2048;
/** Bytes that the process may grow by beside its heap: V8 gives pages back as it likes, and its compiled code grows for a while. */
const MOST_GROWTH = 8 * 2 ** 20;

interface Alive {
  step: number;
  device: MemoryInfo;
  resident: number;
  heap: number;
  external: number;
}

/** What is alive once all garbage is gone: collected tensors are released by finalizers, which run between turns of the event loop. */
async function alive(step: number): Promise<Alive> {
  for (let i = 0; i < 5; i++) {
    globalThis.gc!();
    await setImmediate();
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  return { step, device: memory(), resident: rss, heap: heapUsed, external };
}

function configOf(folder: string, steps: number) {
  const { train, validation } = generateTask('gmax', { trainSize: 64, validationSize: 16 });
  writeJsonl(join(folder, 'train.jsonl'), train);
  writeJsonl(join(folder, 'validation.jsonl'), validation);
  const model = { hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 1, intermediate_size: 32, initializer_range: 0.3 };
  const base = {
    data: { train_data: [join(folder, 'train.jsonl')], val_data: [join(folder, 'validation.jsonl')] },
    environment: { env_class: 'gmax' },
    generator: { n_samples_per_prompt: 4, sampling_params: { max_generate_length: 3 } },
    trainer: {
      algorithm: { advantage_estimator: 'gae', kl_loss_coef: 0.01, use_entropy_loss: true },
      policy: { model, optimizer_config: { lr: 1e-3 } },
      critic: { model: {}, optimizer_config: { lr: 1e-3 } },
      tokenizer: 'word',
      max_prompt_length: 16,
      train_batch_size: 4,
      policy_mini_batch_size: 2,
      critic_mini_batch_size: 2,
      micro_train_batch_size_per_gpu: 4,
      micro_forward_batch_size_per_gpu: 8,
      epochs: steps,
      max_training_steps: steps,
      eval_interval: 25,
      ckpt_interval: Math.max(10, Math.floor(steps / 10)),
      max_ckpts_to_keep: 1,
      ckpt_path: join(folder, 'checkpoints'),
      logger: ['jsonl', 'tensorboard', 'wandb'],
      dump_data_batch: true,
    },
  };
  return loadConfig({ base }).config;
}

async function main(): Promise<number> {
  const steps = Number(process.argv[2] ?? 2000);
  if (!globalThis.gc) throw new Error('expected node --expose-gc');
  process.env.WANDB_MODE = 'offline';
  const folder = mkdtempSync(join(tmpdir(), 'vantage-memory-'));
  const seen: Alive[] = [];
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  const watch: TrainerCallback = {
    onStepEnd: async ({ step }) => {
      if (step % Math.floor(steps / 8) !== 0) return;
      const { device, resident, heap, external } = await alive(step);
      seen.push({ step, device, resident, heap, external });
      const { bytes, cachedBytes, ...counts } = device;
      const told = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
      console.log(`${String(step).padStart(6)}: device ${mib(bytes)}, cache ${mib(cachedBytes)}, ${told.join(', ')}; process ${mib(resident)}, heap ${mib(heap)}, external ${mib(external)}`);
    },
  };
  try {
    const experiment = new Experiment(configOf(folder, steps));
    experiment.callbacks.push(watch);
    console.log(`${steps} steps on ${defaultDevice()}`);
    await experiment.run();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const [early, late] = [seen[1]!, seen.at(-1)!];
  const failures: string[] = [];
  for (const name of ['tensors', 'buffers', 'bytes', 'plans'] as const) {
    if (early.device[name] !== late.device[name]) failures.push(`memory().${name}: expected at step ${late.step} what it was at step ${early.step}, ${early.device[name]}, got ${late.device[name]}`);
  }
  const history = HISTORY * (late.step - early.step);
  const most = { heap: 2 ** 20 + history, external: 2 ** 20, resident: MOST_GROWTH + history } as const;
  for (const name of ['heap', 'external', 'resident'] as const) {
    const growth = late[name] - early[name];
    if (growth > most[name]) failures.push(`${name}: expected to grow by at most ${most[name]} bytes from step ${early.step} to ${late.step}, got ${growth}`);
  }
  for (const failure of failures) console.error(failure);
  console.log(failures.length === 0 ? 'flat' : 'not flat');
  return failures.length === 0 ? 0 : 1;
}

main().then(
  (code) => (process.exitCode = code),
  (error: Error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
