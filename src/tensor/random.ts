/**
 * Random numbers with explicit keys: the same key gives the same numbers on every device, whatever was drawn before.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011).
 */
import { TensorError } from '../errors';
import { isDType, isFloating, type DType } from './dtype';
import { cast, kernel } from './graph';
import { checkDevice, type Device } from './memory';
import * as ops from './operations';
import { checkFinite, checkOptions, checkShape, describe } from './shape';
import { Tensor } from './tensor';

/** The high and low halves of a·b for unsigned 32-bit a and b. */
function multiply(a: number, b: number): [number, number] {
  const product = BigInt(a >>> 0) * BigInt(b >>> 0);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

/** One block of Philox4x32-10: four 32-bit words from a counter of four and a key of two. */
export function philox4x32(counter: readonly [number, number, number, number], key: readonly [number, number]): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Keeps the blocks that derive keys apart from those that give numbers (whose two upper counter words are 0). */
const DERIVE = 0x6b657973;

/** The key of a stream of random numbers. Keys are values: drawing does not change them; `fold` derives independent ones. */
export class RandomKey {
  constructor(
    /** The lower 32 bits. */
    readonly low: number,
    /** The upper 32 bits. */
    readonly high: number,
  ) {
    for (const [name, word] of Object.entries({ low, high })) {
      if (!Number.isInteger(word) || word < 0 || word >= 2 ** 32) throw new TensorError(`RandomKey: expected ${name}, an integer from 0 to 2^32 − 1, got ${describe(word)}`);
    }
  }

  /** The n-th key derived from this one (n a non-negative integer: a step, a row, a layer). */
  fold(n: number): RandomKey {
    if (!Number.isSafeInteger(n) || n < 0) throw new TensorError(`RandomKey.fold: expected a non-negative integer, got ${describe(n)}`);
    const [low, high] = philox4x32([n >>> 0, Math.floor(n / 2 ** 32) >>> 0, DERIVE, 0], [this.low, this.high]);
    return new RandomKey(low, high);
  }
}

/** A key from a seed (an integer). */
export function randomKey(seed: number): RandomKey {
  if (!Number.isSafeInteger(seed)) throw new TensorError(`randomKey: expected an integer seed, got ${describe(seed)}`);
  return new RandomKey(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0);
}

/** A key given by a caller. */
export function checkKey(operation: string, key: unknown): RandomKey {
  if (key instanceof RandomKey) return key;
  throw new TensorError(`${operation}: expected a RandomKey (randomKey(seed)), got ${describe(key)}`);
}

const uniformNames = ['key', 'dtype', 'device', 'low', 'high'] as const;
const normalNames = ['key', 'dtype', 'device', 'mean', 'std'] as const;

function draw(operation: string, shape: readonly number[], options: RandomOptions, names: readonly string[], distribution: 1 | 2): Tensor {
  const { key, dtype = 'float32', device } = checkOptions(operation, options, names);
  const { low, high } = checkKey(operation, key);
  if (!isDType(dtype) || !isFloating(dtype)) throw new TensorError(`${operation}: expected a floating dtype, got ${describe(dtype)}`);
  const drawn = dtype === 'float64' ? 'float64' : 'float32';
  const call = { name: 'philox', outputs: [{ shape: checkShape(operation, shape), dtype: drawn as DType }], scalars: [low, high, 0], attributes: [distribution] };
  return new Tensor(cast(kernel(call, [], checkDevice(operation, device))[0]!, dtype));
}

/** Options of {@link randomUniform} and {@link randomNormal}. */
export interface RandomOptions {
  /** The stream: the same key gives the same numbers, on every device. */
  key: RandomKey;
  /** A floating dtype. Default float32. */
  dtype?: DType;
  /** Default {@link defaultDevice}. */
  device?: Device;
}

/** Uniform numbers in [low, high). @throws TensorError where low is greater than high */
export function randomUniform(shape: readonly number[], options: RandomOptions & { low?: number; high?: number }): Tensor {
  const { low = 0, high = 1 } = checkOptions('randomUniform', options, uniformNames);
  checkFinite('randomUniform', 'low', low);
  checkFinite('randomUniform', 'high', high);
  if (low > high) throw new TensorError(`randomUniform: expected low no greater than high, got ${low} and ${high}`);
  const unit = draw('randomUniform', shape, options, uniformNames, 1);
  return low === 0 && high === 1 ? unit : new Tensor(ops.binary('add', ops.binary('mul', unit.node, high - low), low));
}

/** Normal numbers of the given mean and standard deviation. @throws TensorError for one below 0 */
export function randomNormal(shape: readonly number[], options: RandomOptions & { mean?: number; std?: number }): Tensor {
  const { mean = 0, std = 1 } = checkOptions('randomNormal', options, normalNames);
  checkFinite('randomNormal', 'mean', mean);
  checkFinite('randomNormal', 'std', std);
  if (std < 0) throw new TensorError(`randomNormal: expected std, 0 or more, got ${std}`);
  const unit = draw('randomNormal', shape, options, normalNames, 2);
  return mean === 0 && std === 1 ? unit : new Tensor(ops.binary('add', ops.binary('mul', unit.node, std), mean));
}
