/** A short run of `npm run fuzz`, and that the fuzzer reaches all there is and sees what is wrong. */
import * as vantage from '../../../src';
import { native } from '../../../src/native';
import { caseOf } from './cases';
import { fuzz } from './fuzz';
import { partNames, parts } from './recipes';

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

  test('calls that work before they are changed', async () => {
    const { calls, threw, findings } = await fuzz({ seed: 0, count: valid.length, sources: valid, shrink: false });
    expect({ calls, threw, findings: summary(findings) }).toEqual({ calls: valid.length, threw: 0, findings: [] });
  }, 120_000);
});

describe('what is found', () => {
  const kinds = async (sources: readonly string[], shrink = false) => (await fuzz({ seed: 0, count: sources.length, sources, shrink })).findings;

  test('the death of the process, and what comes behind it', async () => {
    const findings = await kinds(['T([1]).item()', 'process.abort()', '(() => { throw new Error(""); })()']);
    expect(findings.map(({ kind }) => kind)).toEqual(['crash', 'bad error']);
    expect(findings[0]!.source).toBe('process.abort()');
  }, 120_000);

  test('what is kept, errors without a message or not of ours, memory', async () => {
    const sources = [
      '(globalThis.kept ??= []).push(T([2, 3]).keep())',
      '(() => { throw 3; })()',
      'v.tidy(() => v.TensorError.prototype.constructor && Promise.reject(new Error("lost")) && 1)',
      '(globalThis.filled = Buffer.alloc(2200 * 2**20, 1)).length',
    ];
    expect((await kinds(sources)).map(({ kind }) => kind).sort()).toEqual(['bad error', 'leak', 'memory', 'unhandled rejection']);
  }, 120_000);

  test('with as little in it as possible', async () => {
    const source = '[T([2, 3]).add(1), (globalThis.kept ??= []).push(T([4, 4]).keep()), [1, 2, 3], { a: 1 }].length';
    const [finding] = await kinds([source], true);
    // How far it comes in its time depends on the machine.
    expect(finding!.source.length).toBeLessThan(source.length - 10);
    expect(finding!.source).toContain('globalThis.kept');
  }, 120_000);
});

test('the same seed gives the same calls', () => {
  const calls = (seed: number) => Array.from({ length: 50 }, (_, i) => caseOf(null, seed, i));
  expect(calls(1)).toEqual(calls(1));
  expect(calls(1)).not.toEqual(calls(2));
});

test.each([1, 2])('nothing breaks: 700 calls of seed %i', async (seed) => {
  const { calls, programs, findings } = await fuzz({ seed, count: 700, shrink: false });
  expect(summary(findings)).toEqual([]);
  expect(calls).toBe(700);
  expect(programs).toBeGreaterThan(650);
}, 240_000);
