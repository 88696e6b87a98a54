/** From a YAML file and dotted overrides to a complete, typed configuration, with the origin of every value. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ParsedNode, YAMLParseError } from 'yaml';
import type { z } from 'zod';
import { ConfigError, didYouMean, showValue } from '../errors';
import { whyUnreadable } from '../folders';
import { configKeys, isSection, keyProblem, openSectionOf } from './keys';
import type { Config } from './schema';

/** Both take long to load, and estimators and losses need neither. */
const yaml = () => require('yaml') as typeof import('yaml');
const schema = () => require('./schema') as typeof import('./schema');

/** Where a configuration comes from, the later ones over the earlier: defaults, `base`, `file`, `overrides`. */
export interface LoadConfigOptions {
  /** A YAML file. */
  file?: string;
  /** Assignments `a.b=c`, the last one wins; the value is YAML (`3`, `null`, `[a, b]`, `text`). */
  overrides?: readonly string[];
  /** What lies below the file: a (partial) tree of the same keys. */
  base?: object;
}

/** A configuration and where its values came from. */
export interface LoadedConfig {
  /** Every key with its value. */
  config: Config;
  /** Where each key's value came from: `default`, `base`, `FILE:LINE` or `command line`; each name in a mapping of options is a key too. */
  provenance: ReadonlyMap<string, string>;
  /** The configuration without its overrides; null where there are none. */
  beneath: Config | null;
}

interface Assignment {
  path: string;
  value: unknown;
  origin: string;
}

const MOST_PROBLEMS = 50;

/**
 * Reads defaults, then `base`, then the file, then the overrides; later ones win key by key, and a mapping changes only the keys it names.
 * @throws ConfigError that names every problem: the key, its place, what was expected and what came.
 */
export function loadConfig(options: LoadConfigOptions = {}): LoadedConfig {
  const { file, overrides = [], base = {} } = (options ?? {}) as LoadConfigOptions;
  if (file !== undefined && typeof file !== 'string') throw new ConfigError(`loadConfig: file: expected the name of a YAML file, got ${showValue(file)}`);
  if (!Array.isArray(overrides)) throw new ConfigError(`loadConfig: overrides: expected an array of texts key=value, got ${showValue(overrides)}`);
  // Before they are read: flatMap() passes over holes.
  for (const override of overrides as readonly unknown[]) if (typeof override !== 'string') throw new ConfigError(`overrides: expected texts key=value, got ${showValue(override)}`);
  if (typeof base !== 'object' || base === null || Array.isArray(base)) throw new ConfigError(`loadConfig: base: expected an object of sections, got ${showValue(base)}`);
  const assignments = [
    ...flatten(base, '', 'base'),
    ...(file === undefined ? [] : readYaml(file)),
    ...overrides.flatMap(parseOverride),
  ];
  const problems: string[] = [];
  const origins = new Map<string, string>();
  const tree: Tree = {};
  for (const { path, value, origin } of assignments) {
    const problem = keyProblem(path);
    if (problem === null) assign(tree, path, value, origin, origins);
    else problems.push(located(origin, problem));
    // A file that is none of ours may have a hundred thousand keys, and each is compared with all that there are.
    if (problems.length === MOST_PROBLEMS) throw new ConfigError(problemList([...problems, 'and perhaps more']));
  }
  const parsed = schema().configSchema.safeParse(tree);
  if (!parsed.success) problems.push(...parsed.error.issues.map((issue) => describe(issue, tree, origins)));
  if (problems.length > 0) throw new ConfigError(problemList(problems));
  const named = [...origins.keys()].filter((path) => openSectionOf(path) !== null);
  const provenance = new Map([...configKeys(), ...named].map((key) => [key, originOf(key, origins) ?? 'default']));
  return { config: parsed.data as Config, provenance, beneath: overrides.length === 0 ? null : withoutOverrides(options) };
}

