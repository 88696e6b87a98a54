import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Effort } from '../../bench/measure';
import type { Harness } from '../../bench/native';
import type { PythonPeers } from '../../bench/peers/python';
import type { Row } from '../../bench/row';
import { reasonToSkip, runWorkload, type Arena } from '../../bench/suite';
import { checkedRanges, checkedRowsOf, floorBytes, product, rowsOf, type Workload } from '../../bench/workload';
import { suite } from '../../bench/workloads';
import { nativeDescription } from '../../src/native';
import { everyToken, flags, ragged, uniform, uniformBfloat16 } from '../../bench/inputs';
import { readsTypeScript } from '../programs';

const root = join(__dirname, '../..');

const effort: Effort = { rounds: 2, sample: 0.0001, warm: 0, warmJavaScript: 0, budget: 0.01, least: 1 };
const arena: Arena = { device: 'cpu', effort, native: false, harness: { copy: async (bytes: number) => bytes / 1e10 } as unknown as Harness, note: () => undefined };

/** Rows as `--json` promises them. */
function expectRow(row: Row): void {
  expect(row).toMatchObject({
    workload: expect.any(String),
    device: 'cpu',
    dtype: expect.any(String),
    tokens: expect.any(Number),
    floorSeconds: expect.any(Number),
    floorRatio: expect.any(Number),
    seconds: { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number) },
    checked: true,
  });
  expect(row.shape.every(Number.isInteger)).toBe(true);
  const { median, min, max } = row.seconds;
  expect(min > 0 && min <= median && median <= max).toBe(true);
  expect(row.floorSeconds).toBeGreaterThan(0);
  expect(row.floorRatio / (median / row.floorSeconds)).toBeCloseTo(1, 4);
  for (const seconds of Object.values(row.peers)) expect(seconds).toBeGreaterThan(0);
}

describe('the suite', () => {
  it('has names of its own for all workloads, each of one of the families', () => {
    const names = suite.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const families = [
      'gae',
      'gae-whiten',
      'vtrace',
      'discounted-return',
      'grpo',
      'rloo',
      'token-log-probs',
      'logits-loss',
      'affine-scan',
      'whiten',
      'clipped-loss',
      'custom',
      'estimator',
      'policy-loss',
    ];
    expect([...new Set(names.map((name) => name.split('/')[0]))].sort()).toEqual(families.sort());
  });

  it('counts no fewer bytes in a floor than the outputs have', () => {
    for (const workload of suite) {
      const written = Object.values(workload.outputs).reduce((sum, { shape }) => sum + 2 * product(shape), 0);
      expect([workload.name, floorBytes(workload) > written]).toEqual([workload.name, true]);
    }
  });

  it('leaves out what does not fit into memory', () => {
    const workload = suite.find(({ name }) => name === 'affine-scan/12288x65536')!;
    expect(reasonToSkip(workload, 'cpu', 2 ** 30)).toMatch(/^needs about \d+ GiB, of which 1 are free$/);
    expect(reasonToSkip(workload, 'cpu', 2 ** 40)).toBeNull();
    expect(reasonToSkip(workload, 'cuda', 2 ** 35, 2 ** 34)).toMatch(/^needs about \d+ GiB on the GPU, of which 16 are free$/);
    expect(reasonToSkip(workload, 'cuda', 2 ** 35, 2 ** 37)).toBeNull();
  });
});

it('bench/results/README.md says of every kernel where it was last verified on a GPU', () => {
  const text = readFileSync(join(root, 'bench/results/README.md'), 'utf8');
  const listed = [...text.matchAll(/^\| `(\w+)` \| \S.* \|$/gm)].map(([, name]) => name);
  const kernels = nativeDescription().kernels.map(({ name }) => name);
  expect(listed.filter((name) => kernels.includes(name!))).toEqual(kernels);
});

