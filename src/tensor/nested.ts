/** Nested arrays of numbers, as callers give them and are given them. Lists are made of the length they will have: V8 copies what grows, and boxes its numbers. */
import { types } from 'node:util';
import { TensorError } from '../errors';
import type { DType, NumericArray } from './dtype';
import { describe, formatShape, MOST_DIMENSIONS, sizeOf, type Shape } from './shape';

/** Nested arrays of numbers or booleans, all of one depth, rows of one length. */
export type TensorData = number | boolean | ArrayBufferView | readonly TensorData[];

/** Nested arrays as deep as the tensor has dimensions; a number for a scalar. */
export type NestedArray = number | NestedArray[];

/** The numbers of nested arrays one after the other, in an array that holds each as `dtype` is converted from, and the shape that they are nested in. */
export function flatten(data: TensorData, dtype: DType): { values: Float32Array | Float64Array; shape: number[]; onlyBooleans: boolean } {
  const shape = shapeOf(data);
  // Before room is made for as many as the first of each of them lets expect.
  checkRows(data, shape, 0);
  const values = room(sizeOf(shape), dtype);
  if (shape.length === 0) return { values: values.fill(Number(data)), shape, onlyBooleans: typeof data === 'boolean' };
  const booleans = copyInto(values, 0, data as Nested, shape, 0);
  return { values, shape, onlyBooleans: values.length > 0 && booleans === values.length };
}

/** float32 is rounded to at once; all other dtypes are converted to from float64. @throws TensorError where the host has no room */
function room(size: number, dtype: DType): Float32Array | Float64Array {
  const Values = dtype === 'float32' ? Float32Array : Float64Array;
  try {
    return new Values(size);
  } catch {
    throw new TensorError(`tensor: no room for ${size} numbers in the host's memory`);
  }
}

type Nested = readonly unknown[] | NumericArray;

/** The shape by the first item of each array. */
function shapeOf(data: unknown): number[] {
  const shape: number[] = [];
  for (let item = data; typeof item !== 'number' && typeof item !== 'boolean'; item = (item as Nested)[0]) {
    if (!isRow(item)) throw new TensorError(`tensor: expected numbers in nested arrays, got ${describe(item)}`);
    // An array may hold itself.
    if (shape.length === MOST_DIMENSIONS) throw new TensorError(`tensor: expected at most ${MOST_DIMENSIONS} dimensions`);
    shape.push(item.length);
    if (item.length === 0) break;
  }
  return shape;
}

function isRow(item: unknown): item is Nested {
  return Array.isArray(item) || holdsNumbers(item);
}

/** Whether `item` is a typed array of numbers: a DataView has none, arrays of 64-bit integers have bigints. */
export function holdsNumbers(item: unknown): item is NumericArray {
  return ArrayBuffer.isView(item) && !types.isDataView(item) && !types.isBigInt64Array(item) && !types.isBigUint64Array(item);
}

/** @throws TensorError for an array that is not of the shape. What the innermost ones hold is not looked at */
function checkRows(data: unknown, shape: Shape, depth: number): void {
  if (depth === shape.length) return;
  const isInnermost = depth === shape.length - 1;
  if (!isRow(data) || data.length !== shape[depth] || !(isInnermost || Array.isArray(data))) throw unlike(shape, depth, data);
  if (!isInnermost) { for (let i = 0; i < data.length; i++) checkRows(data[i], shape, depth + 1); }
}

/** Copies the numbers of an array of a shape to `at` and behind. @returns how many of them are booleans */
function copyInto(values: Float32Array | Float64Array, at: number, data: Nested, shape: Shape, depth: number): number {
  let booleans = 0;
  if (depth < shape.length - 1) {
    const size = sizeOf(shape.slice(depth + 1));
    for (let i = 0; i < data.length; i++) booleans += copyInto(values, at + i * size, data[i] as Nested, shape, depth + 1);
  } else if (ArrayBuffer.isView(data)) {
    values.set(data, at);
  } else {
    for (let i = 0; i < data.length; i++) {
      const item = data[i];
      if (typeof item === 'boolean') booleans++;
      else if (typeof item !== 'number') throw unlike(shape, shape.length, item);
      values[at + i] = item as number;
    }
  }
  return booleans;
}

function unlike(shape: Shape, depth: number, item: unknown): TensorError {
  return new TensorError(`tensor: expected rows of one shape, got ${formatShape(shape.slice(depth))} and ${formatShape(shapeOf(item))}`);
}

/** The longest list that V8 makes of a length as what it is: a longer one is a hash table, and grows instead. */
const LONGEST_MADE = 2 ** 25;

function listOf<T>(length: number): T[] {
  return length <= LONGEST_MADE ? new Array<T>(length) : [];
}

/** Values in row-major order, nested as a shape says. */
export function nest(values: ArrayLike<number>, shape: Shape): NestedArray {
  return shape.length === 0 ? values[0]! : nestFrom(values, 0, shape, 0);
}

function nestFrom(values: ArrayLike<number>, from: number, shape: Shape, depth: number): NestedArray[] {
  const extent = shape[depth]!;
  if (depth === shape.length - 1) return numbersFrom(values, from, extent);
  const rows = listOf<NestedArray[]>(extent);
  const size = sizeOf(shape.slice(depth + 1));
  for (let i = 0; i < extent; i++) rows[i] = nestFrom(values, from + i * size, shape, depth + 1);
  return rows;
}

/** By itself, so that V8 learns that its lists hold numbers. */
function numbersFrom(values: ArrayLike<number>, from: number, length: number): number[] {
  const row = listOf<number>(length);
  for (let i = 0; i < length; i++) row[i] = values[from + i]!;
  return row;
}