/** Null where a value below is wrong that an override puts right. */
function withoutOverrides({ base, file }: LoadConfigOptions): Config | null {
  try {
    return loadConfig({ base, file }).config;
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

/** Reads `-c FILE` (`--config FILE`) and dotted overrides off a command line, and loads them; `--print-config` is left to the caller. @throws ConfigError */
export function loadConfigFromArguments(argv: readonly string[], base?: object): LoadedConfig {
  const { file, overrides } = parseConfigArguments(argv);
  return loadConfig({ file, overrides, base });
}

function parseConfigArguments(argv: readonly string[]): { file?: string; overrides: string[] } {
  if (!Array.isArray(argv) || argv.length > MOST_VALUES || !Array.from(argv).every((argument) => typeof argument === 'string'))
    throw new ConfigError(`command line: expected an array of texts, got ${showValue(argv)}`);
  const options = { config: { type: 'string', short: 'c' }, 'print-config': { type: 'boolean' } } as const;
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
    return { file: values.config, overrides: positionals };
  } catch (error) {
    throw new ConfigError(`command line: ${(error as Error).message}`, { cause: error });
  }
}

/** One message for all problems: a single one on one line, several as a list. */
export function problemList(problems: readonly string[]): string {
  if (problems.length === 1) return problems[0];
  return [`${problems.length} problems in the configuration:`, ...problems].join('\n  - ');
}

function readYaml(file: string): Assignment[] {
  const { isMap, isScalar, LineCounter, parseDocument, visit } = yaml();
  let source: string;
  try {
    source = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`${file}: ${whyUnreadable(error, 'a configuration in YAML')}`, { cause: error });
  }
  const lines = new LineCounter();
  // The parser compares each key of a mapping with all others, which takes minutes where a file has tens of thousands.
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, merge: true, uniqueKeys: false });
  const place = (offset: number) => `${file}:${lines.linePos(offset).line}`;
  const [error] = document.errors;
  if (error) throw new ConfigError(`${place(error.pos[0])}: ${syntaxProblem(error)}`, { cause: error });
  visit(document, {
    Map(_, { items }) {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value)) throw new ConfigError(`${place(key.range![0])}: ${String(key.value)}: is given twice in one mapping; keep one of them`);
        seen.add(key.value);
      }
    },
  });
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return [];
  if (!isMap(root)) throw new ConfigError(`${file}: expected a mapping of keys, got ${showValue(document.toJS())}`);

  const walk = (node: ParsedNode | null, path: string, origin: string): Assignment[] => {
    if (!isMap(node) || !isSection(path) || node.items.length === 0) return flatten(plain(node, origin), path, origin);
    // What a merge key brings lies below the keys of the mapping itself, wherever it stands.
    const merged = node.items.filter(({ key }) => isMergeKey(key)).flatMap(({ key, value }) => mergedIn(value, path, place(key.range[0])));
    const own = node.items.filter(({ key }) => !isMergeKey(key)).flatMap(({ key, value }) => {
      const line = place(key.range[0]);
      return walk(value, join(path, isScalar(key) ? String(key.value) : showValue(plain(key, line))), line);
    });
    return [...merged, ...own];
  };
  // Of several mappings the first wins.
  const mergedIn = (node: ParsedNode | null, path: string, line: string): Assignment[] => {
    const value = plain(node, line);
    const mappings = Array.isArray(value) ? (value as unknown[]).toReversed() : [value];
    const stray = mappings.find((mapping) => typeof mapping !== 'object' || mapping === null || Array.isArray(mapping));
    if (stray !== undefined) throw new ConfigError(`${line}: <<: expected a mapping or a list of mappings (such as *NAME, the one marked &NAME), got ${showValue(stray)}`);
    return mappings.flatMap((mapping) => flatten(mapping, path, line));
  };
  const plain = (node: ParsedNode | null, origin: string): unknown => {
    try {
      return node?.toJS(document) ?? null;
    } catch (error) {
      throw new ConfigError(`${origin}: ${syntaxProblem(error as Error)}`, { cause: error });
    }
  };
  return walk(root, '', place(0));
}

/** `<<`, not in quotes. */
function isMergeKey(key: ParsedNode | null): boolean {
  return yaml().isScalar(key) && typeof key.value === 'symbol';
}

/** What the parser says, in the words of a configuration file. */
function syntaxProblem({ message, ...error }: Error): string {
  // The parser works by recursion.
  if (message.includes('call stack')) return 'it is nested too deep';
  return (error as Partial<YAMLParseError>).code === 'MULTIPLE_DOCS' ? 'expected one YAML document, got another one behind ---' : message;
}

