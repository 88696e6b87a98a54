/** The kinds of values a key takes. The message of each schema is what was expected; load.ts says where and what came instead. */
import { z } from 'zod';

export const bool = () => z.boolean('true or false');

export const text = () => z.string('text').min(1, 'non-empty text');

export const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) => z.enum(names, `one of ${names.join(', ')}`);

export const positiveInt = () => z.int('a positive integer').positive('a positive integer');

export const nonNegativeInt = () => z.int('an integer, 0 or more').nonnegative('an integer, 0 or more');

/** A number in [low, high]. */
export const between = (low: number, high: number) => {
  const expected = high === Infinity ? `a number, ${low} or more` : `a number from ${low} to ${high}`;
  return z.number(expected).min(low, expected).max(high, expected);
};

/** A number in (low, high]. */
export const above = (low: number, high = Infinity) => {
  const expected = high === Infinity ? `a number above ${low}` : `a number above ${low} and at most ${high}`;
  return z.number(expected).gt(low, expected).max(high, expected);
};

/** What logits are divided by: within these bounds quotients are numbers in float32. `greedy` allows 0 too, which takes the likeliest token. */
export const temperature = ({ greedy }: { greedy: boolean }) => {
  const [low, high] = [1e-6, 1e6];
  const expected = `a number from ${low} to ${high}${greedy ? ', or 0 for the likeliest token' : ''}`;
  return z.number(expected).refine((value) => (greedy && value === 0) || (value >= low && value <= high), expected);
};

/** A positive integer, or -1 with the meaning `off` ("never", "no limit"). */
export const positiveIntOrOff = (off: string) => {
  const expected = `a positive integer, or -1 for ${off}`;
  return z.int(expected).refine((n) => n === -1 || n > 0, expected);
};

/** A list of texts; one text stands for a list of one. */
export const textList = (what: string) => z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(text(), `a list of ${what}`));

/** A section: unknown keys are errors. */
export const section = <Shape extends z.core.$ZodLooseShape>(shape: Shape) => z.strictObject(shape, 'a mapping of keys');

/** Options by name, which another part of the program knows: below such a key every name is taken, and checked there. */
export const options = () => z.record(z.string(), z.unknown(), 'a mapping of options');
