/**
 * `npm run fuzz -- --seed N --count N --part P`: random calls of everything that is exported, and of the addon itself. `--run CODE` runs one call, as a finding
 * prints it; `--from N` begins with that call of the seed. `--sanitize address` or `thread` takes the addon that `npm run build:sanitize -- thread` has built.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz';
import { partNames, type PartName } from './recipes';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '100000' },
    from: { type: 'string', default: '0' },
    part: { type: 'string' },
    run: { type: 'string' },
    sanitize: { type: 'string' },
  },
});

function whole(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name}: expected a whole number, got ${text}`);
  return value;
}

interface Sanitizers {
  SANITIZERS: Record<string, { folder: string }>;
  sanitizerEnvironment(name: string, compiler: string, root: string): Promise<Record<string, string>>;
}

async function environmentOf(name: string | undefined): Promise<Record<string, string>> {
  if (name === undefined) return {};
  const root = join(__dirname, '../../..');
  const { SANITIZERS, sanitizerEnvironment } = (await import(join(root, 'scripts/lib/sanitizers.mjs'))) as Sanitizers;
  const { folder } = SANITIZERS[name] ?? {};
  if (folder === undefined) throw new Error(`--sanitize: expected one of ${Object.keys(SANITIZERS).join(', ')}, got ${name}`);
  if (!existsSync(join(root, folder, 'prebuilds'))) throw new Error(`--sanitize ${name}: ${folder} has no addon; build it first: npm run build:sanitize${name === 'address' ? '' : ` -- ${name}`}`);
  return sanitizerEnvironment(name, process.env.CXX ?? 'c++', root);
}

async function main(): Promise<void> {
  const { part, run, sanitize } = values;
  if (part !== undefined && !partNames.includes(part as PartName)) throw new Error(`--part: expected one of ${partNames.join(', ')}, got ${part}`);
  const seed = whole('seed', values.seed);
  const count = run === undefined ? whole('count', values.count) : 1;
  const again = sanitize === undefined ? '' : ` --sanitize ${sanitize}`;
  const start = performance.now();
  let shown = start;
  const { calls, threw, programs, findings } = await fuzz({
    seed,
    count,
    from: run === undefined ? whole('from', values.from) : 0,
    part: (part as PartName | undefined) ?? null,
    environment: await environmentOf(sanitize),
    ...(run === undefined ? {} : { sources: [run] }),
    onFinding: ({ kind, text, where, source }, index) =>
      console.log(
        `\n${kind}${where === '' ? '' : ` in ${where}`} (call ${index})\n  ${text.replaceAll('\n', '\n  ')}\n  npm run fuzz --${again} --run ${JSON.stringify(source).replaceAll('$', '\\$')}`,
      ),
    onUsage: ({ device, resident }, index) =>
      console.log(`before call ${index}: ${device.tensors} tensors, ${device.buffers} buffers, ${device.bytes} bytes, ${device.plans} plans; the process has ${Math.round(resident / 2 ** 20)} MiB`),
    onProgress: (done) => {
      if (performance.now() - shown < 60_000) return;
      shown = performance.now();
      console.log(`${done} calls, ${Math.round((performance.now() - start) / 1000)} s`);
    },
  });
  const seconds = (performance.now() - start) / 1000;
  console.log(`\n${calls} calls in ${seconds.toFixed(0)} s, ${programs} of them programs, ${threw} threw; ${findings.length} findings`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}

void main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 2;
});
