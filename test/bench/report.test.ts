import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { firstDifference } from '../../bench/check';
import { summary, takeTurns, takeTurnsOnDevice, type Effort } from '../../bench/measure';
import { duration, times } from '../../bench/report/format';
import { caption, fileName, readRecording, write, type Recording } from '../../bench/report/record';
import { svg } from '../../bench/report/svg';
import { table } from '../../bench/report/table';
import type { Row } from '../../bench/row';

const same = (value: number) => ({ median: value, min: value, max: value });

const rows: Row[] = [
  {
    workload: 'gae/8x8',
    device: 'cpu',
    shape: [8, 8],
    dtype: 'float32',
    tokens: 64,
    seconds: same(2e-6),
    floorSeconds: 1e-6,
    floorRatio: 2,
    peers: { javascript: 9e-6, tfjs: 4e-3 },
    checked: true,
    call: same(3e-6),
    variants: { estimator: 4e-6 },
    native: same(1.5e-6),
    hot: { seconds: 1e-6, floorSeconds: 5e-7, floorRatio: 2, peers: { javascript: 8e-6 } },
  },
  {
    workload: 'a<b & "c"',
    device: 'cpu',
    shape: [4],
    dtype: 'float32',
    tokens: 4,
    seconds: same(1e-3),
    floorSeconds: 5e-3,
    floorRatio: 0.2,
    peers: {},
    checked: true,
    call: same(2e-3),
  },
];

/** Tags that open and close in order, attributes in quotes, no stray characters of markup. */
function expectWellFormed(text: string): void {
  const open: string[] = [];
  const outside = text.replace(/<(\/?)([a-z]+)((?:\s+[a-zA-Z][\w:-]*="[^"<]*")*)\s*(\/?)>/g, (_, closes: string, name: string, __: string, empty: string) => {
    if (closes) expect(open.pop()).toBe(name);
    else if (!empty) open.push(name);
    return '';
  });
  expect(open).toEqual([]);
  expect(outside).not.toMatch(/[<>]/);
  expect(outside.replace(/&(amp|lt|gt|quot);/g, '')).not.toContain('&');
}

