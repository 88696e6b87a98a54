/** The configuration of small runs, for tests and scripts alike. */
import { join } from 'node:path';
import { generateTask, writeJsonl } from '../../src/data';

/** A run of `gmax` in a folder, with a tiny model: 8 prompts × 4 samples, two optimizer steps a batch. */
export function smallBase(folder: string): object {
  const { train, validation } = generateTask('gmax', { trainSize: 64, validationSize: 16 });
  writeJsonl(join(folder, 'train.jsonl'), train);
  writeJsonl(join(folder, 'validation.jsonl'), validation);
  const model = { hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64, initializer_range: 0.1 };
  return {
    data: { train_data: [join(folder, 'train.jsonl')], val_data: [join(folder, 'validation.jsonl')] },
    environment: { env_class: 'gmax' },
    generator: { n_samples_per_prompt: 4, sampling_params: { max_generate_length: 3 } },
    trainer: {
      algorithm: { use_kl_loss: false },
      policy: { model, optimizer_config: { lr: 1e-3 } },
      tokenizer: 'word',
      max_prompt_length: 16,
      seed: 0,
      train_batch_size: 8,
      policy_mini_batch_size: 4,
      micro_train_batch_size_per_gpu: 16,
      micro_forward_batch_size_per_gpu: 32,
      max_training_steps: 3,
      eval_interval: 2,
      ckpt_interval: -1,
      ckpt_path: join(folder, 'checkpoints'),
      logger: ['jsonl'],
    },
  };
}
