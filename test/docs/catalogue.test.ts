/** docs/algorithms.md names whatever is registered, with the defaults of its options; docs/estimators.md says what each option of an estimator means. */
import { join } from 'node:path';
import {
  advantageInputs,
  computeAdvantages,
  conventionNames,
  getAdvantageEstimator,
  getPolicyLoss,
  klEstimators,
  listAdvantageEstimators,
  listPolicyLosses,
  lossReductions,
  TokenPolicyLoss,
} from 'vantage-rl';
import { Registry } from '../../src/registry';
import { read, root } from './markdown';

const page = read(join(root, 'docs/algorithms.md'));
const [, estimators, losses] = /^## Advantage estimators([\s\S]*)^## Policy losses([\s\S]*?)^## /m.exec(page)!;

/** Options with their values, `name: value`, and whole sets of them, *name*, in the order in which they stand; later ones win. */
function optionsIn(text: string, sets: ReadonlyMap<string, object>): Record<string, unknown> {
  return [...text.matchAll(/\*(\S+?)\*|`(\w+): ([^`]+)`/g)].reduce((options, [, set, name, value]) => {
    if (set === undefined) return { ...options, [name!]: value === 'undefined' ? undefined : (JSON.parse(value!.replaceAll("'", '"')) as unknown) };
    if (!sets.has(set)) throw new Error(`'${set}' is no set of options that was named before`);
    return { ...options, ...sets.get(set) };
  }, {});
}

/** `- *set*: options`, and below headings `Options: …` or `Options of a, b: …`, up to the end of the sentence. */
function documented(text: string): Map<string, Record<string, unknown>> {
  const found = new Map<string, Record<string, unknown>>();
  let heading: string[] = [];
  for (const [, title, set, ofSet, names, list] of text.matchAll(/^#### (.*)$|^- \*(\w+)\*: ([^\n]*)$|\bOptions(?: of ([^:]+?))?: ((?:[^.`]|`[^`]*`)*)\./gm)) {
    if (title !== undefined) heading = [...title.replace(/\(.*?\)/g, '').matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
    else if (set !== undefined) found.set(set, optionsIn(ofSet!, found));
    else for (const name of names === undefined ? heading : [...names.matchAll(/`([^`]+)`/g)].map(([, each]) => each!)) found.set(name, optionsIn(list!, found));
  }
  return found;
}

/** Without those that are listed elsewhere for all, unless they have another value. */
const own = (options: object, all: object): object => Object.fromEntries(Object.entries(options).filter(([key, value]) => !(key in all) || (all as Record<string, unknown>)[key] !== value));

const kinds = [
  ['advantage estimator', estimators!, listAdvantageEstimators(), (name: string) => getAdvantageEstimator(name).options, {}],
  ['policy loss', losses!, listPolicyLosses(), (name: string) => getPolicyLoss(name).options!, TokenPolicyLoss.options],
] as const;

describe.each(kinds)('each %s', (kind, text, names, optionsOf, all) => {
  const found = documented(text);
  const registry = new Registry(kind);
  test.each(names)('%s: its name, aliases and options', (name) => {
    const heading = text.split('\n').find((line) => line.startsWith('#### ') && line.includes(`\`${name}\``));
    expect(heading).toBeDefined();
    expect(registry.aliasesOf(name).filter((alias) => !heading!.includes(`\`${alias}\``))).toEqual([]);
    expect(found.get(name)).toEqual(own(optionsOf(name), all));
  });
});

test('options of every loss', () => {
  const [, section] = /^### Options of every loss([\s\S]*?)\n\n`convention`/m.exec(page)!;
  expect(optionsIn(section!, new Map())).toEqual(TokenPolicyLoss.options);
});

