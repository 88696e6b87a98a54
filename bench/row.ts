/** A measured row, as `--json` writes it. Times are seconds a call. */
import type { Times } from './measure';
import type { Device } from './workload';

export interface Row {
  workload: string;
  device: Device;
  shape: number[];
  dtype: string;
  tokens: number;
  /** A call of the public API among many, on arrays that come from memory (copies of them take turns where one would stay in the cache). */
  seconds: Times;
  /** The bytes that must move, at the speed of a large parallel copy in the same minutes. */
  floorSeconds: number;
  floorRatio: number;
  /** Medians of the others, taking turns with ours. */
  peers: Record<string, number>;
  /** Ours and every peer listed gave the numbers of the float64 reference before they were timed. */
  checked: true;
  /** One call by itself, its result waited for. */
  call: Times;
  /** The same by another way through the public API. */
  variants?: Record<string, number>;
  /** The kernels without Node. */
  native?: Times;
  /** On a GPU: the device alone. */
  onDevice?: OnDevice;
  /** The same arrays again and again, where they stay in the cache; the floor is a copy of as many bytes there. */
  hot?: { seconds: number; floorSeconds: number; floorRatio: number; peers: Record<string, number>; variants?: Record<string, number>; native?: number; onDevice?: OnDevice };
}

/** Medians of a GPU's own time: every call was queued before it began, so that the host has no share. Who cannot be queued in time is missing. */
export interface OnDevice {
  /** Ours, through the public API. */
  seconds?: number;
  native?: number;
  variants?: Record<string, number>;
  peers?: Record<string, number>;
}
