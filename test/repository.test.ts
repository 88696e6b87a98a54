/** What the repository says of itself: scripts, workflows, forms, settings of editors. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfigFile } from 'typescript';
import { parseDocument } from 'yaml';

const root = join(__dirname, '..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const { scripts, version, engines } = JSON.parse(read('package.json')) as { scripts: Record<string, string>; version: string; engines: { node: string } };

/** YAML without a duplicate key, a tag or any other doubt. */
function yaml(file: string): Record<string, unknown> {
  const document = parseDocument(read(file), { strict: true, uniqueKeys: true });
  expect([file, document.errors, document.warnings]).toEqual([file, [], []]);
  return document.toJS() as Record<string, unknown>;
}

const workflows = readdirSync(join(root, '.github/workflows')).map((name) => `.github/workflows/${name}`);
const forms = readdirSync(join(root, '.github/ISSUE_TEMPLATE')).filter((name) => name !== 'config.yml').map((name) => `.github/ISSUE_TEMPLATE/${name}`);
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', ...readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];

describe('scripts of package.json', () => {
  /** `npm run NAME`, but for those that may be missing. */
  const named = (text: string): string[] => [...text.matchAll(/\bnpm run ([\w:]+)( --if-present)?/g)].filter(([, , optional]) => !optional).map(([, name]) => name!);

  test.each([...pages, ...workflows, '.ci/run', '.github/PULL_REQUEST_TEMPLATE.md', '.vscode/settings.json'])('%s names ones that exist', (file) => {
    for (const name of named(read(file))) expect(Object.keys(scripts)).toContain(name);
  });

  test('CONTRIBUTING describes each', () => {
    const described = [...read('CONTRIBUTING.md').matchAll(/^npm (?:run )?([\w:]+) +# \S/gm)].map(([, name]) => name);
    expect(Object.keys(scripts).filter((name) => !described.includes(name))).toEqual([]);
  });

  test('run files that exist', () => {
    for (const command of Object.values(scripts)) for (const [file] of command.matchAll(/\S+\.(?:mjs|ts)\b/g)) expect([file, existsSync(join(root, file))]).toEqual([file, true]);
  });
});

/** `npm run test:cuda` makes the machine code of several architectures of one PTX (native/cuda/cuda.cmake, "check"). */
test('the sources tell architectures apart where the check of all does', () => {
  const sources = ['native/core', 'native/cuda'].flatMap((folder) => readdirSync(join(root, folder)).map((name) => read(`${folder}/${name}`)));
  const compared = sources.flatMap((text) => [...text.matchAll(/__CUDA_ARCH__ *(?:[<>=!]=?) *(\d+)/g)].map(([, number]) => Number(number)));
  const toldApart = /foreach\(told_apart 75 (.*)\)/.exec(read('native/cuda/cuda.cmake'))![1]!.split(' ').map((number) => 10 * Number(number));
  expect([...new Set(compared)].sort()).toEqual(toldApart);
});

interface Job {
  'runs-on': string;
  permissions?: Record<string, string>;
  strategy?: { matrix: { node: number[] } };
  steps: { uses?: string; run?: string; with?: Record<string, unknown> }[];
}

describe('workflows', () => {
  test.each(workflows)('%s has jobs of steps, may only read unless a job says more, and takes actions of a version', (file) => {
    const { name, on, permissions, jobs, ...rest } = yaml(file) as { name: string; on: object; permissions: object; jobs: Record<string, Job> };
    expect([typeof name, typeof on, permissions]).toEqual(['string', 'object', { contents: 'read' }]);
    expect(Object.keys(rest).filter((key) => !['concurrency', 'env', 'defaults'].includes(key))).toEqual([]);
    for (const job of Object.values(jobs)) {
      expect(job['runs-on']).toEqual(expect.any(String));
      for (const step of job.steps) {
        expect((step.uses === undefined) !== (step.run === undefined)).toBe(true);
        if (step.uses !== undefined) expect(step.uses).toMatch(/^[\w-]+\/[\w-]+@v\d/);
      }
    }
  });

  test('CI runs what .ci/run runs, from the oldest Node that is supported on', () => {
    const { test: job } = yaml('.github/workflows/ci.yml').jobs as Record<string, Job>;
    expect(job!.steps.map(({ run }) => run)).toContain('.ci/run');
    const oldest = Number(/\d+/.exec(engines.node)![0]);
    expect(job!.strategy!.matrix.node).toEqual([oldest, oldest + 2, oldest + 4]);
  });

  test('a release is tested, carries its provenance, and keeps no secret', () => {
    const { publish } = yaml('.github/workflows/release.yml').jobs as Record<string, Job>;
    expect(publish!.permissions).toEqual({ contents: 'read', 'id-token': 'write' });
    const commands = publish!.steps.map(({ run }) => run ?? '');
    expect(commands.indexOf('.ci/run')).toBeGreaterThan(0);
    expect(commands.at(-1)).toMatch(/^npm publish --provenance\b/);
    expect(read('.github/workflows/release.yml')).not.toContain('secrets.');
  });
});

interface Field {
  type: string;
  id: string;
  attributes: { label: string; options?: string[] };
}

test.each(forms)('%s is a form as GitHub takes it', (file) => {
  const { name, description, body } = yaml(file) as { name: string; description: string; body: Field[] };
  expect([typeof name, typeof description]).toEqual(['string', 'string']);
  for (const { type, id, attributes } of body) {
    expect(['input', 'textarea', 'dropdown', 'checkboxes']).toContain(type);
    expect([id, typeof attributes.label]).toEqual([expect.stringMatching(/^[\w-]+$/), 'string']);
    expect(type === 'dropdown').toBe(attributes.options !== undefined);
  }
  expect(new Set(body.map(({ id }) => id)).size).toBe(body.length);
  expect(new Set(forms.map((each) => yaml(each).name)).size).toBe(forms.length);
});

test('reports of bugs ask for what doctor prints', () => {
  for (const file of ['bug.yml', 'wrong-number.yml']) expect(read(`.github/ISSUE_TEMPLATE/${file}`)).toContain('npx vantage doctor');
});

test('other settings can be read', () => {
  expect(yaml('.github/dependabot.yml')).toMatchObject({ version: 2 });
  yaml('.github/ISSUE_TEMPLATE/config.yml');
  for (const file of ['.vscode/settings.json', '.vscode/extensions.json']) expect([file, readConfigFile(file, read).error]).toEqual([file, undefined]);
});

test('the changelog has a part for this version, or for what is not released yet', () => {
  const parts = [...read('CHANGELOG.md').matchAll(/^## \[([^\]]+)\]/gm)].map(([, name]) => name);
  expect(parts.includes(version) || parts[0] === 'Unreleased').toBe(true);
  expect(read('CHANGELOG.md')).toContain(version);
});

const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
const hasHistory = ((): boolean => {
  try {
    return git('rev-parse', '--is-shallow-repository') === 'false' && git('rev-parse', '--show-prefix') === '';
  } catch {
    return false;
  }
})();
if (!hasHistory) console.warn('skipped: there is no history of git here');
(hasHistory ? test : test.skip)('the commits that git blame passes over are commits of this history', () => {
  const commits = read('.git-blame-ignore-revs').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(commits.length).toBeGreaterThan(0);
  for (const commit of commits) expect(git('merge-base', commit, 'HEAD')).toBe(commit);
});
