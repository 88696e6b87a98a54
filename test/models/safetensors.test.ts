import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError } from '../../src/errors';
import { readSafetensors, writeSafetensors } from '../../src/models';
import { memory, tensor, zeros, type Tensor } from '../../src/tensor';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vantage-safetensors-'));
  file = join(folder, 'model.safetensors');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A file with the given header (an object, or text as it is) and data. */
function write(header: unknown, data: Uint8Array | number = 0, length?: bigint): void {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(json.length));
  writeFileSync(file, Buffer.concat([size, json, typeof data === 'number' ? Buffer.alloc(data) : data]));
}

const entry = (shape: number[], begin: number, end: number, dtype = 'F32') => ({ dtype, shape, data_offsets: [begin, end] });

describe('safetensors', () => {
  test('every dtype comes back bit for bit', () => {
    const tensors = new Map<string, Tensor>([
      [
        'f32',
        tensor([
          [1.5, -0],
          [NaN, 1e-45],
        ]),
      ],
      ['f64', tensor([Math.PI, -Infinity], { dtype: 'float64' })],
      ['bf16', tensor([1, -3.140625, 1e30, Infinity, 0.1], { dtype: 'bfloat16' })],
      ['i32', tensor([[2147483647, -2147483648, 7]], { dtype: 'int32' })],
      ['u8', tensor([0, 255, 3], { dtype: 'uint8' })],
      ['bool', tensor([true, false])],
      ['scalar', tensor(42)],
      ['none', zeros([0, 3])],
      ['7', tensor([7])],
      [
        'a view',
        tensor([
          [1, 2],
          [3, 4],
        ]).transpose(),
      ],
      ['ünïcode "quoted"\n', tensor([1])],
    ]);
    writeSafetensors(file, tensors, { format: 'pt', step: '12' });
    const read = readSafetensors(file);
    expect(read.metadata).toEqual({ format: 'pt', step: '12' });
    expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.keys()));
    for (const [name, x] of tensors) {
      const back = read.tensors.get(name)!;
      expect([name, back.dtype, back.shape]).toEqual([name, x.dtype, x.shape]);
      expect(back.dataSync()).toEqual(x.dataSync());
    }
  });

  test('the bytes are those of the format', () => {
    writeSafetensors(
      file,
      new Map([
        ['x', tensor([1, 2], { dtype: 'bfloat16' })],
        ['y', tensor([[3]], { dtype: 'int32' })],
      ]),
    );
    const bytes = readFileSync(file);
    const length = Number(bytes.readBigUInt64LE(0));
    expect(length % 8).toBe(0);
    expect(JSON.parse(bytes.toString('utf8', 8, 8 + length))).toEqual({
      __metadata__: {},
      x: { dtype: 'BF16', shape: [2], data_offsets: [0, 4] },
      y: { dtype: 'I32', shape: [1, 1], data_offsets: [4, 8] },
    });
    expect([...bytes.subarray(8 + length)]).toEqual([0x80, 0x3f, 0x00, 0x40, 3, 0, 0, 0]);
  });

  test('reads tensors in any order of the header', () => {
    const data = Buffer.from(Float32Array.from([1, 2, 3]).buffer);
    write({ b: entry([2], 4, 12), a: entry([1], 0, 4), __metadata__: { format: 'pt' } }, data);
    const { tensors } = readSafetensors(file);
    expect(tensors.get('a')!.toArray()).toEqual([1]);
    expect(tensors.get('b')!.toArray()).toEqual([2, 3]);
  });

  test('float16 comes as float32, exactly', () => {
    const words = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0xc248, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3555];
    write({ x: entry([3, 4], 0, 24, 'F16') }, Buffer.from(Uint16Array.from(words).buffer));
    const x = readSafetensors(file).tensors.get('x')!;
    expect([x.dtype, x.shape]).toEqual(['float32', [3, 4]]);
    const expected = [0, -0, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 1, -3.140625, 65504, Infinity, -Infinity, NaN, 0.333251953125];
    expect([...x.dataSync()]).toEqual(expected);
  });

  test('a write that fails leaves the old file and nothing else', () => {
    writeSafetensors(file, new Map([['x', tensor([1])]]));
    const disposed = tensor([2]).add(1);
    const tensors = new Map([
      ['x', tensor([5])],
      ['y', disposed],
    ]);
    const size = disposed.size;
    expect(size).toBe(1);
    // The size is known, the values are gone once its turn comes.
    const failing: Tensor = Object.create(disposed, {
      dataSync: {
        value: () => {
          throw new Error('gone');
        },
      },
    }) as Tensor;
    expect(() => writeSafetensors(file, new Map([...tensors, ['y', failing]]))).toThrow('gone');
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
    expect(readSafetensors(file).tensors.get('x')!.toArray()).toEqual([1]);
  });

  test('an earlier file is replaced', () => {
    writeSafetensors(file, new Map([['x', tensor([1, 2, 3])]]));
    writeSafetensors(file, new Map([['y', tensor([4])]]));
    expect([...readSafetensors(file).tensors.keys()]).toEqual(['y']);
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
  });

  test.each<[string, () => void, string | RegExp]>([
    ['an empty file', () => writeFileSync(file, ''), 'at least 8 bytes, got 0'],
    ['a header longer than the file', () => write({}, 0, 500n), 'expected a header of 500 bytes, got a file of 10'],
    ['a header beyond the limit', () => write({}, 0, 1n << 60n), 'expected a header of at most 100000000 bytes, got 1152921504606846976'],
    ['no JSON', () => write('{"x": '), 'expected a JSON header'],
    ['bytes that are no UTF-8', () => write('{}', Buffer.from([0xff, 0xfe]), 4n), 'expected a header in UTF-8'],
    ['a list', () => write([]), 'expected a header that is a JSON object, got an array of 0'],
    ['null', () => write('null'), 'expected a header that is a JSON object, got null'],
    ['spaces first', () => write('  {}'), 'expected a header that is a JSON object'],
    ['an entry that is no object', () => write({ x: 3 }), "tensor 'x': expected an object with dtype, shape and data_offsets, got 3"],
    [
      'an unknown dtype',
      () => write({ x: entry([1], 0, 8, 'I64') }, 8),
      "tensor 'x': expected dtype F32, F64, BF16, I32, U8, BOOL, F16, got 'I64'",
    ],
    ['no dtype', () => write({ x: { shape: [1], data_offsets: [0, 4] } }, 4), "tensor 'x': expected dtype"],
    ['a dtype named like a method', () => write({ x: entry([1], 0, 4, 'constructor') }, 4), "got 'constructor'"],
    ['a negative extent', () => write({ x: entry([-1], 0, 4) }, 4), "tensor 'x': expected shape, an array of non-negative integers"],
    ['a fractional extent', () => write({ x: entry([0.5], 0, 2) }, 2), "tensor 'x': expected shape"],
    ['a shape too large to count', () => write({ x: entry([2 ** 40, 2 ** 40], 0, 4) }, 4), "tensor 'x': expected shape"],
    [
      'one offset',
      () => write({ x: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 4),
      "tensor 'x': expected data_offsets, two non-negative integers",
    ],
    ['offsets that do not fit the shape', () => write({ x: entry([2], 0, 4) }, 4), "tensor 'x': expected 8 bytes for F32 [2], got 4"],
    ['offsets that run backwards', () => write({ x: entry([1], 8, 4) }, 8), "tensor 'x': expected 4 bytes for F32 [1], got -4"],
    [
      'tensors that overlap',
      () => write({ x: entry([2], 0, 8), y: entry([2], 4, 12) }, 12),
      "tensor 'y': expected data from byte 8, got 4",
    ],
    ['a gap', () => write({ x: entry([1], 0, 4), y: entry([1], 8, 12) }, 12), "tensor 'y': expected data from byte 4, got 8"],
    ['too few bytes', () => write({ x: entry([2], 0, 8) }, 7), 'expected 8 bytes of data, got 7'],
    ['too many bytes', () => write({ x: entry([2], 0, 8) }, 9), 'expected 8 bytes of data, got 9'],
    ['metadata that is no text', () => write({ __metadata__: { step: 3 } }), 'expected __metadata__ of strings'],
    ['a BOOL of 2', () => write({ x: entry([1], 0, 1, 'BOOL') }, Uint8Array.of(2)), "tensor 'x': expected bytes 0 and 1 for BOOL"],
  ])('refuses %s', (_, make, message) => {
    make();
    const before = memory().bytes;
    const failure = (() => {
      try {
        readSafetensors(file);
      } catch (error) {
        return error as Error;
      }
      return null;
    })();
    expect(failure).toBeInstanceOf(DataError);
    expect(failure!.message).toContain(file);
    expect(failure!.message).toEqual(expect.stringMatching(typeof message === 'string' ? escaped(message) : message));
    expect(memory().bytes).toBe(before);
  });

  test('a file that is not there is named', () => {
    expect(() => readSafetensors(file)).toThrow(`${file}: cannot be opened`);
  });

  test('the reserved name is refused', () => {
    expect(() => writeSafetensors(file, new Map([['__metadata__', tensor([1])]]))).toThrow('a name other than __metadata__');
    expect(readdirSync(folder)).toEqual([]);
  });
});

function escaped(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
}
