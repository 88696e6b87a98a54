import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { VantageError } from '../errors';
import { makeFolder } from '../folders';
import { type Command, parseCommandLine, print, unknownWord, UsageError } from './command';
import { environmentTemplate } from './templates/environment';
import { estimatorTemplate } from './templates/estimator';
import { lossTemplate } from './templates/loss';
import type { Template, TemplateNames } from './templates/template';

interface Kind {
  /** In the words of messages. */
  title: string;
  /** What a class is called whose name is taken by what its file imports. */
  suffix: string;
  isRegistered: (vantage: typeof import('../index'), name: string) => boolean;
  template: (names: TemplateNames) => Template;
}

const kinds: Readonly<Record<string, Kind>> = {
  estimator: { title: 'advantage estimator', suffix: 'Estimator', isRegistered: (vantage, name) => vantage.hasAdvantageEstimator(name), template: estimatorTemplate },
  loss: { title: 'policy loss', suffix: 'Loss', isRegistered: (vantage, name) => vantage.policyLosses.has(name), template: lossTemplate },
  environment: { title: 'environment', suffix: 'Environment', isRegistered: (vantage, name) => vantage.environments.has(name), template: environmentTemplate },
};
const kindNames = Object.keys(kinds);

export const newFiles: Command = {
  summary: 'Writes an estimator, a loss or an environment to begin with: class, test, a run that trains',
  help: `Usage:
  vantage new ${kindNames.join('|')} NAME [--dir DIR] [--js] [--force]
      Writes into DIR, in TypeScript: NAME.ts, a class that registers itself as NAME, with comments where to write; NAME.test.ts, its test (node:test, nothing
      to install); train.ts, an entry point that makes its data; config.yaml, a run of seconds. NAME is like return_over_baseline; the class is ReturnOverBaseline.

Options:
  --dir DIR                  where to write (the current folder unless given); made, where it is not there
  --js                       JavaScript (NAME.mjs, NAME.test.mjs, train.mjs) instead of TypeScript
  --force                    writes over files that are there`,

  async run(argv) {
    const options = { dir: { type: 'string' }, js: { type: 'boolean' }, force: { type: 'boolean' } } as const;
    const { values, positionals } = parseCommandLine({ args: argv, options, allowPositionals: true });
    const [kindName, name, ...more] = positionals;
    if (kindName === undefined) throw new UsageError(`new: expected ${kindNames.join(', ')}, and a name`);
    if (!Object.hasOwn(kinds, kindName)) throw new UsageError(unknownWord('kind', kindName, kindNames));
    if (name === undefined || more.length > 0) throw new UsageError(`new ${kindName}: expected one name, got ${positionals.length - 1}`);
    if (values.dir?.trim() === '') throw new UsageError(`--dir: expected a folder, got '${values.dir}'`);
    const kind = kinds[kindName];
    checkName(kindName, kind, name);
    const names = namesFor(kind, name, values.js ?? false);
    const directory = resolve(values.dir ?? '.');
    const files = filesOf(names, kind.template(names));
    write(directory, files, values.force ?? false);
    print(describe(directory, files, names, kindName));
  },
};

/** @throws UsageError for what cannot be the name of files and a class, or stands for something else already */
function checkName(kindName: string, { title, isRegistered }: Kind, name: string): void {
  if (!/^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*$/.test(name) || name.length > 64) {
    throw new UsageError(`new ${kindName}: expected a name that begins with a letter, of letters, digits, and single _ or - between them, 64 characters at most, got '${name}'`);
  }
  // A file system that ignores case takes Train for train, too.
  if (name.toLowerCase() === 'train') throw new UsageError(`new ${kindName}: expected another name than '${name}', which is that of the entry point`);
  // What registers names, and the native addon, is needed only from here on.
  if (isRegistered(require('../index') as typeof import('../index'), name)) {
    throw new UsageError(`new ${kindName}: expected a name that is free, got '${name}', which is a registered ${title}`);
  }
}

