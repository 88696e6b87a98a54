/** Those who compute a workload within this process: the public API and plain JavaScript. */
import { concat, evaluate, synchronize, tensor, tidy, type Tensor } from 'vantage-rl';
import { native } from '../src/native';
import { product, rowsOf, type Data, type Device, type HostArray, type HostArrays, type HostData, type Results, type RowRange, type Workload } from './workload';

/** Somebody who computes a workload. The copies of its inputs and outputs are its sets; a call takes the next one, or always the first. */
export interface Contender {
  /** What the first set gives: all rows of the outputs, or those in the ranges. */
  check(rows?: readonly RowRange[]): Promise<Results>;
  /** Seconds a call, of so many calls, `rotate` over the sets. */
  time(calls: number, rotate: boolean): Promise<number>;
  /** The same of a GPU alone, without the host's share; NaN where the host was too slow to queue all calls before the GPU began. */
  timeOnDevice?(calls: number, rotate: boolean): Promise<number>;
  dispose(): void | Promise<void>;
}

/** A reason not to run somebody on a workload, for the reader. */
export class Skipped extends Error {}

/** The part of whole outputs that is compared. */
export function checkedPart(outputs: Data, workload: Workload, rows: readonly RowRange[] | undefined): Results {
  return Object.fromEntries(Object.entries(outputs).map(([name, data]) => [name, rowsOf({ shape: workload.outputs[name]!.shape, data: data as HostData }, rows)]));
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

/** Runs `call` on the sets in turn. */
function timeCalls(calls: number, sets: number, call: (set: number) => void, finish: () => void): number {
  const start = now();
  for (let i = 0; i < calls; i++) call(i % sets);
  finish();
  return (now() - start) / calls;
}

/** An array as a tensor. What repeats is repeated by a GPU itself: gigabytes take seconds to make on the host and to send. */
function toDevice(array: HostArray, device: Device): Tensor {
  const { dtype, shape, data } = array;
  const size = product(shape);
  if (device === 'cpu' || data.length === size) return tensor(rowsOf(array), { dtype, shape, device });
  return tidy(() => {
    const beginning = tensor(data, { dtype, device });
    const times = Math.floor(size / data.length);
    const repeated = beginning.expandDims(0).broadcastTo([times, data.length]).reshape([-1]);
    return concat([repeated, beginning.slice([0], [size - times * data.length])]).reshape(shape).realize();
  });
}

/** The inputs as tensors, shared by all who call the public API. */
export class PublicInputs {
  readonly host: Data;
  readonly sets: Record<string, Tensor>[];

  constructor(arrays: HostArrays, sets: number, readonly device: Device) {
    this.host = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, array.data]));
    this.sets = Array.from({ length: sets }, () => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, toDevice(array, device)])));
  }

  dispose(): void {
    for (const set of this.sets) for (const input of Object.values(set)) input.dispose();
  }
}

/** `ours`, or one of a workload's variants. */
export class PublicApi implements Contender {
  private readonly outputs: Record<string, Tensor>[] = [];

  constructor(private readonly inputs: PublicInputs, private readonly run: Workload['ours'], private readonly names: readonly string[]) {}

  /** The outputs stay until their set comes again, so that new ones take other memory than the ones before. */
  private readonly call = (set: number): void => {
    this.free(set);
    this.outputs[set] = tidy(() => {
      const outputs = this.run(this.inputs.sets[set]!, this.inputs.host);
      evaluate(Object.values(outputs));
      return outputs;
    });
  };

  async check(rows?: readonly RowRange[]): Promise<Results> {
    this.call(0);
    const outputs = this.outputs[0]!;
    const part = (output: Tensor) => (rows === undefined ? output : concat(rows.map(([begin, end]) => output.slice([begin], [end]))));
    return tidy(() => Object.fromEntries(this.names.map((name) => [name, part(outputs[name]!).dataSync()])));
  }

  async time(calls: number, rotate: boolean): Promise<number> {
    return timeCalls(calls, rotate ? this.inputs.sets.length : 1, this.call, () => synchronize(this.inputs.device));
  }

  async timeOnDevice(calls: number, rotate: boolean): Promise<number> {
    const { device } = this.inputs;
    native().startTimer(device);
    for (let i = 0; i < calls; i++) this.call(rotate ? i % this.inputs.sets.length : 0);
    const { seconds, queued } = native().stopTimer(device);
    return queued ? seconds / calls : NaN;
  }

  private free(set: number): void {
    for (const output of new Set(Object.values(this.outputs[set] ?? {}))) output.dispose();
    delete this.outputs[set];
  }

  dispose(): void {
    this.inputs.sets.forEach((_, set) => this.free(set));
  }
}

/** A workload's `javascript`. */
export class JavaScript implements Contender {
  private readonly sets: { inputs: Data; outputs: Data }[];

  constructor(arrays: HostArrays, private readonly workload: Workload, private readonly run: NonNullable<Workload['javascript']>, sets: number) {
    const outputs = () => Object.entries(workload.outputs).map(([name, { shape }]) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]);
    const whole = Object.entries(arrays).map(([name, array]) => [name, rowsOf(array)] as const);
    this.sets = Array.from({ length: sets }, (_, set) => ({
      inputs: Object.fromEntries(whole.map(([name, data]) => [name, set === 0 ? data : data.slice()])),
      outputs: Object.fromEntries(outputs()),
    }));
  }

  private readonly call = (set: number): void => this.run(this.sets[set]!.inputs, this.sets[set]!.outputs);

  async check(rows?: readonly RowRange[]): Promise<Results> {
    this.call(0);
    return checkedPart(this.sets[0]!.outputs, this.workload, rows);
  }

  async time(calls: number, rotate: boolean): Promise<number> {
    return timeCalls(calls, rotate ? this.sets.length : 1, this.call, () => undefined);
  }

  dispose(): void {
    this.sets.length = 0;
  }
}
