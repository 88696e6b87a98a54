/** Peers that are Python programs: found, loaded with a workload's inputs, checked and timed like everybody else. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Child } from '../child';
import { Skipped, type Contender } from '../contender';
import type { Device, HostArrays, Results, Workload } from '../workload';

interface Answer {
  error?: string;
  skip?: string;
  [key: string]: unknown;
}

/** The Pythons that may have torch: PYTHON from the environment, or the usual names. */
const candidates = () => (process.env.PYTHON ? [process.env.PYTHON] : ['python3', '/usr/bin/python3', 'python']);

/** One Python process with all its peers. */
export class PythonPeers {
  private constructor(private readonly child: Child, private readonly device: Device, private readonly functions: Record<string, string[]>, readonly version: string) {}

  /** @throws Skipped where there is no Python with torch */
  static async start(device: Device): Promise<PythonPeers> {
    const script = join(__dirname, device === 'cuda' ? 'gpu_peers.py' : 'torch_cpu.py');
    const threads = process.env.VANTAGE_NUM_THREADS ?? String(availableParallelism());
    const reasons: string[] = [];
    for (const python of candidates()) {
      const child = new Child(python, ['-B', script, threads]);
      await child.send('{"do":"hello"}');
      try {
        const { peers, version } = JSON.parse(await child.line()) as { peers: Record<string, string[]>; version: string };
        return new PythonPeers(child, device, peers, version);
      } catch (error) {
        child.close();
        reasons.push((error as Error).message);
      }
    }
    throw new Skipped(`no Python with PyTorch${device === 'cuda' ? ' that sees a GPU' : ''} found (PYTHON names one): ${reasons.join('; ')}`);
  }

  private async ask(message: object, ...bytes: ArrayBufferView[]): Promise<Answer> {
    await this.child.send(JSON.stringify(message), ...bytes);
    const answer = JSON.parse(await this.child.line()) as Answer;
    if (answer.skip !== undefined) throw new Skipped(answer.skip);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Gives the arrays of a workload to the process; returns its peers that have a function for it. */
  async load(workload: Workload, arrays: HostArrays, sets: number): Promise<Record<string, Contender>> {
    const { peer } = workload;
    const names = peer === undefined ? [] : Object.keys(this.functions).filter((name) => this.functions[name]!.includes(peer.name));
    if (names.length === 0) return {};
    const specs = Object.entries(arrays).map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, bytes: data.byteLength }));
    await this.ask({ do: 'load', sets, arrays: specs }, ...Object.values(arrays).map(({ data }) => data));
    return Object.fromEntries(names.map((name) => [name, this.contender(name, workload)]));
  }

  private contender(peer: string, workload: Workload): Contender {
    const who = { peer, function: workload.peer!.name, parameters: workload.peer!.parameters };
    const outputs = Object.keys(workload.outputs);
    return {
      check: async (rows) => {
        const { sizes } = (await this.ask({ do: 'check', ...who, outputs, rows })) as { sizes: number[] };
        const results: Results = {};
        for (const [i, name] of outputs.entries()) results[name] = new Float32Array(await this.child.bytes(sizes[i]!));
        return results;
      },
      time: async (calls, rotate) => (await this.ask({ do: 'time', ...who, calls, rotate })).seconds as number,
      ...(this.device === 'cuda' && {
        timeOnDevice: async (calls: number, rotate: boolean) => {
          const { seconds, queued } = (await this.ask({ do: 'time_on_device', ...who, calls, rotate })) as unknown as { seconds: number; queued: boolean };
          return queued ? seconds : NaN;
        },
      }),
      dispose: () => undefined,
    };
  }

  /** Frees the arrays of the last workload. */
  async unload(): Promise<void> {
    await this.ask({ do: 'load', sets: 1, arrays: [] });
  }

  close(): void {
    this.child.close();
  }
}
