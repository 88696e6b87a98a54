/** Inputs of the workloads: deterministic, and fast to make in any size. */
import { product, type HostArray, type HostData } from './workload';

/** The period of the numbers: prime, so that no power-of-two stride meets the same ones. */
const PERIOD = 1_048_573;

/** Uniform in [0, 1), repeated with a long prime period (xorshift32). */
function* uniforms(seed: number): Generator<number, never> {
  let state = Math.imul(seed + 1, 2654435761) | 1;
  for (;;) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield (state >>> 0) / 2 ** 32;
  }
}

/** The array's beginning: a period of it, or all where it is shorter. */
function filled(dtype: HostArray['dtype'], type: new (length: number) => HostData, shape: number[], seed: number, value: (u: number) => number): HostArray {
  const numbers = uniforms(seed);
  const data = new type(Math.min(product(shape), PERIOD));
  for (let i = 0; i < data.length; i++) data[i] = value(numbers.next().value);
  return { dtype, shape, data };
}

/** float32, uniform in [low, high). */
export function uniform(seed: number, shape: number[], low = 0, high = 1): HostArray {
  return filled('float32', Float32Array, shape, seed, (u) => low + (high - low) * u);
}

/** bfloat16, uniform in [low, high), as its 16 bits. */
export function uniformBfloat16(seed: number, shape: number[], low: number, high: number): HostArray {
  const scratch = new Float32Array(1);
  const bits = new Uint32Array(scratch.buffer);
  const value = (u: number) => {
    scratch[0] = low + (high - low) * u;
    return bits[0]! >>> 16;
  };
  return filled('bfloat16', Uint16Array, shape, seed, value);
}

/** The exact float32 numbers of bfloat16 bits. */
export function widened(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** 1 with the given probability, else 0. */
export function flags(seed: number, shape: number[], probability: number): HostArray {
  return filled('uint8', Uint8Array, shape, seed, (u) => (u < probability ? 1 : 0));
}

/** Masks [rows, time] of answers of different lengths: the last `share` of a row and less is padding. */
export function ragged(shape: [number, number], share = 0.25): HostArray {
  const [rows, time] = shape;
  const data = new Uint8Array(rows * time);
  const most = Math.floor(time * share) + 1;
  for (let b = 0; b < rows; b++) data.fill(1, b * time, (b + 1) * time - ((b * 37) % most));
  return { dtype: 'uint8', shape, data };
}

/** Every token counts. */
export function everyToken(shape: number[]): HostArray {
  return { dtype: 'uint8', shape, data: Uint8Array.of(1) };
}

export function integers(length: number, value: (i: number) => number): HostArray {
  return { dtype: 'int32', shape: [length], data: Int32Array.from({ length }, (_, i) => value(i)) };
}
