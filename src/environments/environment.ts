/** What an environment is: it takes the policy's text and answers with a reward. */
import { type AnyRow, type ChatMessage, isMessage } from '../data/rows';
import { EnvironmentError, quoted, showValue } from '../errors';
import { Registry, type RegisterOptions } from '../registry';

/** What one action brought. */
export interface EnvironmentStep {
  /** Messages that the policy reads before its next answer; not read when the trajectory is done. */
  observations: ChatMessage[];
  /** Of this action; those of a trajectory are added up. */
  reward: number;
  /** Whether the trajectory ends here. It also ends after `generator.max_turns` actions, and where the conversation is too long. */
  done: boolean;
  /** Anything worth recording. */
  metadata?: Record<string, unknown>;
}

/** What a run says to its environments. */
export interface EnvironmentSettings {
  /** `generator.max_turns`: actions of a trajectory, at most. */
  maxTurns: number;
}

/**
 * One trajectory's world, made anew for each trajectory. A subclass needs only `step`:
 *
 * ```ts
 * class Shortest extends Environment {
 *   step(action: string): EnvironmentStep {
 *     return { observations: [], reward: -action.length, done: true };
 *   }
 * }
 * registerEnvironment('shortest', Shortest);   // then: environment.env_class: "shortest"
 * ```
 */
export abstract class Environment {
  /**
   * @param row the dataset row of the prompt: `reward_spec`, `extra_info` and whatever else it holds; of one trajectory's own, but shared by the prompt's others: not to be changed
   * @param settings what the run says; none where an environment is made by hand
   */
  constructor(
    protected readonly row: AnyRow,
    protected readonly settings?: EnvironmentSettings,
  ) {}

  /** Called once, before the first action; returns the messages that the policy sees. */
  init(prompt: ChatMessage[]): ChatMessage[] | Promise<ChatMessage[]> {
    return prompt;
  }

  /** Called with each action. @param action the text of the policy's answer, without its end token, with the stop text that ended it */
  abstract step(action: string): EnvironmentStep | Promise<EnvironmentStep>;

  /** Called once when the trajectory has ended, also after an error or while a call that took too long still runs. */
  close(): void | Promise<void> {}

  /** Numbers to average over the batch. */
  metrics(): Record<string, number> {
    return {};
  }
}

/** The class of an environment: one is made for each response, from the row it answers. */
export type EnvironmentClass = new (row: AnyRow, settings?: EnvironmentSettings) => Environment;

/** The environments of this process. */
export const environments = new Registry<EnvironmentClass>('environment');

/** Makes an environment available as `environment.env_class` and in the rows' `env_class`. @throws EnvironmentError, RegistryError */
export function registerEnvironment(name: string, environment: EnvironmentClass, options?: RegisterOptions): void {
  const prototype: unknown = typeof environment === 'function' ? environment.prototype : undefined;
  if (typeof (prototype as Partial<Environment> | undefined)?.step !== 'function') {
    throw new EnvironmentError(`environment ${quoted(name)}: expected a class with a method step(action), got ${showValue(environment)}`);
  }
  environments.register(name, environment, options);
}

/** Takes an environment out of the registry. @throws RegistryError for an unknown name */
export function unregisterEnvironment(name: string): void {
  environments.unregister(name);
}

/** The class of an environment by name. @throws RegistryError for an unknown name */
export function getEnvironment(name: string): EnvironmentClass {
  return environments.get(name);
}

/** The registered names, sorted. */
export function listEnvironments(): string[] {
  return environments.list();
}

const shownText = (text: unknown): string => (typeof text === 'string' ? text : showValue(text));

function wrong(name: string, method: string, expected: string, got: unknown): never {
  throw new EnvironmentError(`environment ${quoted(name)}: ${shownText(method)}: expected ${shownText(expected)}, got ${showValue(got)}`);
}

/** Checks what an environment's method gave. @throws EnvironmentError that names the environment, what was expected and what came */
export function checkMessages(name: string, method: string, messages: unknown, what = 'a list of messages'): asserts messages is ChatMessage[] {
  if (!Array.isArray(messages)) wrong(name, method, what, messages);
  for (const message of messages) if (!isMessage(message)) wrong(name, method, `${shownText(what)}, each { role, content }`, message);
}

/** Checks what an environment measured. @throws EnvironmentError that names the environment, what was expected and what came */
export function checkMetrics(name: string, metrics: unknown): Record<string, number> {
  if (typeof metrics !== 'object' || metrics === null) wrong(name, 'metrics', 'numbers by name', metrics);
  for (const [key, value] of Object.entries(metrics)) if (typeof value !== 'number') wrong(name, 'metrics', `a number as ${key}`, value);
  return metrics as Record<string, number>;
}

/** Checks what a step returned. @throws EnvironmentError that names the environment, what was expected and what came. */
export function checkStep(name: string, step: unknown): EnvironmentStep {
  const { observations, reward, done } = (step ?? {}) as Partial<EnvironmentStep>;
  const fail = (expected: string, got: unknown): never => wrong(name, 'step', expected, got);
  if (typeof step !== 'object' || step === null) fail('{ observations, reward, done }', step);
  if (typeof reward !== 'number' || !Number.isFinite(reward)) fail('a finite number as reward', reward);
  if (typeof done !== 'boolean') fail('true or false as done', done);
  checkMessages(name, 'step', observations, 'a list of messages as observations');
  return step as EnvironmentStep;
}
