/** Whether an answer is that of the fixture. */
import { Tensor, tidy } from 'vantage-rl';
import { inputsOf, MissingInput, Only, type Adapter } from './adapter';
import type { Case } from './case';

export type Verdict = { status: 'passed' } | { status: 'differs'; reason: string } | { status: 'failed'; reason: string };

/** The largest difference that is allowed, relative to `scaleOf` the number expected. */
interface Tolerance {
  relative: number;
  /** At least this is taken for the size of a number. */
  scale: number;
}

function toleranceOf(each: Case, dtype: 'float64' | 'float32'): Tolerance {
  if (dtype === 'float64') return { relative: each.precision === 'float64' ? 1e-9 : 1e-5, scale: 1 };
  const sizes = flat(Object.values(each.inputs)).filter((value): value is number => typeof value === 'number' && Number.isFinite(value)).map(Math.abs);
  return { relative: 2e-5, scale: sizes.reduce((largest, size) => Math.max(largest, size), 1) };
}

function flat(value: unknown): unknown[] {
  return Array.isArray(value) ? value.flatMap(flat) : [value];
}

const close = (got: number, expected: number, { relative, scale }: Tolerance): boolean =>
  Object.is(got, expected) || got === expected || Math.abs(got - expected) <= relative * Math.max(scale, Math.abs(expected)) || (Number.isNaN(got) && Number.isNaN(expected));

/** The first difference, or null. */
export function difference(path: string, got: unknown, expected: unknown, tolerance: Tolerance): string | null {
  if (got instanceof Only) {
    const mask = flat(got.mask.toArray());
    const [values, wanted] = [flat(got.value.toArray()), flat(expected)];
    if (values.length !== wanted.length) return `${path}: expected ${wanted.length} numbers, got ${values.length}`;
    for (let i = 0; i < values.length; i++) {
      const found = mask[i] ? difference(`${path}[${i}]`, values[i], wanted[i], tolerance) : null;
      if (found) return found;
    }
    return null;
  }
  const value = got instanceof Tensor ? got.toArray() : got;
  if (Array.isArray(expected)) {
    if (!Array.isArray(value)) return `${path}: expected a list of ${expected.length}, got ${JSON.stringify(value)}`;
    if (value.length !== expected.length) return `${path}: expected ${expected.length} entries, got ${value.length}`;
    for (let i = 0; i < expected.length; i++) {
      const found = difference(`${path}[${i}]`, value[i], expected[i], tolerance);
      if (found) return found;
    }
    return null;
  }
  if (typeof expected === 'object' && expected !== null) {
    for (const [key, each] of Object.entries(expected)) {
      const found = difference(`${path}.${key}`, (value as Record<string, unknown> | null)?.[key], each, tolerance);
      if (found) return found;
    }
    return null;
  }
  const number = typeof value === 'boolean' ? Number(value) : value;
  const wanted = typeof expected === 'boolean' ? Number(expected) : expected;
  if (typeof wanted === 'number' && typeof number === 'number') return close(number, wanted, tolerance) ? null : `${path}: expected ${wanted}, got ${number}`;
  return number === wanted ? null : `${path}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(number)}`;
}

/** Where no position is valid libraries divide by the number of them. */
function ofNothing({ library, inputs, expected }: Case): string | null {
  const mask = flat(inputs.mask ?? []);
  if (mask.length === 0 || mask.some((m) => m !== 0)) return null;
  return expected.throws || flat(listed(expected)).some(Number.isNaN) ? `nothing valid: ${library} raises or gives NaN, ours are finite numbers` : null;
}

/** Objects as lists of their values, tensors as arrays. */
function listed(value: unknown): unknown {
  if (value instanceof Only) return listed(value.value);
  if (value instanceof Tensor) return value.toArray();
  if (Array.isArray(value)) return value.map(listed);
  return typeof value === 'object' && value !== null ? Object.values(value).map(listed) : value;
}

/** Runs one case. */
export function judge(each: Case, adapter: Adapter | undefined, dtype: 'float64' | 'float32'): Verdict {
  if (!adapter) return { status: 'failed', reason: `no entry for ${each.library} ${each.function}${each.name ? ` (${each.name})` : ''}` };
  return tidy((): Verdict => {
    const differs = adapter.differs?.(each) ?? ofNothing(each);
    let answer: Record<string, unknown>;
    try {
      answer = adapter.answer(each, inputsOf(each, dtype));
    } catch (error) {
      if (each.expected.throws && !(error instanceof MissingInput)) return { status: 'passed' };
      return { status: 'failed', reason: (error as Error).message };
    }
    if (differs !== null) {
      const wrong = flat(listed(answer)).find((value) => typeof value === 'number' && !Number.isFinite(value));
      return wrong === undefined ? { status: 'differs', reason: differs } : { status: 'failed', reason: `expected finite numbers (${differs}), got ${String(wrong)}` };
    }
    if (each.expected.throws) return { status: 'failed', reason: `expected an error (${each.expected.throws}), got an answer` };
    const tolerance = toleranceOf(each, dtype);
    for (const [key, expected] of Object.entries(each.expected)) {
      if (adapter.leftOut?.[key]?.(each)) continue;
      if (!(key in answer)) return { status: 'failed', reason: `nothing answers to '${key}'` };
      const found = difference(key, answer[key], expected, tolerance);
      if (found) return { status: 'failed', reason: found };
    }
    return { status: 'passed' };
  });
}
