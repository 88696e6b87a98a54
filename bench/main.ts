/** `npm run bench`: measures the suite, prints a table, draws it. */
import { loadavg } from 'node:os';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Skipped } from './contender';
import { onGpu, quick, thorough } from './measure';
import { buildHarness, Harness } from './native';
import { PythonPeers } from './peers/python';
import { startTfjs } from './peers/tfjs';
import { caption, readRecording, record, recordingOf, write, type Recording } from './report/record';
import { duration, times } from './report/format';
import { svg } from './report/svg';
import { table } from './report/table';
import type { Row } from './row';
import { reasonToSkip, runWorkload, type Arena } from './suite';
import type { Device, Workload } from './workload';
import { suite } from './workloads';

const HELP = `npm run bench -- [options]

Times Vantage beside plain JavaScript, TensorFlow.js and PyTorch, and compares all with the memory floor: the bytes that a workload must
move, at the speed of a parallel copy measured in the same minutes. Results are checked before they are timed.

  --filter TEXT   only workloads whose name contains TEXT (several: --filter a --filter b)
  --device NAME   cpu (default) or cuda
  --quick         fewer and shorter samples
  --native        also the kernels without Node
  --no-peers      without TensorFlow.js and PyTorch
  --json FILE     write the rows as JSON
  --svg FILE      draw them there (default runs/bench.svg)
  --record        keep them in bench/results/, with machine, driver, date and commit
  --from FILE     measure nothing: print and draw a recording
  --list          the names of the workloads
  --help

Exit code 1 where a result is wrong. VANTAGE_NUM_THREADS sets the threads, PYTHON the interpreter that has torch, VANTAGE_BENCH_HARNESS the native
harness where it was built before (cmake --build build-cmake --target vantage_bench), so that no compiler is needed, VANTAGE_BENCH_COMMIT the commit of files outside of a clone.`;

const say = (message: string) => process.stderr.write(`${message}\n`);

function options() {
  const { values } = parseArgs({
    options: {
      filter: { type: 'string', multiple: true },
      device: { type: 'string', default: 'cpu' },
      quick: { type: 'boolean', default: false },
      native: { type: 'boolean', default: false },
      'no-peers': { type: 'boolean', default: false },
      json: { type: 'string' },
      svg: { type: 'string' },
      record: { type: 'boolean', default: false },
      from: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.device !== 'cpu' && values.device !== 'cuda') throw new Error(`--device: expected cpu or cuda, got '${values.device}'`);
  return { ...values, device: values.device as Device };
}

/** The workloads a filter names; without one those meant for the device. */
export function chosen(filter: readonly string[] | undefined, device: Device): Workload[] {
  const meant = suite.filter(({ devices, name }) => devices?.includes(device) !== false || filter?.includes(name));
  const found = meant.filter(({ name }) => !filter || filter.some((part) => name.includes(part)));
  if (found.length === 0) throw new Error(`--filter: expected a part of a workload's name, got '${filter?.join("', '")}'. Workloads: ${meant.map(({ name }) => name).join(', ')}`);
  return found;
}

/** The peer, or undefined with a message where it is not on this machine. */
async function ifThere<T>(start: () => Promise<T>): Promise<T | undefined> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof Skipped)) throw error;
    say(error.message);
    return undefined;
  }
}

async function measure(workloads: readonly Workload[], { device, quick: isQuick, native, 'no-peers': alone }: ReturnType<typeof options>) {
  say(process.env.VANTAGE_BENCH_HARNESS ? 'starting …' : 'building the native harness …');
  const harness = new Harness(buildHarness(), device);
  const python = alone ? undefined : await ifThere(() => PythonPeers.start(device));
  const tfjs = alone || device !== 'cpu' ? undefined : await ifThere(startTfjs);
  const arena: Arena = { device, effort: isQuick ? quick : device === 'cuda' ? onGpu : thorough, harness, native, python, tfjs, note: (message) => say(`    ${message}`) };
  say(`native: ${await harness.describe()}${python ? `; PyTorch ${python.version}` : ''}${tfjs ? `; tfjs ${tfjs.version_core}` : ''}`);
  const rows: Row[] = [];
  const failures: string[] = [];
  try {
    for (const [i, workload] of workloads.entries()) {
      say(`${i + 1}/${workloads.length} ${workload.name}`);
      const reason = reasonToSkip(workload, device);
      if (reason !== null) {
        say(`    skipped: ${reason}`);
        continue;
      }
      const outcome = await runWorkload(workload, arena);
      for (const failed of outcome.failures) say(`    WRONG ${failed}`);
      failures.push(...outcome.failures);
      if (!outcome.row) continue;
      rows.push(outcome.row);
      say(`    ${duration(outcome.row.seconds.median)}, ${times(outcome.row.floorRatio)} the floor`);
    }
  } finally {
    harness.close();
    python?.close();
  }
  return { rows, failures };
}

async function main(): Promise<number> {
  const given = options();
  if (given.help) return console.log(HELP), 0;
  if (given.list) return console.log(chosen(given.filter, given.device).map(({ name }) => name).join('\n')), 0;
  let recording: Recording;
  let failures: string[] = [];
  if (given.from !== undefined) recording = readRecording(given.from);
  else {
    const load = loadavg()[0]!;
    const measured = await measure(chosen(given.filter, given.device), given);
    failures = measured.failures;
    recording = recordingOf(measured.rows, given.device, load);
  }
  const { rows } = recording;
  if (rows.length > 0) console.log(`\n${table(rows)}\n\n${caption(recording)}`);
  const written: string[] = [];
  const put = (path: string, text: string) => {
    write(path, text);
    written.push(path);
  };
  if (given.json !== undefined) put(given.json, `${JSON.stringify(rows, null, 2)}\n`);
  if (rows.length > 0) put(given.svg ?? 'runs/bench.svg', svg(rows, caption(recording)));
  if (given.record && given.from === undefined) written.push(relative(process.cwd(), record(recording)) || '.');
  say(`\n${rows.length} rows${written.length > 0 ? `; wrote ${written.join(', ')}` : ''}`);
  if (failures.length > 0) say(`${failures.length} wrong results or failures:\n${failures.map((line) => `  ${line}`).join('\n')}`);
  return failures.length > 0 ? 1 : 0;
}

if (require.main === module) {
  main().then(
    (code) => (process.exitCode = code),
    (error: Error) => {
      say(`\n${error.message}`);
      process.exitCode = 1;
    },
  );
}
