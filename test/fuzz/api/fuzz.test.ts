/** A short run of `npm run fuzz`, and that the fuzzer reaches all there is and sees what is wrong. */
import * as vantage from '../../../src';
import { native } from '../../../src/native';
import { caseOf } from './cases';
import { fuzz } from './fuzz';
import { partNames, parts } from './recipes';
import type { Usage } from './run_case';

const valid = partNames.flatMap((part) => parts[part].valid);
const all = partNames.flatMap((part) => [...parts[part].valid, ...((parts[part] as { refused?: readonly string[] }).refused ?? [])]).join('\n');

const summary = (findings: readonly { kind: string; text: string; where: string; source: string }[]) => findings.map(({ kind, text, where, source }) => `${kind} ${where}: ${text}: ${source}`);

describe('what is called', () => {
  test('every export', () => {
    const missing = Object.keys(vantage).filter((name) => !all.includes(`v.${name}`) && !all.includes(`"${name}"`));
    expect(missing).toEqual([]);
  });

  test('every method of a tensor', () => {
    // What TypeScript calls private.
    const inside = ['constructor', 'with', 'unary', 'reduced', 'extreme'];
    const missing = Object.getOwnPropertyNames(vantage.Tensor.prototype).filter((name) => !inside.includes(name) && !new RegExp(`\\.${name}\\b`).test(all));
    expect(missing).toEqual([]);
  });

  test('every function of the addon', () => {
    expect(Object.keys(native()).filter((name) => !all.includes(`n.${name}(`))).toEqual([]);
  });
});

/** Each process takes seconds to start: what it runs is put together. `npm run fuzz` makes the calls by the million. */
describe('what is found', () => {
  test('nothing in calls that work before they are changed', async () => {
    const { calls, threw, findings } = await fuzz({ seed: 0, count: valid.length, sources: valid, shrink: false });
    expect({ calls, threw, findings: summary(findings) }).toEqual({ calls: valid.length, threw: 0, findings: [] });
  }, 120_000);

  test('what is kept, errors without a message or not of ours, memory, the death of the process, and what comes behind it', async () => {
    const sources = [
      '(globalThis.kept ??= []).push(T([2, 3]).keep())',
      '(() => { throw 3; })()',
      'v.tidy(() => v.TensorError.prototype.constructor && Promise.reject(new Error("lost")) && 1)',
      '(globalThis.filled = Buffer.alloc(2200 * 2**20, 1)).length',
      'T([1]).item()',
      'process.abort()',
      '(() => { throw new Error(""); })()',
    ];
    const { findings } = await fuzz({ seed: 0, count: sources.length, sources, shrink: false });
    expect(findings.map(({ kind }) => kind).sort()).toEqual(['bad error', 'bad error', 'crash', 'leak', 'memory', 'unhandled rejection']);
    expect(findings.find(({ kind }) => kind === 'crash')!.source).toBe('process.abort()');
  }, 120_000);

  test('with as little in it as possible', async () => {
    const source = '[T([2, 3]).add(1), (() => { throw 3; })(), [1, 2, 3], { a: 1 }].length';
    const { findings: [finding] } = await fuzz({ seed: 0, count: 1, sources: [source] });
    expect(finding!.source.length).toBeLessThan(source.length - 10);
    expect(finding!.source).toContain('throw 3');
  }, 120_000);

  test('nothing in 400 drawn calls, which leave everything as it was', async () => {
    const usages: number[] = [];
    const onUsage = ({ device }: Usage) => usages.push(device.tensors, device.buffers, device.bytes);
    const { calls, programs, findings } = await fuzz({ seed: 1, count: 400, shrink: false, onUsage });
    expect(summary(findings)).toEqual([]);
    expect(calls).toBe(400);
    expect(programs).toBeGreaterThan(370);
    expect(usages.slice(3)).toEqual(usages.slice(0, 3));
  }, 120_000);
});

test('the same seed gives the same calls', () => {
  const calls = (seed: number) => Array.from({ length: 50 }, (_, i) => caseOf(null, seed, i));
  expect(calls(1)).toEqual(calls(1));
  expect(calls(1)).not.toEqual(calls(2));
});