/** `return_over_baseline` → `ReturnOverBaseline`; a class must not take a name from what its files use, such as `Tensor`. */
function namesFor({ suffix, template }: Kind, name: string, isJavaScript: boolean): TemplateNames {
  const language = isJavaScript
    ? ({ extension: 'mjs', imported: 'mjs', ts: () => '' } as const)
    : ({ extension: 'ts', imported: 'js', ts: (text: string) => text } as const);
  const pascal = name.split(/[_-]/).map((word) => word[0].toUpperCase() + word.slice(1)).join('');
  const { source, test } = template({ ...language, name: '', className: '' });
  const isUsed = Object.hasOwn(globalThis, pascal) || new RegExp(`\\b${pascal}\\b`).test(source + test);
  return { ...language, name, className: isUsed ? `${pascal}${suffix}` : pascal };
}

interface File {
  name: string;
  text: string;
  /** What it is, for who has just got it. */
  about: string;
}

function filesOf({ name, className, extension }: TemplateNames, { source, test, train, config }: Template): File[] {
  return [
    { name: `${name}.${extension}`, text: source, about: `class ${className}: write here` },
    { name: `${name}.test.${extension}`, text: test, about: 'its test' },
    { name: `train.${extension}`, text: train, about: 'makes the data, and trains' },
    { name: 'config.yaml', text: config, about: 'what is trained' },
  ];
}

/** All files, or none where one is in the way. @throws VantageError */
function write(directory: string, files: readonly File[], force: boolean): void {
  const shown = shownPath(directory);
  if (existsSync(directory) && !statSync(directory).isDirectory()) throw new VantageError(`new: ${shown}: expected a folder, got a file`);
  const inTheWay = files.map(({ name }) => name).filter((name) => existsSync(join(directory, name)));
  if (inTheWay.length > 0 && !force) {
    throw new VantageError(
      `new: ${inTheWay.join(', ')} ${inTheWay.length === 1 ? 'is' : 'are'} in ${shown} already; --dir DIR writes elsewhere, --force writes over what is there. Nothing was written`,
    );
  }
  try {
    makeFolder(directory);
    for (const { name, text } of files) writeFileSync(join(directory, name), text);
  } catch (error) {
    throw new VantageError(`new: ${shown}: cannot be written: ${(error as Error).message}`, { cause: error });
  }
}

/** What was written, and the commands that come next: of those that install something, the ones that are needed. */
function describe(directory: string, files: readonly File[], { name, extension }: TemplateNames, kindName: string): string {
  const folder = shownPath(directory);
  const width = Math.max(...files.map((file) => file.name.length));
  const isTypeScript = extension === 'ts';
  const node = isTypeScript ? 'node --import tsx' : 'node';
  const finds = createRequire(join(directory, 'train.mjs'));
  const isThere = (module: string): boolean => {
    try {
      finds.resolve(module);
      return true;
    } catch {
      return false;
    }
  };
  const next = [
    ...(folder === '.' ? [] : [[`cd ${/^[\w./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", "'\\''")}'`}`, '']]),
    ...(isThere('vantage-rl') ? [] : [['npm install vantage-rl', '']]),
    // Their types are for editors and `tsc`.
    ...(!isTypeScript || (isThere('tsx') && isThere('@types/node/package.json')) ? [] : [['npm install --save-dev tsx typescript @types/node', '']]),
    [`${node} --test ${name}.test.${extension}`, 'its test'],
    [`${node} train.${extension} trainer.max_training_steps=10`, 'ten steps; without the key to a mean reward of 0.9'],
    ...(kindName === 'estimator'
      ? [[`npx vantage check ${name}.${extension}`, 'properties that hold for every right one'], [
        `npx vantage lab ${name} --load ${name}.${extension}`,
        'its bias and variance against exact gradients',
      ]]
      : []),
  ];
  const widest = Math.max(...next.map(([command]) => command.length));
  return [
    `Wrote in ${folder}:`,
    ...files.map((file) => `  ${file.name.padEnd(width)}  ${file.about}`),
    '\nNext:',
    ...next.map(([command, what]) => `  ${what === '' ? command : `${command.padEnd(widest)}  # ${what}`}`),
  ].join('\n');
}

/** Relative to the current folder where it lies in it. */
function shownPath(directory: string): string {
  const path = relative('.', directory);
  return path === '' ? '.' : path.startsWith('..') ? directory : path;
}
