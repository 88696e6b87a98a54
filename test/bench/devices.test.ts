/** The benchmark on the default device: without a GPU the CPU, and the emulated GPU where that is the default. */
import type { Effort } from '../../bench/measure';
import { buildHarness, type Harness } from '../../bench/native';
import * as reference from '../../bench/reference';
import { runWorkload, type Arena } from '../../bench/suite';
import { float32, type HostArray, type Workload } from '../../bench/workload';
import { affineScan, defaultDevice, memory, scan } from '../../src/tensor';

const device = defaultDevice();
const effort: Effort = { rounds: 2, sample: 0.0001, warm: 0, warmJavaScript: 0, budget: 0.01, least: 1 };
const arena: Arena = { device, effort, native: false, harness: { copy: async (bytes: number) => bytes / 1e10 } as unknown as Harness, note: () => undefined };

const [rows, time] = [6, 8];
/** Numbers that repeat with a period that is no part of a row, and with one that is the whole. */
const repeating = (dtype: 'float32' | 'bfloat16', data: HostArray['data']): HostArray => ({ dtype, shape: [rows, time], data });

const tiny: Workload = {
  name: 'tiny',
  shape: [rows, time],
  dtype: 'float32',
  tokens: rows * time,
  bytesPerToken: 12,
  outputs: { out: float32(rows, time) },
  inputs: () => ({ a: repeating('float32', Float32Array.of(0.5)), b: repeating('float32', Float32Array.of(1, -2, 3, 4, 5, -6, 7)) }),
  reference: (inputs, checked) => ({ out: reference.affineScan(inputs, [checked, time]) }),
  ours: ({ a, b }) => ({ out: affineScan(a!, b!, { reverse: true }) }),
  variants: { scan: ({ a, b }) => ({ out: scan([a!, b!], { reverse: true }, (y, [a, b]) => a.mul(y).add(b)) }) },
};

test.each([undefined, 4, 3])('a workload whose inputs repeat, %p rows checked', async (checkedRows) => {
  const before = memory().bytes;
  const { row, failures } = await runWorkload({ ...tiny, ...(checkedRows && { checkedRows }) }, arena);
  expect(failures).toEqual([]);
  expect(Object.keys(row!.variants!)).toEqual(['scan']);
  expect(memory().bytes).toBe(before);
  if (device === 'cpu') expect(row!.onDevice).toBeUndefined();
  else {
    expect(row!.onDevice!.seconds).toBeGreaterThan(0);
    expect(row!.onDevice!.variants!.scan).toBeGreaterThan(0);
    expect(row!.hot!.onDevice!.seconds).toBeGreaterThan(0);
  }
});

test('bfloat16 inputs arrive as the bits they are', async () => {
  const bits = Uint16Array.of(0x3f80, 0xbf00, 0x4049);
  const copied: Workload = {
    ...tiny,
    inputs: () => ({ x: repeating('bfloat16', bits) }),
    reference: () => ({ out: Float64Array.from({ length: rows * time }, (_, i) => [1, -0.5, 3.140625][i % 3]!) }),
    ours: ({ x }) => ({ out: x!.cast('float32') }),
    variants: {},
  };
  expect((await runWorkload(copied, arena)).failures).toEqual([]);
});

test('a harness that is not where VANTAGE_BENCH_HARNESS says is refused', () => {
  process.env.VANTAGE_BENCH_HARNESS = '/nowhere/vantage_bench';
  try {
    expect(buildHarness).toThrow('VANTAGE_BENCH_HARNESS: expected the path of a built vantage_bench, got /nowhere/vantage_bench');
    process.env.VANTAGE_BENCH_HARNESS = process.execPath;
    expect(buildHarness()).toBe(process.execPath);
  } finally {
    delete process.env.VANTAGE_BENCH_HARNESS;
  }
});
