/** Whether a checkpoint is of this run: which keys of its configuration may differ from the run's, and whether the prompts are the same. */
import { createHash } from 'node:crypto';
import { hasAdvantageEstimator } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { PromptDataset } from '../data';

/** What a run that goes on must have as it began (a section stands for all below it): what is saved does not fit another value, or would mean another thing. */
const FIXED = [
  'trainer.seed',
  'trainer.tokenizer',
  'trainer.max_prompt_length',
  'trainer.train_batch_size',
  'trainer.policy_mini_batch_size',
  'trainer.critic_mini_batch_size',
  'trainer.update_epochs_per_batch',
  'trainer.policy.model',
  'trainer.critic.model',
  'trainer.ref',
  'trainer.algorithm.advantage_estimator',
  'trainer.algorithm.kl_ctrl',
  'trainer.algorithm.dynamic_sampling.type',
  'generator.n_samples_per_prompt',
];

/** What changes no step: how long the run is, what it leaves where, what is measured on the way. The prompts are compared themselves, not their files' names. */
const FREE = [
  'data',
  'trainer.epochs',
  'trainer.max_training_steps',
  'trainer.stop_when',
  'trainer.eval_batch_size',
  'trainer.eval_before_train',
  'trainer.eval_interval',
  'trainer.ckpt_interval',
  'trainer.ckpt_path',
  'trainer.max_ckpts_to_keep',
  'trainer.resume_mode',
  'trainer.resume_path',
  'trainer.export_path',
  'trainer.logger',
  'trainer.log_samples',
  'trainer.dump_data_batch',
  'trainer.dump_eval_results',
  'trainer.project_name',
  'trainer.run_name',
  'generator.eval_sampling_params',
  'generator.eval_n_samples_per_prompt',
];

/** Each as `KEY: THERE there, HERE here`. */
export interface ConfigChanges {
  /** Of keys that must be as they were. */
  refused: string[];
  /** Of keys that may be changed, and that make other steps than the run would have made: a learning rate, a clip. */
  effective: string[];
}

/** Compares the configuration of a checkpoint with the run's. */
export function configChanges(saved: unknown, current: unknown): ConfigChanges {
  const [there, here] = [leaves(saved), leaves(current)];
  const changes: ConfigChanges = { refused: [], effective: [] };
  for (const key of new Set([...there.keys(), ...here.keys()])) {
    const [old, now] = [there.get(key), here.get(key)];
    if (old === now || isBelow(key, FREE)) continue;
    // A section that only one of them has is one difference.
    if (sectionsAbove(key).some((above) => there.has(above) || here.has(above))) continue;
    (isBelow(key, FIXED) ? changes.refused : changes.effective).push(`${key}: ${old ?? missing(key, there)} there, ${now ?? missing(key, here)} here`);
  }
  return changes;
}

function sectionsAbove(key: string): string[] {
  const names = key.split('.');
  return names.slice(1).map((_, i) => names.slice(0, i + 1).join('.'));
}

/** What stands for a value that is none: a section, or nothing. */
function missing(key: string, values: ReadonlyMap<string, string>): string {
  return [...values.keys()].some((each) => each.startsWith(`${key}.`)) ? '{…}' : 'none';
}

/** The values of a plain tree by their dotted key, as JSON; an estimator's alias is its name. */
function leaves(value: unknown, key = '', found = new Map<string, string>()): Map<string, string> {
  const isTree = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isTree) { for (const [name, child] of Object.entries(value)) leaves(child, key === '' ? name : `${key}.${name}`, found); }
  else if (value !== undefined) found.set(key, JSON.stringify(isEstimator(key, value) ? canonicalName(value) : value));
  return found;
}

function isEstimator(key: string, value: unknown): value is string {
  return key === 'trainer.algorithm.advantage_estimator' && typeof value === 'string' && hasAdvantageEstimator(value);
}

function isBelow(key: string, keys: readonly string[]): boolean {
  return keys.some((each) => key === each || key.startsWith(`${each}.`));
}

/** SHA-256 over the prompts in their order: their tokens, and the rows that environments see. Files may move; what they hold may not change. */
export function datasetFingerprint({ examples }: PromptDataset): string {
  const hash = createHash('sha256');
  // Parquet has 64-bit integers.
  const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value);
  for (const { id, promptIds, envClass, dataSource, row } of examples) hash.update(`${JSON.stringify([id, promptIds, envClass, dataSource, row], plain)}\n`);
  return hash.digest('hex');
}
