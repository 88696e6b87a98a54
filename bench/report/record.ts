/** Recordings: rows with the machine, the date and the commit, in bench/results/. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { commit, machine, type Machine } from '../machine';
import type { Row } from '../row';
import type { Device } from '../workload';

export interface Recording {
  date: string;
  commit: string | null;
  machine: Machine;
  device: Device;
  /** On a GPU: how fused programs run, `auto`, `interpret` or `compile` (VANTAGE_CUDA_PROGRAMS). */
  programs?: string;
  /** The average of a minute before the run began: what else the machine was doing. */
  load: number;
  rows: Row[];
}

export function recordingOf(rows: Row[], device: Device, load: number, date = new Date()): Recording {
  return {
    date: date.toISOString().slice(0, 10),
    commit: commit(),
    machine: machine(device),
    device,
    ...(device === 'cuda' && { programs: process.env.VANTAGE_CUDA_PROGRAMS || 'auto' }),
    load: Number(load.toFixed(1)),
    rows,
  };
}

const processor = ({ device, machine }: Recording) => (device === 'cuda' ? (machine.gpu ?? 'gpu') : machine.cpu);

/** From this load on the figures say so. */
const BUSY = 1;

/** Where and when, for people. */
export function caption(recording: Recording): string {
  const cores = recording.device === 'cpu' ? `, ${recording.machine.cores} cores` : '';
  const busy = recording.load >= BUSY ? `, others at work (load ${recording.load})` : '';
  const programs = (recording.programs ?? 'auto') === 'auto' ? '' : `, programs: ${recording.programs}`;
  return `${processor(recording)}${cores}${programs}, ${recording.date}${recording.commit ? `, commit ${recording.commit}` : ''}${busy}`;
}

export function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** <date>-<processor>.json, or <date>-<GPU>[-<programs>].json where it was not left to the library how programs run. */
export function fileName(recording: Recording): string {
  const programs = (recording.programs ?? 'auto') === 'auto' ? '' : ` ${recording.programs}`;
  const slug = `${processor(recording)}${programs}`.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
  return `${recording.date}-${slug}.json`;
}

/** Writes bench/results/<name>; returns its path. */
export function record(recording: Recording): string {
  const path = join(__dirname, '../results', fileName(recording));
  write(path, `${JSON.stringify(recording, null, 2)}\n`);
  return path;
}

/** @throws Error that names the file where it holds no recording */
export function readRecording(path: string): Recording {
  const recording = JSON.parse(readFileSync(path, 'utf8')) as Recording;
  if (!Array.isArray(recording.rows)) throw new Error(`${path}: expected a recording made with --record, got ${Array.isArray(recording) ? 'an array' : 'something else'}`);
  return recording;
}
