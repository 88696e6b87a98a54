/** docs/support.md, made of what operations do when they are tried. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Device } from '../../src';
import { nativeDescription } from '../../src/native';
import { dtypes, hasGradient, type Operation, sections, tryOut } from './support_table';

const root = join(__dirname, '../..');
export const supportPage = join(root, 'docs/support.md');

/** What the operation does on another device, in a word: `same`, or the types that give something else than on the CPU. */
function comparedWithCpu(operation: Operation, device: Device): string {
  const differing = dtypes.filter((dtype) => {
    const [here, there] = [tryOut(operation, dtype, 'cpu'), tryOut(operation, dtype, device)];
    if (here === null || there === null) return here !== there;
    const unit = here.dtype === 'bfloat16' ? 1e-2 : 1e-5;
    return here.dtype !== there.dtype || here.values.some((value, i) => !(Math.abs(value - there.values[i]!) <= unit * Math.max(1, Math.abs(value))));
  });
  if (hasGradient(operation, device) !== hasGradient(operation, 'cpu')) return 'other gradient';
  return differing.length === 0 ? 'same' : `not ${differing.join(', ')}`;
}

const cells = (...values: readonly string[]): string => `| ${values.join(' | ')} |`;
const nameOf = ({ name }: Operation): string => (name.includes('`') || name.includes(' ') ? name : `\`${name}\``);

/** The last cell of each operation's row: what was found on a GPU, kept where there is none now. */
function cudaColumn(page: string): Map<string, string> {
  return new Map([...page.split('\n## Kernels\n')[0]!.matchAll(/^\| (.*?) \|.*\| ([^|]*) \|$/gm)].map(([, name, cuda]) => [name!, cuda!]));
}

/** The commits at which kernels last passed their tests on a GPU, by name. */
function lastVerified(): Map<string, string> {
  const results = readFileSync(join(root, 'bench/results/README.md'), 'utf8');
  return new Map([...results.matchAll(/^\| `(\w+)` \| (`\w+`) \|/gm)].map(([, kernel, commit]) => [kernel!, commit!]));
}

/** A link to the file of a device in which a kernel stands. */
function source(device: string, kernel: string): string {
  const folder = join(root, 'native', device);
  const file = readdirSync(folder).find((name) => /\.(cpp|cu)$/.test(name) && new RegExp(`^void ${kernel}\\(const KernelCall`, 'm').test(readFileSync(join(folder, name), 'utf8')));
  if (file === undefined) throw new Error(`native/${device}: no file has the kernel ${kernel}`);
  return `[${file}](../native/${device}/${file})`;
}

/**
 * The page as it should be.
 *
 * @param page the page as it is
 * @param cuda whether there is a GPU, or an emulated one, to compare with; otherwise that column stays as it is
 */
export function renderSupport(page: string, cuda: boolean): string {
  const before = cudaColumn(page);
  const operations = sections.flatMap(({ operations: list }) => list);
  const lines = [
    '# What is supported where',
    '',
    'Each operation, tried with a tensor of each element type: the cell is the type of the result, – that the type is refused, with an error that says which are taken. The `gradient` column says whether gradients',
    'flow through in float32; the last one, whether a CUDA device gives the same: types, refusals, gradients, and numbers to 1e-5. This page is written by `npm run docs:support`, and a test compares it',
    'with what the CPU does.',
    '',
    '**Not everything here has run on a GPU as it is now.** The CUDA column was filled by the emulated GPU of the tests (`native/test/cuda_emulator`), which runs the same kernels on the CPU, with fused programs',
    'interpreted. When each kernel last ran on real hardware stands in the table of kernels; what that says and what it does not, in [devices](devices.md) and [results](../bench/results/README.md). Estimators, losses and models are',
    'expressions of these operations, so that they work wherever these do.',
  ];
  for (const { title, text, operations: list } of sections) {
    lines.push('', `## ${title}`, '', text, '', cells('operation', ...dtypes, 'gradient', 'CUDA'), `|${'---|'.repeat(dtypes.length + 3)}`);
    for (const operation of list) {
      const results = dtypes.map((dtype) => tryOut(operation, dtype, 'cpu')?.dtype ?? '–');
      const onCuda = cuda ? comparedWithCpu(operation, 'cuda') : (before.get(nameOf(operation)) ?? 'not tried');
      lines.push(cells(nameOf(operation), ...results, hasGradient(operation, 'cpu') ? 'yes' : '–', onCuda));
    }
  }
  const verified = lastVerified();
  const instructions = nativeDescription().instructions.length;
  lines.push(
    '',
    '## Kernels',
    '',
    `What is no fused program. Programs are made of ${instructions} instructions ([native/core/instructions.h](../native/core/instructions.h)) in float32, float64 and int32; bfloat16, uint8 and bool are converted where they are`,
    'loaded and stored. The last column is the commit at which the CUDA kernel last passed its native tests on a GPU (an H200): [more](../bench/results/README.md#kernels-on-a-gpu).',
    '',
    cells('kernel', 'operations', 'CPU', 'CUDA', 'last run on a GPU'),
    '|---|---|---|---|---|',
  );
  for (const { name } of nativeDescription().kernels) {
    const users = operations.filter(({ kernels = [] }) => kernels.includes(name)).map(nameOf);
    lines.push(cells(`\`${name}\``, users.join(', '), source('cpu', name), source('cuda', name), verified.get(name) ?? 'never'));
  }
  return `${lines.join('\n')}\n`;
}
