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

function repeat<T extends Float32Array | Uint8Array | Uint16Array>(array: T, first: number): T {
  for (let filled = first; filled < array.length; filled *= 2) array.copyWithin(filled, 0, Math.min(filled, array.length - filled));
  return array;
}

function filled(dtype: HostArray['dtype'], array: Float32Array | Uint8Array | Uint16Array, shape: number[], seed: number, value: (u: number) => number): HostArray {
  const numbers = uniforms(seed);
  const first = Math.min(array.length, PERIOD);
  for (let i = 0; i < first; i++) array[i] = value(numbers.next().value);
  return { dtype, shape, data: repeat(array, first), period: first };
}

/** float32, uniform in [low, high). */
export function uniform(seed: number, shape: number[], low = 0, high = 1): HostArray {
  return filled('float32', new Float32Array(product(shape)), shape, seed, (u) => low + (high - low) * u);
}

/** bfloat16, uniform in [low, high), as its 16 bits. */
export function uniformBfloat16(seed: number, shape: number[], low: number, high: number): HostArray {
  const scratch = new Float32Array(1);
  const bits = new Uint32Array(scratch.buffer);
  const value = (u: number) => {
    scratch[0] = low + (high - low) * u;
    return bits[0]! >>> 16;
  };
  return filled('bfloat16', new Uint16Array(product(shape)), shape, seed, value);
}

/** The exact float32 numbers of bfloat16 bits. */
export function widened(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** What others have to be sent of an array: up to where it repeats. */
export function beginning({ data, period }: HostArray): HostData {
  return data.subarray(0, period ?? data.length);
}

/** 1 with the given probability, else 0. */
export function flags(seed: number, shape: number[], probability: number): HostArray {
  return filled('uint8', new Uint8Array(product(shape)), shape, seed, (u) => (u < probability ? 1 : 0));
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
  return { dtype: 'uint8', shape, data: new Uint8Array(product(shape)).fill(1), period: 1 };
}

export function integers(length: number, value: (i: number) => number): HostArray {
  return { dtype: 'int32', shape: [length], data: Int32Array.from({ length }, (_, i) => value(i)) };
}
