/** A row of a prompt dataset: the layout that SkyRL and verl read (`data_source`, `prompt`, `env_class`, `reward_spec`, `extra_info`). */
import { DataError, showValue } from '../errors';
import { isList } from './check';

/** A turn of a conversation. */
export interface ChatMessage {
  /** `system`, `user`, `assistant` or `tool`. */
  role: string;
  /** Its text. */
  content: string;
}

/** A row as `vantage prepare` writes it. */
export interface PromptRow {
  /** Where the row comes from; evaluation metrics are grouped by it. */
  data_source: string;
  /** The conversation that the policy answers. */
  prompt: ChatMessage[];
  /** The environment that gives the reward. */
  env_class: string;
  /** What the environment compares an answer with. */
  reward_spec: { method: string; ground_truth: string };
  /** Whatever else belongs to the row. */
  extra_info: Record<string, unknown>;
}

/** A row as it is read: only `prompt` is needed, whatever else stands there goes to the environment. */
export interface AnyRow {
  /** The conversation that the policy answers. */
  prompt: ChatMessage[];
  /** Where the row comes from; evaluation metrics are grouped by it. */
  data_source?: string;
  /** The environment that gives the reward; without it `environment.env_class`. */
  env_class?: string;
  [column: string]: unknown;
}

/** @throws DataError, beginning with `place`, for a value that is no row. */
export function checkRow(value: unknown, place: string): AnyRow {
  const row = value as Partial<AnyRow>;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError(`${place}: expected a row (an object), got ${showValue(value)}`);
  }
  if (!isList(row.prompt, isMessage) || row.prompt.length === 0) {
    throw new DataError(`${place}: prompt: expected a list of {role, content}, got ${showValue(row.prompt)}`);
  }
  for (const name of ['data_source', 'env_class'] as const) {
    const text: unknown = row[name];
    if (text === null) delete row[name];
    else if (text !== undefined && typeof text !== 'string')
      throw new DataError(`${place}: ${name}: expected text, got ${showValue(text)}`);
  }
  return row as AnyRow;
}

export function isMessage(value: unknown): value is ChatMessage {
  const message = value as Partial<ChatMessage> | null;
  return typeof message === 'object' && message !== null && typeof message.role === 'string' && typeof message.content === 'string';
}
