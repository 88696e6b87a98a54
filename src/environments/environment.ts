/** What an environment is: it takes the policy's text and answers with a reward. */
import type { AnyRow, ChatMessage } from '../data/rows';
import { EnvironmentError, showValue } from '../errors';
import { Registry, type RegisterOptions } from '../registry';

/** What one action brought. */
export interface EnvironmentStep {
  /** Messages for the policy's next turn; empty when the trajectory is done. */
  observations: ChatMessage[];
  reward: number;
  /** Whether the trajectory ends here. */
  done: boolean;
  /** Anything worth recording. */
  metadata?: Record<string, unknown>;
}

/**
 * One trajectory's world, made anew for each response. A subclass needs only `step`:
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
  /** @param row the dataset row of the prompt: `reward_spec`, `extra_info` and whatever else it holds. */
  constructor(protected readonly row: AnyRow) {}

  /** Called once, before the first response; returns the messages that the policy sees. */
  init(prompt: ChatMessage[]): ChatMessage[] | Promise<ChatMessage[]> {
    return prompt;
  }

  /** @param action the text of the policy's response, without its end token */
  abstract step(action: string): EnvironmentStep | Promise<EnvironmentStep>;

  /** Called once when the trajectory has ended, also after an error. */
  close(): void | Promise<void> {}

  /** Numbers to average over the batch. */
  metrics(): Record<string, number> {
    return {};
  }
}

export type EnvironmentClass = new (row: AnyRow) => Environment;

/** The environments of this process. */
export const environments = new Registry<EnvironmentClass>('environment');

/** Makes an environment available as `environment.env_class` and in the rows' `env_class`. @throws EnvironmentError, RegistryError */
export function registerEnvironment(name: string, environment: EnvironmentClass, options?: RegisterOptions): void {
  const prototype: unknown = typeof environment === 'function' ? environment.prototype : undefined;
  if (typeof (prototype as Partial<Environment> | undefined)?.step !== 'function') {
    throw new EnvironmentError(`environment '${name}': expected a class with a method step(action), got ${showValue(environment)}`);
  }
  environments.register(name, environment, options);
}

/** @throws RegistryError for an unknown name */
export function unregisterEnvironment(name: string): void {
  environments.unregister(name);
}

/** @throws RegistryError for an unknown name */
export function getEnvironment(name: string): EnvironmentClass {
  return environments.get(name);
}

/** The registered names, sorted. */
export function listEnvironments(): string[] {
  return environments.list();
}

/** Checks what a step returned. @throws EnvironmentError that names the environment, what was expected and what came. */
export function checkStep(name: string, step: unknown): EnvironmentStep {
  const { observations, reward, done } = (step ?? {}) as Partial<EnvironmentStep>;
  const fail = (expected: string, got: unknown): never => {
    throw new EnvironmentError(`environment '${name}': step: expected ${expected}, got ${showValue(got)}`);
  };
  if (typeof step !== 'object' || step === null) fail('{ observations, reward, done }', step);
  if (typeof reward !== 'number' || !Number.isFinite(reward)) fail('a finite number as reward', reward);
  if (typeof done !== 'boolean') fail('true or false as done', done);
  if (!Array.isArray(observations)) fail('a list of messages as observations', observations);
  return step as EnvironmentStep;
}
