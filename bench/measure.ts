/** Times contenders in turns, so that whatever else the machine does hits all of them. */
import type { Contender } from './contender';

export interface Times {
  median: number;
  min: number;
  max: number;
}

export function summary(samples: readonly number[]): Times {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median: rounded(median), min: rounded(sorted[0]!), max: rounded(sorted[sorted.length - 1]!) };
}

/** Six digits: the clock has no more. */
export const rounded = (value: number): number => Number(value.toPrecision(6));

export interface Effort {
  rounds: number;
  /** A sample is as many calls as take so many seconds. */
  sample: number;
  /** Seconds that a contender is called for before the first sample. */
  warm: number;
  /** The same of who runs in Node, which compiles what is called often piece by piece. */
  warmJavaScript: number;
  /** Seconds after which a contender leaves, with at least `least` samples. */
  budget: number;
  least: number;
}

/** A GPU that nobody else uses gives the same times again and again. */
export const onGpu: Effort = { rounds: 11, sample: 0.005, warm: 0.05, warmJavaScript: 0.5, budget: 0.4, least: 3 };
export const thorough: Effort = { rounds: 21, sample: 0.01, warm: 0.05, warmJavaScript: 1.5, budget: 1.5, least: 3 };
export const quick: Effort = { rounds: 5, sample: 0.002, warm: 0.002, warmJavaScript: 0.002, budget: 0.3, least: 1 };

const MOST_WARM = 2000;

/** One thing to time; `calls` fixed, or as many as fill a sample. */
export interface Timed {
  time: Contender['time'];
  rotate: boolean;
  calls?: number;
  inJavaScript?: boolean;
}

/** Seconds a call of each, warmed up; the calls before choose how many a sample is. Who throws is left out, and told to `failed`. */
export async function takeTurns(contenders: Record<string, Timed>, effort: Effort, failed: (name: string, error: Error) => void): Promise<Record<string, Times>> {
  const all = Object.entries(contenders).map(([name, timed]) => ({ name, timed, calls: 1, spent: 0, samples: [] as number[], out: false }));
  const attempt = async (one: (typeof all)[number], calls: number): Promise<number> => {
    try {
      return await one.timed.time(calls, one.timed.rotate);
    } catch (error) {
      one.out = true;
      failed(one.name, error as Error);
      return effort.budget;
    }
  };
  for (const one of all) {
    let seconds = await attempt(one, 1);
    // The first call says little of the others. Who takes long is not waited for twice.
    const warm = one.timed.inJavaScript ? effort.warmJavaScript : effort.warm;
    for (const most of [10, MOST_WARM]) {
      if (seconds < effort.budget) seconds = await attempt(one, Math.max(1, Math.min(most, Math.floor(warm / seconds))));
    }
    one.calls = one.timed.calls ?? Math.max(1, Math.min(10_000, Math.round(effort.sample / seconds)));
  }
  for (let round = 0; round < effort.rounds; round++) {
    for (const one of all) {
      if (one.out || (one.spent > effort.budget && one.samples.length >= effort.least)) continue;
      const seconds = await attempt(one, one.calls);
      if (one.out) continue;
      one.samples.push(seconds);
      one.spent += seconds * one.calls;
    }
  }
  return Object.fromEntries(all.filter(({ out }) => !out).map(({ name, samples }) => [name, summary(samples)]));
}

/** One whose time is taken on the device; a call takes `seconds` with the host's share. */
export interface TimedOnDevice {
  timeOnDevice: NonNullable<Contender['timeOnDevice']>;
  rotate: boolean;
  seconds: number;
}

/** Calls of a sample on the device take so long, half of what the GPU is kept busy for while they are queued (native/cuda/timer.h) … */
const DEVICE_SAMPLE = 0.001;
/** … and are not so many that the queue is full. */
const MOST_QUEUED = 32;
const DEVICE_ROUNDS = 7;

/** Medians of the seconds a call on the device, in turns; without those whose calls are not queued in time. */
export async function takeTurnsOnDevice(contenders: Record<string, TimedOnDevice>, rounds: number, failed: (name: string, error: Error) => void): Promise<Record<string, number>> {
  const all = Object.entries(contenders).map(([name, { timeOnDevice, rotate, seconds }]) => ({
    name,
    samples: [] as number[],
    out: false,
    sample: () => timeOnDevice(Math.max(1, Math.min(MOST_QUEUED, Math.round(DEVICE_SAMPLE / seconds))), rotate),
  }));
  for (let round = 0; round < Math.min(rounds, DEVICE_ROUNDS); round++) {
    for (const one of all) {
      if (one.out) continue;
      try {
        one.samples.push(await one.sample());
      } catch (error) {
        one.out = true;
        failed(one.name, error as Error);
      }
      // Who is never queued in time is not waited for.
      if (round === 1 && one.samples.every(Number.isNaN)) one.out = true;
    }
  }
  const queued = all.map(({ name, samples, out }) => ({ name, samples: out ? [] : samples.filter((sample) => !Number.isNaN(sample)) }));
  return Object.fromEntries(queued.filter(({ samples }) => samples.length > 0).map(({ name, samples }) => [name, summary(samples).median]));
}
