/** Keys that a user gave and that have no effect: refused, as whoever writes one believes that it has one. */
import { isDeepStrictEqual } from 'node:util';
import { type Config, loadConfig, type LoadedConfig } from '../config';
import { located } from '../config/load';
import { showValue } from '../errors';
import { type Idle, idleKeys, type Part } from './key_effects';

/** A key without an effect. */
export interface UnusedKey extends Pick<Idle, 'because' | 'remedy'> {
  key: string;
  value: unknown;
  /** What it is if nobody gives it. */
  standard: unknown;
  /** Where it was given, as in the provenance of a configuration. */
  origin: string;
}

export interface UnusedKeysOptions {
  /** Whether callbacks may ask for checkpoints. Default false. */
  saves?: boolean;
  /** Parts that a subclass makes, whatever keys it reads. Default none. */
  own?: readonly Part[];
  /** Keys, or sections, that a subclass reads. Default none. */
  read?: readonly string[];
}

/** Keys without an effect. */
export interface UnusedKeys {
  /** That never had one. */
  refused: UnusedKey[];
  /** Of the file, or of the script, whose effect an override takes: to choose another estimator for once, one need not edit what was set for the first. */
  overridden: UnusedKey[];
}

/** Values of SkyRL's complete file for keys whose default is another one here. */
const skyrlDefaults: Readonly<Record<string, unknown>> = {
  'trainer.algorithm.eps_clip_low': 0.2,
  'trainer.algorithm.eps_clip_high': 0.2,
  'trainer.project_name': 'skyrl',
};

/** Values that ask for nothing, whatever else is set. */
const offValues: Readonly<Record<string, unknown>> = {
  'trainer.algorithm.kl_loss_coef': 0,
  'trainer.algorithm.entropy_loss_coef': 0,
  'trainer.log_samples': 0,
};

/** The keys of a configuration that were given and have no effect. A key may have the value that it has without being given, null, or another one that asks for nothing: complete files name all keys. */
export function unusedKeys({ config, provenance, beneath }: LoadedConfig, options: UnusedKeysOptions = {}): UnusedKeys {
  const rules = rulesOf(config, options);
  const rulesBeneath = beneath === null ? rules : rulesOf(beneath, options);
  const found: UnusedKeys = { refused: [], overridden: [] };
  for (const [key, origin] of provenance) {
    const why = origin === 'default' ? undefined : ruleOf(key, rules);
    if (why === undefined || options.read?.some((each) => key === each || key.startsWith(`${each}.`))) continue;
    const [value, standard] = [valueOf(config, key), standardValue(config, key)];
    const asksForNothing = [standard, undefined, null, skyrlDefaults[key], offValues[key]].some((each) => isDeepStrictEqual(value, each));
    const list = origin === 'command line' || ruleOf(key, rulesBeneath) !== undefined ? found.refused : found.overridden;
    if (!asksForNothing) list.push({ key, value, standard, origin, because: why.because, remedy: why.remedy });
  }
  return found;
}

type Rules = ReadonlyMap<string, Pick<Idle, 'because' | 'remedy'>>;

function rulesOf(config: Config, { saves = false, own = [] }: UnusedKeysOptions): Rules {
  const idle = idleKeys(config, saves).filter(({ part }) => part === undefined || !own.includes(part));
  return new Map(idle.flatMap(({ keys, ...why }) => keys.map((key) => [key.startsWith('.') ? `trainer.algorithm${key}` : key, why] as const)));
}

/** What is wrong with a key, and what to do. */
export function unusedKeyProblem({ key, value, standard, origin, because, remedy }: UnusedKey): string {
  return located(origin, `${key}: expected its default, ${showValue(standard)}, as another value has no effect: ${because}; got ${showValue(value)}. Remove it, or ${remedy}`);
}

/** What is said of a key whose effect an override takes. */
export function overriddenKeyNote({ key, origin, because }: UnusedKey): string {
  return located(origin, `${key} has no effect in this run: ${because}`);
}

/** The value that a key has beside the others of a configuration if nobody gives it. */
function standardValue({ trainer, generator }: Config, key: string): unknown {
  const [section, name] = [key.slice(0, key.lastIndexOf('.')), key.slice(key.lastIndexOf('.') + 1)];
  if (section === 'trainer.critic.model') return trainer.policy.model[name as keyof typeof trainer.policy.model];
  if (section === 'generator.eval_sampling_params' && (name === 'max_generate_length' || name === 'stop')) return generator.sampling_params[name];
  if (key === 'generator.max_input_length') return trainer.max_prompt_length;
  if (key === 'trainer.ref.model.path') return trainer.policy.model.path;
  return valueOf(defaults ??= loadConfig().config, key);
}

let defaults: Config | undefined;

/** The reason of a key, or of the nearest section above it. */
function ruleOf(key: string, rules: Rules): Pick<Idle, 'because' | 'remedy'> | undefined {
  const cut = key.lastIndexOf('.');
  return rules.get(key) ?? (cut < 0 ? undefined : ruleOf(key.slice(0, cut), rules));
}

function valueOf(config: object, key: string): unknown {
  return key.split('.').reduce<unknown>((node, name) => (node as Record<string, unknown> | null | undefined)?.[name], config);
}
