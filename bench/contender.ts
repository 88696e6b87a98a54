/** Those who compute a workload within this process: the public API and plain JavaScript. */
import { evaluate, tensor, tidy, type Tensor } from 'vantage-rl';
import { widened } from './inputs';
import type { Data, Device, HostArray, HostArrays, HostData, Results, Workload } from './workload';

/** Somebody who computes a workload. The copies of its inputs and outputs are its sets; a call takes the next one, or always the first. */
export interface Contender {
  /** What the first set gives: all rows of the outputs, or so many. */
  check(rows?: number): Promise<Results>;
  /** Seconds a call, of so many calls, `rotate` over the sets. */
  time(calls: number, rotate: boolean): Promise<number>;
  dispose(): void | Promise<void>;
}

/** A reason not to run somebody on a workload, for the reader. */
export class Skipped extends Error {}

/** The part of whole outputs that is compared. */
export function firstRows(outputs: Data, workload: Workload, rows: number | undefined): Results {
  const part = (name: string, data: Float32Array) => (rows === undefined ? data : data.subarray(0, (data.length / workload.outputs[name]!.shape[0]!) * rows));
  return Object.fromEntries(Object.entries(outputs).map(([name, data]) => [name, part(name, data)]));
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

/** Runs `call` on the sets in turn. */
function timeCalls(calls: number, sets: number, call: (set: number) => void, finish: () => void): number {
  const start = now();
  for (let i = 0; i < calls; i++) call(i % sets);
  finish();
  return (now() - start) / calls;
}

function toDevice({ dtype, shape, data }: HostArray, device: Device): Tensor {
  const options = { shape, device } as Parameters<typeof tensor>[1];
  if (dtype !== 'bfloat16') return tensor(data, options);
  return tidy(() => {
    const narrow = tensor(widened(data as Uint16Array), options).cast('bfloat16');
    evaluate([narrow]);
    return narrow;
  });
}

const dataOf = (arrays: HostArrays): Data => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, array.data]));

/** `ours`, or one of a workload's variants. */
export class PublicApi implements Contender {
  private readonly host: Data;
  private readonly inputs: Record<string, Tensor>[];
  private readonly outputs: Record<string, Tensor>[] = [];

  constructor(arrays: HostArrays, private readonly run: Workload['ours'], private readonly names: readonly string[], sets: number, private readonly device: Device) {
    this.host = dataOf(arrays);
    this.inputs = Array.from({ length: sets }, () => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, toDevice(array, device)])));
  }

  /** The outputs stay until their set comes again, so that new ones take other memory than the ones before. */
  private readonly call = (set: number): void => {
    this.free(set);
    this.outputs[set] = tidy(() => {
      const outputs = this.run(this.inputs[set]!, this.host);
      evaluate(Object.values(outputs));
      return outputs;
    });
  };

  /** Work on a GPU is done when a number that depends on it has arrived. */
  private finish(set: number): void {
    if (this.device === 'cpu') return;
    const first = Object.values(this.outputs[set]!)[0]!;
    tidy(() => first.reshape([-1]).slice([0], [1]).dataSync());
  }

  async check(rows?: number): Promise<Results> {
    this.call(0);
    const outputs = this.outputs[0]!;
    return tidy(() => Object.fromEntries(this.names.map((name) => [name, (rows === undefined ? outputs[name]! : outputs[name]!.slice([0], [rows])).dataSync()])));
  }

  async time(calls: number, rotate: boolean): Promise<number> {
    const sets = rotate ? this.inputs.length : 1;
    return timeCalls(calls, sets, this.call, () => this.finish((calls - 1) % sets));
  }

  private free(set: number): void {
    for (const output of new Set(Object.values(this.outputs[set] ?? {}))) output.dispose();
    delete this.outputs[set];
  }

  dispose(): void {
    this.inputs.forEach((_, set) => this.free(set));
    for (const set of this.inputs) for (const input of Object.values(set)) input.dispose();
  }
}

/** A workload's `javascript`. */
export class JavaScript implements Contender {
  private readonly sets: { inputs: Data; outputs: Data }[];

  constructor(arrays: HostArrays, private readonly workload: Workload, private readonly run: NonNullable<Workload['javascript']>, sets: number) {
    const outputs = () => Object.entries(workload.outputs).map(([name, { shape }]) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]);
    const copy = (data: HostData) => data.slice();
    this.sets = Array.from({ length: sets }, (_, set) => ({
      inputs: Object.fromEntries(Object.entries(arrays).map(([name, { data }]) => [name, set === 0 ? data : copy(data)])),
      outputs: Object.fromEntries(outputs()),
    }));
  }

  private readonly call = (set: number): void => this.run(this.sets[set]!.inputs, this.sets[set]!.outputs);

  async check(rows?: number): Promise<Results> {
    this.call(0);
    return firstRows(this.sets[0]!.outputs, this.workload, rows);
  }

  async time(calls: number, rotate: boolean): Promise<number> {
    return timeCalls(calls, rotate ? this.sets.length : 1, this.call, () => undefined);
  }

  dispose(): void {
    this.sets.length = 0;
  }
}
