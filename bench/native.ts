/** The native harness (bench/native/bench.cpp): the copy that is the floor, and the kernels without Node. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Child } from './child';
import { firstRows, type Contender } from './contender';
import { widened } from './inputs';
import { byteSize, type Data, type Device, type HostArrays, type Workload } from './workload';

const root = join(__dirname, '..');
const folder = join(root, 'build-cmake');

/** Builds the harness in the folder of the addon, whose objects it shares; returns the program. @throws Error with what the build printed */
export function buildHarness(): string {
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
      await this.ask(`array ${array.dtype} ${given.length} ${array.shape.length} ${array.shape.join(' ')}`, ...given).catch((error: Error) => {
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
        const results: Data = {};
        for (const [name, output] of Object.entries(workload.outputs)) {
          await this.ask(`read ${names.indexOf(name)}`);
          const bytes = await this.child.bytes(byteSize(output));
          results[name] = output.dtype === 'bfloat16' ? widened(new Uint16Array(bytes)) : new Float32Array(bytes);
        }
        return firstRows(results, workload, rows);
      },
      time: async (calls, rotate) => Number(await this.ask(`time ${calls} ${rotate ? 1 : 0}`)),
      dispose: async () => void (await this.ask('job 0')),
    };
  }

  close(): void {
    this.child.close();
  }
}
