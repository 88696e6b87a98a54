/**
 * Element types: names, sizes, promotion, and the typed arrays they travel in.
 * The codes are part of the boundary (native/core/dtype.h).
 */
export type DType = 'float32' | 'float64' | 'bfloat16' | 'int32' | 'uint8' | 'bool';

/** What a register of a fused program holds; bfloat16 is computed in float32, uint8 and bool in int32. */
export type RegisterType = 'float32' | 'float64' | 'int32';

export type NumericArray = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

interface DTypeInfo {
  code: number;
  bytes: number;
  /** Promotion takes the operand of the higher rank. */
  rank: number;
  register: RegisterType;
  /** No number of the type is less than the first, or more than the second. */
  bounds: readonly [least: number, most: number];
  stored: new (length: number) => NumericArray;
}

const unbounded = [-Infinity, Infinity] as const;

export const dtypes: Record<DType, DTypeInfo> = {
  float32: { code: 0, bytes: 4, rank: 4, register: 'float32', bounds: unbounded, stored: Float32Array },
  float64: { code: 1, bytes: 8, rank: 5, register: 'float64', bounds: unbounded, stored: Float64Array },
  bfloat16: { code: 2, bytes: 2, rank: 3, register: 'float32', bounds: unbounded, stored: Uint16Array },
  int32: { code: 3, bytes: 4, rank: 2, register: 'int32', bounds: [-(2 ** 31), 2 ** 31 - 1], stored: Int32Array },
  uint8: { code: 4, bytes: 1, rank: 1, register: 'int32', bounds: [0, 255], stored: Uint8Array },
  bool: { code: 5, bytes: 1, rank: 0, register: 'int32', bounds: [0, 1], stored: Uint8Array },
};

export const registerCodes: Record<RegisterType, number> = { float32: 0, float64: 1, int32: 2 };

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(dtypes, value);
}

/** By comparing, which takes half as long as to look the type up: every operation asks. */
export function isFloating(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'bfloat16';
}

/** The type two operands are brought to: the wider kind, floating over integer over bool. */
export function promote(a: DType, b: DType): DType {
  return a === b || dtypes[a].rank >= dtypes[b].rank ? a : b;
}

const bits = new DataView(new ArrayBuffer(4));

/** Rounds a number to bfloat16 (to nearest, ties to even) and returns its 16 bits. */
export function toBfloat16Bits(value: number): number {
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  if (Number.isNaN(value)) return 0x7fc0;
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that 16 bits of bfloat16 stand for. */
export function fromBfloat16Bits(word: number): number {
  bits.setUint32(0, word << 16);
  return bits.getFloat32(0);
}

/** The words of numbers that bfloat16 holds exactly: nothing is rounded. */
export function bfloat16Words(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const upper = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) upper[i] = words[i]! >>> 16;
  return upper;
}

let float16Numbers: Float32Array | undefined;

/** The numbers that words of IEEE half precision stand for: float32 holds each of them exactly. */
export function fromFloat16(words: Uint16Array): Float32Array {
  float16Numbers ??= Float32Array.from({ length: 1 << 16 }, (_, word) => fromFloat16Bits(word));
  const values = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) values[i] = float16Numbers[words[i]!]!;
  return values;
}

function fromFloat16Bits(word: number): number {
  const sign = word >> 15 ? -1 : 1;
  const [exponent, fraction] = [(word >> 10) & 0x1f, word & 0x3ff];
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Converts numbers to the array that holds `dtype` in memory: integers truncate and saturate, bool is 0 or 1. */
export function toStored(values: ArrayLike<number | boolean>, dtype: DType): NumericArray {
  const stored = new dtypes[dtype].stored(values.length);
  for (let i = 0; i < values.length; i++) stored[i] = storedValue(Number(values[i]), dtype);
  return stored;
}

function storedValue(value: number, dtype: DType): number {
  switch (dtype) {
    case 'bfloat16':
      return toBfloat16Bits(value);
    case 'bool':
      return value !== 0 ? 1 : 0;
    case 'uint8':
      return Math.min(255, Math.max(0, Math.trunc(value) || 0));
    case 'int32':
      return Math.min(2147483647, Math.max(-2147483648, Math.trunc(value) || 0));
    default:
      return value;
  }
}

/** What users read: bfloat16 as Float32Array, all others as stored. */
export function fromStored(stored: NumericArray, dtype: DType): Float32Array | Float64Array | Int32Array | Uint8Array {
  if (dtype !== 'bfloat16') return stored as Float32Array;
  const words = new Uint32Array(stored.length);
  for (let i = 0; i < stored.length; i++) words[i] = stored[i]! << 16;
  return new Float32Array(words.buffer);
}

/** What a number becomes when it is stored as `dtype` and read again. */
export function rounded(value: number, dtype: DType): number {
  return fromStored(toStored([value], dtype), dtype)[0]!;
}

/** The dtype a typed array stands for when none is given. */
export function dtypeOfArray(array: ArrayBufferView): DType | null {
  switch (array.constructor.name) {
    case 'Float32Array':
      return 'float32';
    case 'Float64Array':
      return 'float64';
    case 'Int32Array':
      return 'int32';
    case 'Uint8Array':
    case 'Uint8ClampedArray':
      return 'uint8';
    default:
      return null;
  }
}
