/** Shapes, strides and the checks of arguments that name dimensions. Strides count elements. */
import { ignoreRejection, ofAnotherCopy, TensorError, unknownKey } from '../errors';

/** The extents of an array, the outermost first; [] is a scalar. */
export type Shape = readonly number[];

/** The most that the addon knows of. */
export const MOST_DIMENSIONS = 8;

export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= shape[d]!;
  }
  return strides;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let d = 0; d < a.length; d++) if (a[d] !== b[d]) return false;
  return true;
}

/** Where element `at` stands: `row 3, position 7` of [rows, columns], `row 3` of [rows]. */
export function placeIn([, columns]: Shape, at: number): string {
  return columns === undefined ? `row ${at}` : `row ${Math.floor(at / columns)}, position ${at % columns}`;
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

/** Whether another dimension than the last one runs along memory, as after a transposition. */
export function liesAcross(shape: Shape, strides: Shape): boolean {
  const last = shape.length - 1;
  return shape[last]! > 1 && Math.abs(strides[last]!) > 1 && strides.some((stride, d) => stride === 1 && shape[d]! > 1);
}

/** @throws TensorError for a result of more dimensions than the addon knows of */
export function checkDimensions(operation: string, ndim: number): void {
  if (ndim > MOST_DIMENSIONS) throw new TensorError(`${operation}: expected at most ${MOST_DIMENSIONS} dimensions, got ${ndim}`);
}

/** A shape given by a caller: non-negative integers whose product is a safe integer. */
export function checkShape(operation: string, shape: unknown): number[] {
  if (!Array.isArray(shape) || shape.length > MOST_DIMENSIONS) {
    throw new TensorError(`${operation}: expected a shape (an array of at most ${MOST_DIMENSIONS} non-negative integers), got ${describe(shape)}`);
  }
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0) {
      throw new TensorError(`${operation}: expected a shape of non-negative integers, got [${shape.map(describe).join(',')}]`);
    }
  }
  const size = sizeOf(shape as number[]);
  if (!Number.isSafeInteger(size)) throw new TensorError(`${operation}: expected a shape of at most ${Number.MAX_SAFE_INTEGER} elements, got ${formatShape(shape as number[])}, which has ${size}`);
  return [...(shape as number[])];
}

/** An axis given by a caller, negative ones counted from the end. */
export function checkAxis(operation: string, axis: unknown, ndim: number): number {
  if (typeof axis !== 'number' || !Number.isInteger(axis) || axis < -ndim || axis >= ndim) {
    throw new TensorError(`${operation}: expected an axis from ${-ndim} to ${ndim - 1}, got ${describe(axis)}`);
  }
  return axis < 0 ? axis + ndim : axis;
}

/** One axis, several, or all of them (undefined or null); sorted, each once. */
export function checkAxes(operation: string, axes: unknown, ndim: number): number[] {
  if (axes === undefined || axes === null) {
    const all = new Array<number>(ndim);
    for (let d = 0; d < ndim; d++) all[d] = d;
    return all;
  }
  const list = Array.isArray(axes) ? axes : [axes];
  if (list.length > ndim && Array.isArray(axes)) throw new TensorError(`${operation}: expected at most ${ndim} axes, got ${describe(axes)}`);
  const checked = Array.from(list, (axis) => checkAxis(operation, axis, ndim)).sort((a, b) => a - b);
  for (let i = 1; i < checked.length; i++) {
    if (checked[i] === checked[i - 1]) throw new TensorError(`${operation}: axis ${checked[i]} is named twice`);
  }
  return checked;
}

/** NumPy broadcasting of two or more shapes. */
export function broadcastShapes(operation: string, shapes: readonly Shape[]): number[] {
  const first = shapes[0] ?? [];
  if (shapes.every((shape) => sameShape(shape, first))) return [...first];
  let ndim = 0;
  for (const shape of shapes) ndim = Math.max(ndim, shape.length);
  const result = new Array<number>(ndim).fill(1);
  for (const shape of shapes) {
    for (let d = 0; d < shape.length; d++) {
      const extent = shape[d]!;
      const at = ndim - shape.length + d;
      if (extent === 1) continue;
      if (result[at] !== 1 && result[at] !== extent) {
        throw new TensorError(`${operation}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast together`);
      }
      result[at] = extent;
    }
  }
  return result;
}

