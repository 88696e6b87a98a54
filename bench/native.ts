/** The native harness (bench/native/bench.cpp): the copy that is the floor, and the kernels without Node. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Child } from './child';
import type { Contender } from './contender';
import { widened } from './inputs';
import { product, type ArrayType, type Device, type HostArrays, type Results, type RowRange, type Workload } from './workload';

const root = join(__dirname, '..');
const folder = join(root, 'build-cmake');

/**
 * The program: the one that VANTAGE_BENCH_HARNESS names, or one built now in the folder of the addon, whose objects it shares.
 *
 * @throws Error with what the build printed
 */
export function buildHarness(): string {
  const built = process.env.VANTAGE_BENCH_HARNESS;
  if (built) {
    if (!existsSync(built)) throw new Error(`VANTAGE_BENCH_HARNESS: expected the path of a built vantage_bench, got ${built}`);
    return built;
  }
  const run = (...args: string[]) => {
    const { status, stdout, stderr, error } = spawnSync('cmake', args, { cwd: root, encoding: 'utf8' });
    if (status !== 0) throw new Error(error?.message ?? `cmake ${args.join(' ')}\n${stdout}${stderr}`);
  };
  if (!existsSync(join(folder, 'CMakeCache.txt'))) run('-S', '.', '-B', folder, '-DCMAKE_BUILD_TYPE=Release');
  run('--build', folder, '--target', 'vantage_bench', '--parallel', String(availableParallelism()));
  const found = ['vantage_bench', 'Release/vantage_bench'].map((path) => join(folder, path)).find((path) => existsSync(path));
  if (found === undefined) throw new Error('the build left no vantage_bench');
  return found;
}

/** The numbers that the bytes of an array stand for. */
function numbers({ dtype }: ArrayType, bytes: ArrayBuffer): ArrayLike<number> {
  if (dtype === 'bfloat16') return widened(new Uint16Array(bytes));
  if (dtype !== 'float32') throw new Error(`expected an output of float32 or bfloat16, got ${dtype}`);
  return new Float32Array(bytes);
}

/** The running harness. It holds one job at a time: a list of kernel calls on arrays of its own. */
export class Harness {
  private readonly child: Child;

  constructor(program: string, device: Device) {
    // The harness looks beside itself; the addon's library stands beside the addon.
    const beside = join(root, 'build/Release/libvantage_cuda.so');
    const library = process.env.VANTAGE_CUDA_LIBRARY ?? (existsSync(beside) ? beside : undefined);
    this.child = new Child(program, [device], { env: { ...process.env, ...(library && { VANTAGE_CUDA_LIBRARY: library }) } });
  }

  private async ask(line: string, ...bytes: ArrayBufferView[]): Promise<string> {
    await this.child.send(line, ...bytes);
    const answer = await this.child.line();
    if (!answer.startsWith('ok')) throw new Error(answer.replace(/^error /, ''));
    return answer.slice(3);
  }

  /** What runs, for the reader: `cpu avx2, 2 threads`. */
  describe(): Promise<string> {
    return this.ask('describe');
  }

  /** Seconds of a parallel copy from one array of so many bytes to another; it moves twice as many. */
  async copy(bytes: number, calls: number): Promise<number> {
    return Number(await this.ask(`copy ${Math.ceil(bytes)} ${calls}`));
  }

  /** A workload's kernels as a contender. */
  async load(workload: Workload, arrays: HostArrays, sets: number): Promise<Contender> {
    const { scratch = {}, calls } = workload.native!;
    const all = { ...arrays, ...workload.outputs, ...scratch };
    const names = Object.keys(all);
    await this.ask(`job ${sets}`);
    for (const [name, array] of Object.entries(all)) {
      const given = 'data' in array ? [(array as HostArrays[string]).data] : [];
      await this.ask(`array ${array.dtype} ${given[0]?.length ?? 0} ${array.shape.length} ${array.shape.join(' ')}`, ...given).catch((error: Error) => {
        throw new Error(`${name}: ${error.message}`);
      });
    }
    for (const { kernel, views, scalars = [], attributes = [] } of calls) {
      const list = (numbers: readonly number[]) => [numbers.length, ...numbers].join(' ');
      await this.ask(`call ${kernel} ${list(views.map((name) => names.indexOf(name)))} ${list(scalars)} ${list(attributes)}`);
    }
    await this.ask('ready');
    return {
      check: async (rows) => {
        await this.ask('time 1 0');
        const results: Results = {};
        for (const [name, output] of Object.entries(workload.outputs)) results[name] = await this.read(names.indexOf(name), output, rows);
        return results;
      },
      time: async (calls, rotate) => Number(await this.ask(`time ${calls} ${rotate ? 1 : 0}`)),
      timeOnDevice: async (calls, rotate) => {
        const [seconds, queued] = (await this.ask(`device ${calls} ${rotate ? 1 : 0}`)).split(' ').map(Number);
        return queued === 1 ? seconds! : NaN;
      },
      dispose: async () => void (await this.ask('job 0')),
    };
  }

  /** Rows of an array of the job. */
  private async read(index: number, array: ArrayType, rows: readonly RowRange[] = [[0, array.shape[0]!]]): Promise<ArrayLike<number>> {
    const width = product(array.shape.slice(1));
    const parts: ArrayBuffer[] = [];
    for (const [begin, end] of rows) parts.push(await this.child.bytes(Number(await this.ask(`read ${index} ${begin * width} ${(end - begin) * width}`))));
    return numbers(array, await new Blob(parts).arrayBuffer());
  }

  close(): void {
    this.child.close();
  }
}
