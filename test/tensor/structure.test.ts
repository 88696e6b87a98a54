/** The numbers by which plans are found. */
import { constant, Node, type Attributes, type Op } from '../../src/tensor/graph';
import { Words, writeStructure } from '../../src/tensor/structure';

function written(...values: number[]): string {
  const words = new Words();
  words.putAll(values);
  return words.copy().join();
}

function structure(op: Op, attributes: Attributes, dtype: Node['dtype'] = 'float32', shape = [2, 3]): string {
  const words = new Words();
  writeStructure(new Node(op, dtype, shape, [], attributes), words);
  return words.copy().join();
}

describe('words', () => {
  test('tell numbers apart that 32 bits do not', () => {
    const numbers = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 40, 2 ** 53 - 1, 0.5];
    expect(new Set(numbers.map((value) => written(value))).size).toBe(numbers.length);
    const words = new Words();
    words.putExactly(0);
    const zero = words.copy();
    words.clear();
    words.putExactly(-0);
    expect(words.equals(zero)).toBe(false);
  });

  test('a sequence equals its copy, and no shorter, longer or changed one', () => {
    const words = new Words();
    for (let i = 0; i < 5000; i++) words.put(i);
    const copy = words.copy();
    const hash = words.hash();
    expect(words.equals(copy)).toBe(true);
    words.put(0);
    expect(words.equals(copy)).toBe(false);
    words.clear();
    for (let i = 0; i < 5000; i++) words.put(i === 4000 ? 0 : i);
    expect(words.equals(copy)).toBe(false);
    expect(words.hash()).not.toBe(hash);
  });
});

test('what a node computes is told by all that it is made of', () => {
  const kernel = { name: 'matmul', outputs: [{ shape: [2, 3], dtype: 'float32' as const }], scalars: [], attributes: [1] };
  const all = [
    structure('add', {}),
    structure('sub', {}),
    structure('add', {}, 'float64'),
    structure('add', {}, 'float32', [3, 2]),
    structure('add', {}, 'float32', [6]),
    structure('view', { region: { offset: 0, strides: [3, 1] } }),
    structure('view', { region: { offset: 1, strides: [3, 1] } }),
    structure('view', { region: { offset: 0, strides: [1, 2] } }),
    structure('view', { region: { offset: 2 ** 32, strides: [3, 1] } }),
    structure('reduce', { reduction: 'sum', axes: [0] }),
    structure('reduce', { reduction: 'sum', axes: [1] }),
    structure('reduce', { reduction: 'sum', axes: [0, 1] }),
    structure('reduce', { reduction: 'maximum', axes: [0] }),
    structure('scan', { reverse: false }),
    structure('scan', { reverse: true }),
    structure('scan_prev', { reverse: false }),
    structure('output', { index: 0 }),
    structure('output', { index: 1 }),
    structure('assemble', { regions: [], fill: true }),
    structure('assemble', { regions: [], fill: false }),
    ...[
      {},
      { name: 'softmax' },
      { attributes: [0] },
      { attributes: [] },
      { outputs: [] },
      { outputs: [{ shape: [3, 2], dtype: 'float32' as const }] },
      { outputs: [{ shape: [2, 3], dtype: 'float64' as const }] },
      { aliases: [0] },
      { reuses: [0] },
      { reuses: [null] },
      { optional: [0] },
      { last: true },
    ].map((change) => structure('kernel', { kernel: { ...kernel, ...change } })),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(structure('kernel', { kernel: { ...kernel, scalars: [1] } })).toBe(structure('kernel', { kernel }));
});

test('the number of inputs is told, which they are is not', () => {
  const of = (...inputs: Node[]) => {
    const words = new Words();
    writeStructure(new Node('assemble', 'float32', [2], inputs, { regions: [], fill: false }), words);
    return words.copy().join();
  };
  const [a, b] = [constant(1, 'float32'), constant(2, 'float32')];
  expect(new Set([of(), of(a), of(a, b), of(a, b, a)]).size).toBe(4);
  expect(of(b, a)).toBe(of(a, b));
});

test('loops differ in their arithmetic, the numbers in it, and what it reads', () => {
  const [input, other, state] = [0, 1, 2].map(() => new Node('symbol', 'float32', [2], [], {})) as [Node, Node, Node];
  const of = (next: Node, reverse = false) => structure('loop', { reverse, loop: { inputs: [input, other], states: [state], next: [next] } });
  const node = (op: Op, ...inputs: Node[]) => new Node(op, 'float32', [2], inputs, {});
  const number = (value: number) => constant(value, 'float32', [2]);
  const all = [
    of(node('mul', state, input)),
    of(node('mul', input, state)),
    of(node('mul', state, other)),
    of(node('mul', state, state)),
    of(node('add', state, input)),
    of(node('mul', state, input), true),
    ...[0, -0, 1, 1.5].map((value) => of(node('mul', state, number(value)))),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(of(node('mul', state, number(1.5)))).toBe(all.at(-1));
});
