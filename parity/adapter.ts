/** How a library's function is called here: one entry in a list of adapters/. */
import { onesLike, tensor, type DType, type Tensor } from 'vantage-rl';
import type { Case, Numbers } from './case';

/** Makes the tensors of a case in the precision of the run. */
export interface Inputs {
  readonly dtype: 'float64' | 'float32';
  /** An array of the case's inputs, floating. Throws where the case lacks it. */
  array(name: string): Tensor;
  /** The same, or null where the case lacks it or holds null. */
  optional(name: string): Tensor | null;
  /** 0 or 1; where the case has no such mask, ones of the shape of `like`. */
  mask(name: string, like?: Tensor): Tensor;
}

/** What was computed, by the names of the fixture's outputs: tensors, numbers, nested lists, or plain objects of them. */
export type Answer = Record<string, unknown>;

export interface Adapter {
  library: string;
  function: string;
  /** Only of cases of this name, where one function serves several. */
  name?: string;
  answer(each: Case, inputs: Inputs): Answer;
  /** Outputs that are not compared, with the reason: `(case) => reason or null` for each name. */
  leftOut?: Record<string, (each: Case) => string | null>;
  /** A reason where the library's answer is a mistake or none, and ours is what the mathematics says: the case is listed, and has to give finite numbers. */
  differs?(each: Case): string | null;
}

/** The case does not hold what its function needs: no answer, and no refusal either. */
export class MissingInput extends Error {}

/** Whether positions count in a comparison: where an adapter answers with `only`, the others are left out. */
export class Only {
  constructor(
    readonly value: Tensor,
    readonly mask: Tensor,
  ) {}
}

/** Compares only where `mask` is not 0: what a library leaves at the other positions is its own affair. */
export const only = (value: Tensor, mask: Tensor): Only => new Only(value, mask);

export function inputsOf(each: Case, dtype: 'float64' | 'float32'): Inputs {
  const make = (value: Numbers, as: DType): Tensor => tensor(value as never, { dtype: as });
  const optional = (name: string) => (each.inputs[name] === undefined || each.inputs[name] === null ? null : make(each.inputs[name], dtype));
  return {
    dtype,
    optional,
    array(name) {
      const found = optional(name);
      if (!found) throw new MissingInput(`the case has no input '${name}'. Inputs: ${Object.keys(each.inputs).join(', ')}`);
      return found;
    },
    mask(name, like) {
      const value = each.inputs[name];
      if (value !== undefined && value !== null) return make(value, 'uint8');
      if (!like) throw new MissingInput(`the case has no mask '${name}'`);
      return onesLike(like).cast('uint8');
    },
  };
}