describe('inputs', () => {
  it('are the same each time, differ by seed, and lie where they should', () => {
    expect(uniform(1, [3, 100], -2, 3)).toEqual(uniform(1, [3, 100], -2, 3));
    expect(uniform(1, [300])).not.toEqual(uniform(2, [300]));
    const { data } = uniform(1, [100_000], -2, 3);
    expect(data.every((x) => x >= -2 && x < 3)).toBe(true);
    expect((data as Float32Array).reduce((a, b) => a + b, 0) / data.length).toBeCloseTo(0.5, 1);
  });
  it('are no more than a period, which repeats to the end', () => {
    const shape = [3, 1_000_000];
    // Jest's own comparison takes seconds for so many numbers.
    const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    for (const array of [uniform(1, shape), uniformBfloat16(1, shape, -1, 1), flags(1, shape, 0.5), everyToken(shape), ragged([4, 8])]) {
      expect(array.data.length).toBeLessThan(2 ** 20);
      const whole = rowsOf(array);
      expect(whole.length).toBe(product(array.shape));
      expect(whole.every((value, i) => value === array.data[i % array.data.length])).toBe(true);
      const [first, last] = [whole.slice(0, whole.length / array.shape[0]!), whole.slice(-whole.length / array.shape[0]!)];
      const rows = rowsOf(array, [[0, 1], [array.shape[0]! - 1, array.shape[0]!]]);
      expect(bytes(rows.slice(0, first.length)).equals(bytes(first))).toBe(true);
      expect(bytes(rows.slice(first.length)).equals(bytes(last))).toBe(true);
    }
  });
  it('pad rows on the right', () => {
    const { data } = ragged([8, 16], 0.5);
    for (let i = 0; i < data.length; i++) if (i % 16 > 0 && data[i] === 1) expect(data[i - 1]).toBe(1);
    expect(data.includes(0)).toBe(true);
    expect(rowsOf(everyToken([4]))).toEqual(new Uint8Array([1, 1, 1, 1]));
  });
});

describe('checked rows', () => {
  const workload = suite.find(({ name }) => name === 'gae/32768x8')!;

  it('are the first and the last ones', () => {
    expect(checkedRanges({ ...workload, checkedRows: 5 })).toEqual([[0, 3], [32766, 32768]]);
    expect(checkedRanges({ ...workload, checkedRows: 32768 })).toBeUndefined();
    expect(rowsOf({ shape: [4, 2], data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }, [[0, 1], [3, 4]])).toEqual(Uint8Array.of(1, 2, 7, 8));
  });

  it('are all of what is quickly compared, and hold groups wholly', () => {
    expect(checkedRowsOf([16384, 512])).toBe(16384);
    expect(checkedRowsOf([8192, 4096])).toBe(2048);
    expect(checkedRowsOf([12288, 65536], 8)).toBe(128);
    expect(checkedRowsOf([2, 2 ** 25])).toBe(2);
  });

  it('are those that every contender gives and the reference is told of', async () => {
    const some = { ...workload, checkedRows: 6 };
    const { row, failures } = await runWorkload(some, arena);
    expect([failures, Object.keys(row!.peers)]).toEqual([[], ['javascript']]);
    // Wrong in the last row only.
    const wrong: Workload = { ...some, javascript: (inputs, out) => (workload.javascript!(inputs, out), (out.returns[out.returns.length - 3] += 1)) };
    expect((await runWorkload(wrong, arena)).failures).toEqual([expect.stringMatching(/^gae\/32768x8: javascript: returns\[45\]: expected /)]);
  });
});

