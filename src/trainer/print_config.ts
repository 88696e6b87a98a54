/** A configuration as YAML that can be run again, with the origin of every value, below what it comes to. */
import { getAdvantageEstimator } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config, LoadedConfig } from '../config';
import { policyLosses, TokenPolicyLoss } from '../losses';
import { defaultDevice } from '../tensor';
import { makeEstimator, usesReference } from './advantage_step';
import { lossSettings } from './loss_settings';
import type { UnusedKey } from './unused_keys';

/** Variables of the environment that change a run. */
const variables = ['VANTAGE_DEVICE', 'VANTAGE_NUM_THREADS'] as const;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param overridden keys whose effect an override takes: as a comment, since a file that gives them is refused
 * @param env the process's environment unless given
 */
export function describeConfig({ config, provenance }: Pick<LoadedConfig, 'config' | 'provenance'>, overridden: readonly UnusedKey[] = [], env: Environment = process.env): string {
  const idle = new Map(overridden.map(({ key, because }) => [key, because]));
  const set = variables.filter((name) => env[name]).map((name) => `environment: ${name}=${env[name]}`);
  const comments = [...summary(config), ...set].map((line) => `# ${line}`);
  return [
    ...comments,
    '',
    ...tree(config, '', {
      origin: (key, value) => originOf(key, value, provenance, env),
      isLeaf: (key) => isValue(key, provenance),
      idle,
    }),
  ].join('\n');
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
    `models: ${models.join(', ')}, on ${trainer.device ?? defaultDevice()}`,
  ];
}

function shown(options: object): string {
  const entries = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return entries.length === 0 ? '' : ` (${entries.join(', ')})`;
}

/** Where a value came from; one that is left to the environment, from which variable. */
function originOf(key: string, value: unknown, provenance: LoadedConfig['provenance'], env: Environment): string {
  const origin = provenance.get(key) ?? 'default';
  const variable = key === 'trainer.device' && value === null ? env.VANTAGE_DEVICE : undefined;
  return variable === undefined ? origin : `${origin}; environment: VANTAGE_DEVICE=${variable}`;
}

interface Tree {
  origin: (key: string, value: unknown) => string;
  isLeaf: (key: string) => boolean;
  /** Keys without an effect, and why. */
  idle: ReadonlyMap<string, string>;
}

/** The lines of a mapping. */
function tree(node: object, path: string, of: Tree, indent = ''): string[] {
  const { stringify } = require('yaml') as typeof import('yaml'); // takes long to load
  return Object.entries(node).flatMap(([name, value]: [string, unknown]) => {
    const key = path === '' ? name : `${path}.${name}`;
    const label = stringify(name).trim();
    const isMapping = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
    if (isMapping && !of.isLeaf(key)) return [`${indent}${label}:`, ...tree(value, key, of, `${indent}  `)];
    const line = `${label}: ${stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim()} # ${of.origin(key, value)}`;
    const because = of.idle.get(key);
    return [because === undefined ? indent + line : `${indent}# ${line}; has no effect: ${because}`];
  });
}

/** Whether a mapping is the value of one key. */
function isValue(key: string, provenance: LoadedConfig['provenance']): boolean {
  return provenance.has(key) && ![...provenance.keys()].some((other) => other.startsWith(`${key}.`));
}