describe('svg', () => {
  const picture = svg(rows, 'a CPU & a day');

  it('is well-formed, without scripts or references, for light and dark', () => {
    expectWellFormed(picture);
    expect(picture.startsWith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ')).toBe(true);
    expect(picture).not.toMatch(/<script|href|url\(|\bon[a-z]+="/i);
    expect(picture).toContain('@media (prefers-color-scheme: dark)');
  });

  it('names every workload and contender, escaped, and stays within its frame', () => {
    for (const text of ['gae/8x8', 'a&lt;b &amp; &quot;c&quot;', '>javascript<', '>tfjs<', '>estimator<', 'a CPU &amp; a day']) expect(picture).toContain(text);
    const [, width] = /viewBox="0 0 (\d+)/.exec(picture)!;
    const positions = [...picture.matchAll(/(?:cx="|translate\()([\d.-]+)/g)].map(([, x]) => Number(x));
    expect(positions.length).toBeGreaterThan(6);
    for (const x of positions) expect(x >= 0 && x <= Number(width)).toBe(true);
  });

  it('draws the time on a GPU as one more', () => {
    const there = svg([{ ...rows[0]!, device: 'cuda', onDevice: { seconds: 1.2e-6 } }], '');
    expectWellFormed(there);
    expect(there).toContain('<title>on the GPU: 1.20× the floor, 0.60× ours</title>');
  });

  it('draws the same row further right where it is slower', () => {
    const at = (ratio: number) => Number(/<circle[^>]*cx="([\d.]+)" cy="108\.0"/.exec(svg([{ ...rows[0]!, floorRatio: ratio }], ''))![1]);
    expect(at(8)).toBeGreaterThan(at(2));
  });
});

describe('table', () => {
  it('has a column for each who took part, and how many times as long each takes', () => {
    const lines = table(rows).split('\n');
    expect(lines[0]!.trim().split(/\s{2,}/)).toEqual(['workload', 'ours', 'floor', '×floor', 'one call', 'native', 'estimator', 'javascript', 'tfjs']);
    expect(lines[2]!.trim().split(/\s{2,}/)).toEqual(['gae/8x8', '2.00 µs', '1.00 µs', '2.00×', '3.00 µs', '1.50 µs (0.75×)', '4.00 µs (2.00×)', '9.00 µs (4.50×)', '4.00 ms (2000×)']);
    expect(lines[3]).toContain('in the cache');
    expect(lines).toHaveLength(5);
  });

  it('has what a GPU needs for itself, over the floor', () => {
    const onDevice = { seconds: 1.2e-6, native: 1.1e-6, variants: {}, peers: {} };
    const lines = table([{ ...rows[0]!, device: 'cuda', onDevice, hot: { ...rows[0]!.hot!, onDevice: { native: 6e-7 } } }, rows[1]!]).split('\n');
    expect(lines[0]!.trim().split(/\s{2,}/).slice(4, 8)).toEqual(['one call', 'on the GPU', 'kernels there', 'native']);
    expect(lines[2]!.trim().split(/\s{2,}/).slice(4, 8)).toEqual(['3.00 µs', '1.20 µs (1.20×)', '1.10 µs (1.10×)', '1.50 µs (0.75×)']);
    expect(lines[3]).toContain('600 ns (1.20×)');
    expect(lines).toHaveLength(5);
  });

  it.each([[1.234e-8, '12.3 ns'], [9.99e-7, '999 ns'], [4.56e-5, '45.6 µs'], [0.1, '100 ms'], [0.09996, '100 ms'], [12, '12.0 s']])(
    'writes %p as %p',
    (seconds, text) => expect(duration(seconds)).toBe(text),
  );
  it('writes ratios with three digits', () => expect([0.871, 12.34, 451.2].map(times)).toEqual(['0.87×', '12.3×', '451×']));
});

describe('recordings', () => {
  const recording: Recording = {
    date: '2026-01-02',
    commit: 'abc',
    device: 'cpu',
    load: 0.2,
    rows,
    machine: { cpu: 'A CPU', cores: 2, memoryGiB: 4, gpu: null, driver: null, node: 'v20', platform: 'linux x64' },
  };

  it('come back from their file; anything else is refused by name', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vantage-bench-test-'));
    try {
      const [path, wrong] = [join(folder, 'new/a.json'), join(folder, 'b.json')];
      write(path, JSON.stringify(recording));
      expect(readRecording(path)).toEqual(recording);
      write(wrong, JSON.stringify(rows));
      expect(() => readRecording(wrong)).toThrow(`${wrong}: expected a recording made with --record, got an array`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('say where and when', () => {
    expect(caption(recording)).toBe('A CPU, 2 cores, 2026-01-02, commit abc');
    expect(caption({ ...recording, commit: null, load: 3.4 })).toBe('A CPU, 2 cores, 2026-01-02, others at work (load 3.4)');
    const onGpu: Recording = { ...recording, device: 'cuda', programs: 'auto', machine: { ...recording.machine, gpu: 'A GPU' } };
    expect(caption(onGpu)).toBe('A GPU, 2026-01-02, commit abc');
    expect(caption({ ...onGpu, programs: 'interpret' })).toBe('A GPU, programs: interpret, 2026-01-02, commit abc');
    expect([recording, onGpu, { ...onGpu, programs: 'compile' }].map(fileName)).toEqual(['2026-01-02-a-cpu.json', '2026-01-02-a-gpu.json', '2026-01-02-a-gpu-compile.json']);
  });
});

describe('check', () => {
  const expected = { x: [1, 1000, 0] };
  const tolerance = { relative: 1e-5, absolute: 1e-6 };
  it('takes what is within the tolerance', () => {
    expect(firstDifference({ x: [1.00001, 1000.009, 9e-7] }, expected, tolerance)).toBeNull();
  });
  it.each([
    [{ x: [1.00003, 1000, 0] }, 'x[0]: expected 1, got 1.00003'],
    [{ x: [1, NaN, 0] }, 'x[1]: expected 1000, got NaN'],
    [{ x: [1, 1000, 2e-6] }, 'x[2]: expected 0, got 0.000002'],
    [{ x: [1] }, 'x: expected 3 values, got 1'],
    [{ y: [1, 1000, 0] }, "no output 'x'"],
  ])('refuses %p', (results, message) => expect(firstDifference(results as never, expected, tolerance)).toBe(message));
});

describe('takeTurns', () => {
  const never = (name: string, error: Error): never => {
    throw new Error(`${name}: ${error.message}`);
  };
  const effort: Effort = { rounds: 4, sample: 0.01, warm: 0.01, warmJavaScript: 0.02, budget: 30, least: 2 };

  it('gives everyone a sample a round, in turn', async () => {
    const order: string[] = [];
    const fake = (name: string, seconds: number[]) => ({
      rotate: false,
      calls: 1,
      time: async () => {
        order.push(name);
        return seconds.shift() ?? 1;
      },
    });
    // Three calls warm each up.
    const result = await takeTurns({ a: fake('a', [9, 9, 9, 4, 1, 3, 2]), b: fake('b', [9, 9, 9, 7, 7, 7, 7]) }, effort, never);
    expect(order.join('')).toBe('aaabbbabababab');
    expect(result).toEqual({ a: { median: 2.5, min: 1, max: 4 }, b: { median: 7, min: 7, max: 7 } });
  });

  it('lets who is slow leave early, with the samples that are the least', async () => {
    let calls = 0;
    await takeTurns({ slow: { rotate: false, time: async () => (calls++, 40) } }, effort, never);
    expect(calls).toBe(1 + 2);
  });

  it('fills a sample with calls of what is fast', async () => {
    const asked: number[] = [];
    await takeTurns({ fast: { rotate: true, time: async (calls, rotate) => (asked.push(rotate ? calls : -1), 0.001) } }, effort, never);
    expect(asked).toEqual([1, 10, 10, 10, 10, 10, 10]);
    asked.length = 0;
    await takeTurns({ slow: { rotate: true, inJavaScript: true, time: async (calls) => (asked.push(calls), 0.001) } }, effort, never);
    expect(asked).toEqual([1, 10, 20, 10, 10, 10, 10]);
  });

  it('goes on without who throws, and tells', async () => {
    let calls = 0;
    const failures: string[] = [];
    const broken = {
      rotate: false,
      time: async () => {
        if (++calls === 4) throw new Error('out of memory');
        return 1;
      },
    };
    const result = await takeTurns({ broken, fine: { rotate: false, time: async () => 1 } }, effort, (name, error) => failures.push(`${name}: ${error.message}`));
    expect([Object.keys(result), failures, calls]).toEqual([['fine'], ['broken: out of memory'], 4]);
  });

  it('times on the device as many calls as are queued in time, and leaves out who is not', async () => {
    const asked: number[][] = [[], [], []];
    const fake = (index: number, seconds: number, samples: number[]) => ({ rotate: true, seconds, timeOnDevice: async (calls: number) => (asked[index]!.push(calls), samples.shift()!) });
    const failures: string[] = [];
    const timed = {
      fine: fake(0, 1e-4, [3, NaN, 1, 2, 2]),
      late: fake(1, 1, [NaN, NaN, 1, 1, 1]),
      short: fake(2, 1e-9, [5, 5, 5, 5, 5]),
      broken: {
        rotate: false,
        seconds: 1,
        timeOnDevice: async () => {
          throw new Error('no clock');
        },
      },
    };
    expect(await takeTurnsOnDevice(timed, 5, (name, error) => failures.push(`${name}: ${error.message}`))).toEqual({ fine: 2, short: 5 });
    expect(asked).toEqual([[10, 10, 10, 10, 10], [1, 1], [32, 32, 32, 32, 32]]);
    expect(failures).toEqual(['broken: no clock']);
  });

  it('takes the middle of an odd number of samples', () => expect(summary([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 }));
});