/** Strides that show a strided array under another shape of the same size without moving elements, or null where there are none. */
export function reshapeStrides(shape: Shape, strides: Shape, to: Shape): number[] | null {
  if (sizeOf(shape) === 0) return contiguousStrides(to);
  // Dimensions of extent 1 are left out of the source: their stride means nothing.
  const extents: number[] = [];
  const steps: number[] = [];
  for (let d = 0; d < shape.length; d++) {
    if (shape[d] === 1) continue;
    extents.push(shape[d]!);
    steps.push(strides[d]!);
  }
  const result = new Array<number>(to.length).fill(0);
  let source = 0;
  let target = 0;
  while (source < extents.length && target < to.length) {
    // The shortest runs of source and target dimensions of equal size, which must lie in memory as one.
    let sourceEnd = source + 1;
    let targetEnd = target + 1;
    let available = extents[source]!;
    let wanted = to[target]!;
    while (wanted !== available) {
      if (wanted < available) wanted *= to[targetEnd++]!;
      else available *= extents[sourceEnd++]!;
    }
    for (let d = source; d + 1 < sourceEnd; d++) if (steps[d] !== extents[d + 1]! * steps[d + 1]!) return null;
    let step = steps[sourceEnd - 1]!;
    for (let d = targetEnd - 1; d >= target; d--) {
      result[d] = step;
      step *= to[d]!;
    }
    source = sourceEnd;
    target = targetEnd;
  }
  return result;
}

/** As map(), which passes over the holes of a list, and Array.from(), which takes several times as long. */
export function eachOf<T, U>(list: readonly T[], of: (element: T, place: number) => U): U[] {
  const made: U[] = [];
  for (let i = 0; i < list.length; i++) made.push(of(list[i]!, i));
  return made;
}

const noOptions = Object.freeze({});

/** The options of a call, empty where none are given. Makes nothing unless it throws: operations run through it. @throws TensorError for a name that is none of `names` */
export function checkOptions<T extends object>(operation: string, options: T | undefined, names: readonly string[], what = 'option'): T {
  if (options === undefined) return noOptions as T;
  // What a Map or a Promise holds is under no name. (The prototype is the quick way: it says all of what a caller writes down.)
  const isWritten = typeof options === 'object' && options !== null && Object.getPrototypeOf(options) === Object.prototype;
  if (!isWritten && Object.prototype.toString.call(options) !== '[object Object]') {
    throw new TensorError(`${operation}: expected an object of ${what}s, got ${describe(options)}`);
  }
  for (const key in options) if (!names.includes(key)) throw new TensorError(`${operation}: ${unknownKey(what, key, names)}`);
  return options;
}

/** An array given by a caller. */
export function checkArray(operation: string, what: string, value: unknown): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw new TensorError(`${operation}: expected ${what}, got ${describe(value)}`);
}

/** Options that switch something on. */
export function checkFlags(operation: string, flags: Readonly<Record<string, unknown>>): void {
  for (const name in flags) if (typeof flags[name] !== 'boolean') throw new TensorError(`${operation}: expected ${name}, true or false, got ${describe(flags[name])}`);
}

/** A number given by a caller that is neither NaN nor infinite. */
export function checkFinite(operation: string, name: string, value: unknown): void {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TensorError(`${operation}: expected ${name}, a finite number, got ${describe(value)}`);
}

/** A short description of any JavaScript value for an error message. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'number' || typeof value === 'boolean' || value === undefined) return String(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'function') return `a function${value.name ? ` (${value.name})` : ''}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  ignoreRejection(value);
  if (value instanceof Promise || typeof (value as { then?: unknown }).then === 'function') return 'a Promise';
  const { name } = (value as object).constructor ?? {};
  const foreign = ofAnotherCopy(value as object);
  if (foreign !== null) return foreign;
  return typeof name === 'string' && name !== '' && name !== 'Object' ? `a ${name}` : 'an object';
}
