/** A configuration as YAML that can be run again, with the origin of every value, below what it comes to. */
import { stringify } from 'yaml';
import { getAdvantageEstimator } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config, LoadedConfig } from '../config';
import { policyLosses, TokenPolicyLoss } from '../losses';
import { defaultDevice } from '../tensor';
import { makeEstimator, usesReference } from './advantage_step';
import { lossSettings } from './loss_settings';

/** Variables of the environment that change a run. */
const variables = ['VANTAGE_DEVICE', 'VANTAGE_NUM_THREADS'] as const;

/** @param env the process's environment unless given */
export function describeConfig(config: Config, provenance: LoadedConfig['provenance'], env: Record<string, string | undefined> = process.env): string {
  const comments = [...summary(config), ...environment(config, env)].map((line) => `# ${line}`);
  return [...comments, '', ...tree(config, '', provenance)].join('\n');
}

function summary(config: Config): string[] {
  const { trainer, generator } = config;
  const { algorithm } = trainer;
  const { advantage_estimator, policy_loss_type } = algorithm;
  const { inForce, reduction } = lossSettings(config);
  const ofLoss = Object.entries(inForce).filter(([name, value]) => value !== undefined && (!(name in TokenPolicyLoss.options) || name in algorithm.policy_loss_options));
  const requires = getAdvantageEstimator(advantage_estimator).requires ?? [];
  const policySteps = trainer.update_epochs_per_batch * Math.ceil(trainer.train_batch_size / trainer.policy_mini_batch_size);
  const models = ['policy', ...(trainer.critic.model ? ['critic'] : []), ...(usesReference(config) ? ['reference'] : [])];
  return [
    `estimator: ${canonicalName(advantage_estimator)}${shown(makeEstimator(config).options)}${requires.length > 0 ? `, from ${requires.join(', ')}` : ''}`,
    `policy loss: ${policyLosses.nameOf(policy_loss_type)}${shown(Object.fromEntries(ofLoss))}, reduced by ${reduction}`,
    `a step: ${trainer.train_batch_size} prompts × ${generator.n_samples_per_prompt} responses, ${policySteps} optimizer steps of the policy`,
    `models: ${models.join(', ')}`,
  ];
}

function shown(options: object): string {
  const entries = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return entries.length === 0 ? '' : ` (${entries.join(', ')})`;
}

function environment({ trainer }: Config, env: Record<string, string | undefined>): string[] {
  const set = variables.filter((name) => env[name]).map((name) => `environment: ${name}=${env[name]}`);
  return [`device: ${trainer.device ?? defaultDevice()}${trainer.device === null && env.VANTAGE_DEVICE ? ' (environment: VANTAGE_DEVICE)' : ''}`, ...set];
}

/** The lines of a mapping. */
function tree(node: object, path: string, provenance: LoadedConfig['provenance'], indent = ''): string[] {
  return Object.entries(node).flatMap(([name, value]) => {
    const key = path === '' ? name : `${path}.${name}`;
    const isMapping = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value as object).length > 0;
    const label = stringify({ [name]: 0 }).split(':')[0];
    if (isMapping && !isValue(key, provenance)) return [`${indent}${label}:`, ...tree(value as object, key, provenance, `${indent}  `)];
    const text = stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
    return [`${indent}${label}: ${text} # ${provenance.get(key) ?? 'default'}`];
  });
}

/** Whether a mapping is the value of one key. */
function isValue(key: string, provenance: LoadedConfig['provenance']): boolean {
  return provenance.has(key) && ![...provenance.keys()].some((other) => other.startsWith(`${key}.`));
}
