/** What callers give to models: JavaScript can pass anything. */
import { types } from 'node:util';
import { TensorError } from '../errors';
import { tensorArgument, Tensor } from '../tensor/tensor';
import { describe, type Shape } from '../tensor/shape';

/** @throws TensorError unless it is a map of tensors by name */
export function checkTensors(operation: string, what: string, value: unknown): asserts value is ReadonlyMap<string, Tensor> {
  if (!types.isMap(value)) throw new TensorError(`${operation}: expected ${what}, a Map of tensors by name, got ${describe(value)}`);
  for (const [name, x] of value) {
    if (typeof name !== 'string') throw new TensorError(`${operation}: expected ${what}, a Map of tensors by name, got the name ${describe(name)}`);
    tensorArgument(`${operation} '${name}'`, x);
  }
}

/** The shape of a tensor of so many dimensions. @throws TensorError for anything else */
export function shapeOf(operation: string, what: string, value: unknown, ndim: number): Shape {
  const { shape } = tensorArgument(`${operation} ${what}`, value);
  if (shape.length !== ndim) throw new TensorError(`${operation}: expected ${what} of ${ndim} dimensions, got shape [${shape.join(',')}]`);
  return shape;
}

/** @throws TensorError unless it is a positive integer */
export function checkCount(operation: string, name: string, value: unknown): void {
  if (!Number.isInteger(value) || (value as number) < 1) throw new TensorError(`${operation}: expected ${name}, a positive integer, got ${describe(value)}`);
}

/** Lists of token ids. @throws TensorError for anything else */
export function checkPromptLists(operation: string, prompts: unknown): asserts prompts is readonly (readonly number[])[] {
  if (!Array.isArray(prompts)) throw new TensorError(`${operation}: expected prompts, an array of arrays of token ids, got ${describe(prompts)}`);
  for (const [row, prompt] of (prompts as readonly unknown[]).entries()) {
    if (!Array.isArray(prompt) && !(prompt instanceof Int32Array)) throw new TensorError(`${operation}: expected an array of token ids in row ${row}, got ${describe(prompt)}`);
    const ids = prompt as readonly unknown[];
    // By index: a view of detached memory has length 0, but cannot be gone through.
    for (let i = 0; i < ids.length; i++) if (!Number.isInteger(ids[i])) throw new TensorError(`${operation}: expected token ids in row ${row}, got ${describe(ids[i])}`);
  }
}
