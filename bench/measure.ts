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
  /** Seconds after which a contender leaves, with at least `least` samples. */
  budget: number;
  least: number;
}

/** A GPU that nobody else uses gives the same times again and again. */
export const onGpu: Effort = { rounds: 11, sample: 0.005, budget: 0.4, least: 3 };
export const thorough: Effort = { rounds: 21, sample: 0.01, budget: 1.5, least: 3 };
export const quick: Effort = { rounds: 5, sample: 0.002, budget: 0.3, least: 1 };

/** One thing to time; `calls` fixed, or as many as fill a sample. */
export interface Timed {
  time: Contender['time'];
  rotate: boolean;
  calls?: number;
}

/** Seconds a call of each. Two calls warm a contender up first; they choose how many calls a sample is. Who throws is left out, and told to `failed`. */
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
    if (seconds < effort.budget) {
      // Compilers and caches need more than one call of what is short.
      const warm = Math.max(1, Math.min(200, Math.floor(effort.sample / seconds)));
      seconds = await attempt(one, warm);
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