function parseOverride(override: string): Assignment[] {
  const cut = override.indexOf('=');
  if (cut <= 0) throw new ConfigError(`command line: expected key=value, got '${override}'${/\.ya?ml$/.test(override) ? ` (a file comes behind -c: -c ${override})` : ''}`);
  const path = override.slice(0, cut).trim();
  const document = yaml().parseDocument(override.slice(cut + 1), { prettyErrors: false, merge: true });
  const [error] = document.errors;
  if (error) throw new ConfigError(`command line: ${path}: ${syntaxProblem(error)}`, { cause: error });
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    throw new ConfigError(`command line: ${path}: ${(error as Error).message} (quote it to make it text: ${path}='"…"')`, { cause: error });
  }
  return flatten(value, path, 'command line');
}

/** Values of a list: more is a mistake, and would be checked one by one. */
const MOST_VALUES = 1_000_000;

/** The assignments of a plain tree, one for each key; below a key that is no section everything belongs to its value. */
function flatten(value: unknown, path: string, origin: string): Assignment[] {
  if (Array.isArray(value) && value.length > MOST_VALUES) throw new ConfigError(`${origin}: ${path}: expected at most ${MOST_VALUES} values, got ${value.length}`);
  const isMapping = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isMapping || !isSection(path)) return [{ path, value, origin }];
  const entries = Object.entries(value);
  if (entries.length === 0 && path !== '') return [{ path, value, origin }];
  return entries.flatMap(([name, child]) => flatten(child, join(path, name), origin));
}

interface Tree {
  [name: string]: unknown;
}

/** Sets a key that exists. A mapping changes what it names: an empty one keeps the section that is there. */
function assign(tree: Tree, path: string, value: unknown, origin: string, origins: Map<string, string>): void {
  const names = path.split('.');
  const last = names.pop() as string;
  let node = tree;
  for (const name of names) {
    const next = node[name];
    node = (typeof next === 'object' && next !== null ? next : (node[name] = {})) as Tree;
  }
  const isEmptyMapping = isSection(path) && typeof value === 'object' && value !== null;
  const keeps = isEmptyMapping && typeof node[last] === 'object' && node[last] !== null;
  if (!keeps) {
    node[last] = value;
    for (const key of origins.keys()) if (key.startsWith(`${path}.`)) origins.delete(key);
  }
  origins.set(path, origin);
}

/** The origin of a key: its own, or that of the nearest section above that was assigned as a whole. */
function originOf(path: string, origins: Map<string, string>): string | undefined {
  if (origins.has(path)) return origins.get(path);
  const cut = path.lastIndexOf('.');
  return cut < 0 ? undefined : originOf(path.slice(0, cut), origins);
}

function describe(issue: z.core.$ZodIssue, tree: Tree, origins: Map<string, string>): string {
  const path = issue.path.filter((name) => typeof name === 'string').join('.');
  // One text stands for a list of one: what is wrong with the list's first is wrong with it.
  const value = issue.path.reduce<unknown>((node, name) => (typeof node === 'string' ? node : (node as Record<PropertyKey, unknown> | null | undefined)?.[name]), tree);
  const index = issue.path
    .filter((name) => typeof name === 'number')
    .map((i) => `[${i}]`)
    .join('');
  const origin = originOf(path, origins) ?? 'default';
  return located(origin, `${path}${index}: expected ${issue.message}, got ${showValue(value)}${quotingHint(issue.message, value, path, origin)}${nearestChoice(issue, value)}`);
}

/** The choice that a text is near to. */
function nearestChoice(issue: z.core.$ZodIssue, value: unknown): string {
  if (issue.code !== 'invalid_value' || typeof value !== 'string') return '';
  const nearest = didYouMean(value, issue.values.filter((choice) => typeof choice === 'string'));
  return nearest === null ? '' : `. Did you mean '${nearest}'?`;
}

/** YAML takes `9` and `true` for what they look like. */
function quotingHint(expected: string, value: unknown, path: string, origin: string): string {
  if (!/text$|^a list of /.test(expected) || (typeof value !== 'number' && typeof value !== 'boolean')) return '';
  const kind = typeof value === 'number' ? 'a number' : 'true or false';
  return ` (${kind}; quote it to make it text: ${origin === 'command line' ? `${path}='"${value}"'` : `"${value}"`})`;
}

/** A problem with the place that it comes from. */
export function located(origin: string, problem: string): string {
  return origin === 'base' || origin === 'default' ? problem : `${origin}: ${problem}`;
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
