/** `vantage lab`: the commands of docs/lab.md, what they print, and mistakes. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listAdvantageEstimators, type LabReport } from 'vantage-rl';
import { Bar } from '../../src/cli/bar';
import { vantage } from '../cli/in_process';
import { labEnvironmentNames } from '../../src/lab/environments';
import { labObjectives } from '../../src/lab/tree';
import { blocks, read, root } from '../docs/markdown';

const folder = mkdtempSync(join(tmpdir(), 'vantage-lab-command-'));
const before = process.cwd();
beforeAll(() => process.chdir(folder));
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

const page = read(join(root, 'docs/lab.md'));
const commands = blocks(page, 'sh').flatMap(({ code }) => code.trim().split('\n'));

test('the page shows commands', () => expect(commands.length).toBeGreaterThan(3));

test.each(commands)('docs/lab.md: %s', async (command) => {
  const words = command.split(' ');
  expect(words.slice(0, 3)).toEqual(['npx', 'vantage', 'lab']);
  const { code, out, err } = await vantage(...words.slice(2));
  // Under load a line tells how far it is.
  expect([code, err.replace(/^ *\d+\/\d+ .*\n/gm, '')]).toEqual([0, '']);
  if (words.includes('--json')) expect((JSON.parse(out) as LabReport).results.map(({ quality }) => quality!.verdict)).toEqual(['no bias found', 'turned']);
  if (words.includes('--out')) {
    expect(existsSync('lab.html')).toBe(true);
    expect(out).toContain('picture   lab.html');
  }
});

test('the table that docs/lab.md shows is what is printed', async () => {
  const shown = [...page.matchAll(/^ {6}(rloo|grpo|gae:\S+) .*$/gm)].map(([line]) => line.trim());
  const { out } = await vantage(...commands[0]!.split(' ').slice(2));
  const printed = out.split('\n').map((line) => line.trim());
  expect(shown).toHaveLength(4);
  expect(printed.filter((line) => shown.includes(line))).toEqual(shown);
  // As wide as a terminal.
  expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThan(132);
});

test('--out FILE.svg is the large chart: of a sweep by its values', async () => {
  for (const sweep of [[], ['--sweep', 'group_size=2,4']]) {
    const { out } = await vantage('lab', 'rloo', 'grpo', '--batches', '20', '--out', 'chart.svg', ...sweep);
    expect(out).toContain('picture   chart.svg');
    const svg = readFileSync('chart.svg', 'utf8');
    expect(svg).toMatch(/^<svg xmlns="[^"]+" viewBox/);
    expect(svg.match(/<path class="line r\d" [^>]*><title>(rloo|grpo)<\/title>/g)).toHaveLength(2);
    expect([svg.includes('NaN'), svg.includes('>group_size<')]).toEqual([false, sweep.length > 0]);
  }
});

test('--check prints both comparisons, --json the numbers', async () => {
  const { out } = await vantage('lab', '--check', '1000', '--environment', 'sparse');
  expect(out).toMatch(/finite differences {2}differ by at most \d\.\de-1\d\n1000 samples/);
  const { out: json } = await vantage('lab', '--check', '1000', '--environment', 'sparse', '--json');
  expect(JSON.parse(json)).toMatchObject({ size: 208, monteCarlo: { samples: 1000 } });
});

test('an estimator that refuses is told, and ends with 1 where it was named', async () => {
  const named = await vantage('lab', 'pass_at_k', 'rloo', '--group_size', '2', '--batches', '20');
  expect([named.code, named.err]).toEqual([1, expect.stringContaining('expected at least 4 rows in every group')]);
  expect(named.out).toMatch(/pass_at_k .*refused\n {2}rloo .*found/);
  const all = await vantage('lab', '--group_size', '2', '--batches', '20', '--json');
  expect(all.code).toBe(0);
  expect((JSON.parse(all.out) as LabReport).results.map(({ estimator }) => estimator)).toEqual(listAdvantageEstimators());
});

test.each<[string[], number, string]>([
  [['--btches', '3'], 2, "Unknown option '--btches'. Did you mean '--batches'?"],
  [['--batches', 'many'], 2, "--batches: expected a number, got 'many'"],
  [['--batches', '3'], 1, "estimatorLab: option 'batches': expected a whole number from 20 to 20000, got 3"],
  [['--sweep', 'groupsize=1'], 2, "--sweep: Unknown key 'groupsize'. Did you mean 'group_size'?"],
  [['--sweep', 'gamma'], 2, '--sweep: expected gamma=A,B'],
  [['--sweep', 'gamma=1,x'], 2, "--sweep gamma: expected a number, got 'x'"],
  [['rlo'], 1, "Unknown advantage estimator 'rlo'. Did you mean 'rloo'?"],
  [['gae:whiten'], 2, "lab: gae:whiten: expected OPTION=VALUE behind the colon, got 'whiten'"],
  [['rloo', 'grpo:foo=1'], 1, "advantage estimator 'grpo': unknown option 'foo'. Options: "],
  [['--environment', 'tol'], 1, "Did you mean 'tool'?"],
  [['--load', 'nowhere.mjs'], 2, '--load: nowhere.mjs: no such file'],
  [['rloo', '--check', '10'], 2, 'lab: --check looks at the exact gradient alone'],
])('lab %j is refused', async (argv, expected, message) => {
  const { code, out, err } = await vantage('lab', ...argv);
  expect([code, out]).toEqual([expected, '']);
  expect(err).toContain(message);
});

test('a bar on a terminal, lines elsewhere', () => {
  const written: string[] = [];
  const bar = new Bar({ write: (text) => written.push(text), isTTY: true, columns: 60 });
  bar.show(0, 4, 'rloo');
  bar.show(1, 4, 'grpo');
  bar.clear();
  expect(written).toEqual([`\r0/4  ${'─'.repeat(24)}  rloo\x1b[K`, '\r\x1b[K']);
  const plain: string[] = [];
  const lines = new Bar({ write: (text) => plain.push(text) });
  lines.show(0, 4, 'rloo');
  lines.clear();
  expect(plain).toEqual([]);
});

test('the page is in the list of documents, and names each environment and objective', () => {
  for (const name of [...labEnvironmentNames, ...labObjectives]) expect(page).toContain(`\`${name}\``);
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain('(docs/lab.md)');
});