/** The names in the headings of a text. */
const headed = (text: string): string[] => [...text.matchAll(/^#### (.*)$/gm)].flatMap(([, title]) => [...title!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));

test('the estimators whose returns are not the advantages are those whose formulas say what they are', () => {
  const grid = (f: (row: number, t: number) => number) => Array.from({ length: 4 }, (_, row) => Array.from({ length: 3 }, (_, t) => f(row, t)));
  const logProbs = grid((row, t) => -0.5 - 0.1 * row - 0.3 * t);
  const inputs = {
    ...Object.fromEntries(advantageInputs.filter((name) => name.endsWith('LogProbs')).map((name, i) => [name, grid((row, t) => logProbs[row]![t]! - 0.07 * i * row)])),
    rewards: grid((row, t) => (row % 3) / 8 + ((row % 2) * t) / 32),
    masks: grid(() => 1),
    values: grid((row, t) => 0.1 * row - 0.2 * t),
    groupIds: [0, 0, 0, 0],
    baselines: [0.5, 0.25, 0.5, 1],
    sumSquaredProbs: grid((row, t) => 0.3 + 0.1 * t + 0.05 * row),
    turnIds: grid((_, t) => Math.min(t, 1)),
    anchorIds: grid((_, t) => Math.min(t, 1)),
    rewardComponents: grid((row, k) => (row * (k + 1)) % 4).map((components) => components.slice(1)),
  };
  const classical = headed(estimators!.split('### Classical returns')[1]!);
  const said = headed(estimators!.split(/^(?=#### )/m).filter((section) => /returns = |^The same,/m.test(section)).join('\n'));
  const separate = listAdvantageEstimators().filter((name) => {
    if (getAdvantageEstimator(name).requires.some((input) => !(input in inputs)) || classical.includes(name)) return false;
    const { advantages, returns } = computeAdvantages(name, inputs);
    return advantages.sub(returns).abs().max().item() > 1e-3;
  });
  expect(separate.sort()).toEqual(listAdvantageEstimators().filter((name) => said.includes(name)).sort());
});

const row = (name: string) => new RegExp(`^\\|[^|]*\`${name.replace('+', '\\+')}\``, 'm');

test.each([['Reductions', lossReductions], ['Divergence from the reference', klEstimators]] as const)('%s: each has a row', (title, names) => {
  const section = page.split(`\n## ${title}\n`)[1]!.split('\n## ')[0]!;
  expect(names.filter((name) => !row(name).test(section))).toEqual([]);
});

test('docs/estimators.md: each input and each option of an estimator has a row', () => {
  const reference = read(join(root, 'docs/estimators.md'));
  const options = listAdvantageEstimators().flatMap((name) => Object.keys(getAdvantageEstimator(name).options));
  const names = new Set([...advantageInputs, 'rewards', 'masks', 'gamma', 'lambda', 'rewardOnMasked', 'remask', ...options]);
  expect([...names].filter((name) => !row(name).test(reference))).toEqual([]);
});

describe('docs/algorithms.md: overview', () => {
  const [, section] = /^## Overview([\s\S]*?)^## /m.exec(page)!;
  const [ofEstimators, ofLosses] = section!.split('The policy loss (') as [string, string];
  /** What stands in the first column of a table. */
  const named = (text: string) => [...text.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, cell]) => [...cell!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
  // Classical ones have a page of their own.
  const classical = named(read(join(root, 'docs/returns.md')));

  test.each([
    ['advantage estimator', named(ofEstimators), listAdvantageEstimators().filter((name) => !classical.includes(name))],
    ['policy loss', named(ofLosses), listPolicyLosses()],
  ])('each %s has a row, and each row is one', (kind, rows, names) => {
    const registry = new Registry(kind);
    expect(names.filter((name) => !rows.includes(name))).toEqual([]);
    expect(rows.filter((name) => !registry.has(name))).toEqual([]);
  });

  test('each reduction is named', () => {
    expect(lossReductions.filter((name) => !section!.includes(`\`${name}\``))).toEqual([]);
  });

  test('the README names the same, and each convention', () => {
    const [, readme] = /^## What is built in([\s\S]*?)^## /m.exec(read(join(root, 'README.md')))!;
    const of = (title: string) => [...new RegExp(`^- \\*\\*${title}\\*\\*([\\s\\S]*?)(?=^- )`, 'm').exec(readme!)![1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
    expect(of('Advantage estimators').sort()).toEqual(listAdvantageEstimators().filter((name) => !classical.includes(name)).sort());
    expect(of('Policy losses').sort()).toEqual(listPolicyLosses().sort());
    expect(of('Conventions').sort()).toEqual(conventionNames.filter((name) => name !== 'vantage').sort());
  });
});