describe('runWorkload', () => {
  const small = suite.find(({ name }) => name === 'gae/32768x8')!;

  it('gives a row with every contender that was right', async () => {
    const { row, failures } = await runWorkload(small, arena);
    expect(failures).toEqual([]);
    expectRow(row!);
    expect([Object.keys(row!.peers), Object.keys(row!.variants!)]).toEqual([['javascript'], ['estimator']]);
    expect(row!.floorSeconds).toBeCloseTo((17 * 32768 * 8) / 2e10, 8);
    expect(row!.hot!.seconds).toBeGreaterThan(0);
  });

  it('reports who is wrong, does not time it, and times the others', async () => {
    let calls = 0;
    const off: Workload = { ...small, javascript: (inputs, out) => (calls++, out.advantages.fill(0)) };
    const { row, failures } = await runWorkload(off, arena);
    expect(failures).toEqual([expect.stringMatching(/^gae\/32768x8: javascript: advantages\[\d+\]: expected /)]);
    expect(calls).toBe(1);
    expect(row!.peers).toEqual({});
  });

  it('goes on without a peer that ends, and reports a workload that cannot be set up', async () => {
    const load = async () => ({
      torch: {
        check: async () => {
          throw new Error('python3 ended');
        },
        time: async () => 1,
        dispose: () => undefined,
      },
    });
    const dying = {
      ...arena,
      python: {
        load,
        unload: async () => {
          throw new Error('python3 ended');
        },
      } as unknown as PythonPeers,
    };
    const { row, failures } = await runWorkload(small, dying);
    expect([Object.keys(row!.peers), failures, dying.python]).toEqual([['javascript'], ['gae/32768x8: torch: python3 ended'], undefined]);
    const unable: Workload = {
      ...small,
      inputs: () => {
        throw new RangeError('Array buffer allocation failed');
      },
    };
    expect(await runWorkload(unable, arena)).toEqual({ failures: ['gae/32768x8: stopped: Array buffer allocation failed'] });
  });

  it('gives no row where ours is wrong or throws', async () => {
    const wrong: Workload = { ...small, ours: (tensors) => ({ ...small.ours(tensors, {}), advantages: tensors.rewards! }) };
    expect(await runWorkload(wrong, arena)).toEqual({ failures: [expect.stringContaining('vantage: advantages[')] });
    const throwing: Workload = {
      ...small,
      ours: () => {
        throw new Error('not today');
      },
    };
    expect(await runWorkload(throwing, arena)).toEqual({ failures: ['gae/32768x8: vantage: not today'] });
  });
});

describe('npm run bench', () => {
  const bench = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [...readsTypeScript, 'bench/main.ts', ...args], { cwd: root, encoding: 'utf8' });
    return { status, stdout, stderr };
  };

  it('explains itself, lists its workloads, and refuses what it does not know', () => {
    expect(bench('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('--filter TEXT') });
    const { stdout } = bench('--list', '--filter', 'gae/1');
    expect(stdout.split('\n')).toEqual(expect.arrayContaining(['gae/1024x1024', 'gae/1x1048576', 'custom/gae/1024x1024']));
    expect(bench('--filter', 'nonsense')).toMatchObject({ status: 1, stderr: expect.stringContaining("got 'nonsense'. Workloads: gae/256x1024") });
    expect(bench('--device', 'tpu')).toMatchObject({ status: 1, stderr: expect.stringContaining("--device: expected cpu or cuda, got 'tpu'") });
    expect(bench('--fast').status).toBe(1);
  }, 60_000);

  it('runs with the native harness, and writes rows and a picture', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vantage-bench-test-'));
    try {
      const [json, picture] = [join(folder, 'rows.json'), join(folder, 'rows.svg')];
      const { status, stdout, stderr } = bench('--filter', 'token-log-probs/64x32000', '--quick', '--native', '--no-peers', '--json', json, '--svg', picture);
      expect([status, stderr]).toEqual([0, expect.stringContaining(`1 rows; wrote ${json}, ${picture}`)]);
      expect(stdout).toContain('token-log-probs/64x32000-bf16');
      const rows = JSON.parse(readFileSync(json, 'utf8')) as Row[];
      expect(rows).toHaveLength(1);
      expectRow(rows[0]!);
      expect(rows[0]!.native!.median).toBeGreaterThan(0);
      expect(readFileSync(picture, 'utf8')).toContain('token-log-probs/64x32000-bf16');
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 600_000);
});
