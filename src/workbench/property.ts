/** What a property is: a row in a list of `properties/`. */
import type { SmallRandom } from '../data/random';
import { drawBatch, type Batch, type Shape } from './batch';
import type { CauseId } from './causes';
import type { Subject } from './subject';

/** How a property does not hold. */
export interface Violation {
  cause: CauseId;
  /** What was seen: `advantages[0][1] is 1, then 2`. */
  seen: string;
  /** What else is known of the cause here: `it matches the reference with ddof 0`. */
  hint?: string;
  /** Batches whose results stand beside one another, if they are not the one that was drawn. */
  batches?: readonly Batch[];
  /** How the batches are computed, where it is not in float64 by a new instance each. */
  how?: 'float32' | 'float32-and-float64' | 'same-instance' | 'same-inputs' | 'resumed' | 'leak' | 'packed' | 'devices';
  /** Another estimator that stands beside it. */
  beside?: { name: string; options?: Readonly<Record<string, unknown>> };
  severity?: 'failure' | 'warning' | 'note';
}

export interface Property {
  readonly id: string;
  /** What holds, in a line. */
  readonly title: string;
  /** Why it says nothing of an estimator; null where it does. */
  skip?(subject: Subject): string | null;
  /** Properties that, once broken, explain this one too. */
  readonly after?: readonly string[];
  /** Judges each call by itself: chance, which makes any two calls differ, does not explain it. */
  readonly single?: boolean;
  /** Default `any` mask, rows without tokens, up to eight columns. */
  readonly shape?: Partial<Shape>;
  /** Holds for every batch or none: a few tries are enough, and the batch is not shrunk. */
  readonly once?: boolean;
  /** Most batches that it is tried on, where more would say no more. */
  readonly tries?: number;
  /** Of a violation that was found: what more batches tell of its cause. */
  diagnose?(subject: Subject, violation: Violation, random: SmallRandom): Violation;
  /** null where it holds. Random choices come from `random` alone, so that the same batch is judged in the same way. */
  judge(subject: Subject, batch: Batch, random: SmallRandom): Violation | null;
}

/** Batches grow from try to try, so that what is small is found first. */
export function batchFor({ shape }: Property, subject: Subject, random: SmallRandom, attempt: number): Batch {
  const size = Math.min(1, (attempt + 3) / 12);
  const all: Shape = { rows: 7, columns: 8, masks: 'any', emptyRows: true, ...shape };
  return drawBatch(random, { ...all, rows: Math.max(2, Math.round(all.rows * size)), columns: Math.max(2, Math.round(all.columns * size)) }, subject.inputs, subject.declared);
}

/** Numbers 0 … n − 1. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
