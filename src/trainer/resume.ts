/** Where a run begins: afresh, or from a checkpoint; and what becomes of the checkpoints that are in its place. */
import { copyFileSync, existsSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { Config } from '../config';
import { writeWhole } from '../data/files';
import { ConfigError } from '../errors';
import { checkpointProblem, checkpointSteps, cleanCheckpoints, isCheckpoint, latestWhole, moveCheckpoints, newestWhole, readTrainerState, type TrainerState } from './checkpoint';
import { type ConfigChanges, configChanges } from './same_run';

/** A checkpoint that a run goes on from. */
export interface Resumption {
  folder: string;
  state: TrainerState;
  /** The last step whose metrics stand as they are; an evaluation that an interruption kept from its step adds to them. */
  resumedFrom: number;
  /** Keys whose values make other steps than the run would have made. */
  changed: string[];
  /** Newer checkpoints that are incomplete: a line for each. */
  passed: string[];
}

/** The files of an earlier run beside its checkpoints. */
const RUN_FILES = ['metrics.jsonl', 'samples.jsonl', 'config.json', 'learning_curve.html'];

/**
 * The checkpoint that `trainer.resume_mode` asks for, or null for a run that starts afresh. Cleans up behind a process that was killed.
 * @throws ConfigError for a `resume_path` that is no checkpoint, and for a checkpoint of a run whose configuration is another one; DataError for files that cannot be read
 */
export function findResumption(config: Config): Resumption | null {
  cleanCheckpoints(config.trainer.ckpt_path);
  const { folder, passed } = chosenCheckpoint(config);
  if (folder === null) return null;
  const state = readTrainerState(folder);
  const resumedFrom = state.evaluationPending ? state.globalStep - 1 : state.globalStep;
  return { folder, state, resumedFrom, changed: checkSameRun(folder, state, config), passed };
}

function chosenCheckpoint({ trainer: { resume_mode, resume_path, ckpt_path } }: Config): { folder: string | null; passed: string[] } {
  if (resume_mode === null) return { folder: null, passed: [] };
  return resume_mode === 'latest' ? latestWhole(ckpt_path) : { folder: givenCheckpoint(resume_path), passed: [] };
}

function givenCheckpoint(path: string | null): string {
  const expected = 'trainer.resume_path: expected the folder of a checkpoint ({ckpt_path}/global_step_N, with trainer_state.json and policy/)';
  if (path === null) throw new ConfigError(`${expected}, got null`);
  if (!existsSync(path)) throw new ConfigError(`${expected}, got '${path}': no such folder`);
  if (isCheckpoint(path)) {
    const problem = checkpointProblem(path);
    if (problem === null) return path;
    const whole = newestWhole(dirname(path)).folder;
    throw new ConfigError(`${expected}, got '${path}', which is incomplete (${problem}): ${whole === null ? 'none beside it is whole' : `${whole} is the newest whole one beside it`}`);
  }
  const newest = newestWhole(path).folder;
  if (newest !== null) throw new ConfigError(`${expected}, got '${path}', which holds checkpoints: ${newest} is the newest`);
  throw new ConfigError(`${expected}, got '${path}': there is no trainer_state.json`);
}

/** @throws ConfigError that lists the keys that must be as they were; returns the others that make a difference */
export function checkSameRun(folder: string, state: TrainerState, config: Config): ConfigChanges['effective'] {
  const { refused, effective } = configChanges(state.config, config);
  if (refused.length === 0) return effective;
  const choices = 'set them back, start afresh in the same place with trainer.resume_mode=null (what is there is kept aside), or take another place: trainer.ckpt_path=OTHER/checkpoints';
  throw new ConfigError(`${folder}: the checkpoint is of another run:\n${refused.map((line) => `  - ${line}`).join('\n')}\n  ${choices}`);
}

/** The lines that say what a run goes on from. */
export function describeResumption({ folder, state, changed, passed }: Resumption, totalSteps: number, batchesPerEpoch: number): string[] {
  const { globalStep, seconds, data, evaluationPending } = state;
  return [
    ...passed,
    `Resuming after step ${globalStep}${
      globalStep > totalSteps ? `, beyond the ${totalSteps} of this run` : ` of ${totalSteps}`
    } (epoch ${data.epoch}, ${data.batch} of ${batchesPerEpoch} batches taken; ${seconds.toFixed(1)} s so far): ${folder}`,
    ...(evaluationPending ? [`  the evaluation after step ${globalStep}, which was interrupted, comes first`] : []),
    ...changed.map((line) => `  from here on with another value of ${line}`),
    ...(globalStep >= totalSteps
      ? ['  these are all its steps: more trainer.epochs or trainer.max_training_steps train on, trainer.resume_mode=null starts afresh']
      : []),
  ];
}

/**
 * Makes room for a run that starts afresh, or goes on from a checkpoint that is not the newest one in its place: those it would write over, and with them the metrics,
 * go to a folder of their own in `ckpt_path`. Nothing is deleted.
 *
 * @param exportFolder of the metrics
 * @returns lines that say what was moved
 */
export function makeRoom({ trainer: { ckpt_path } }: Config, exportFolder: string, resumption: Resumption | null): string[] {
  const isHere = resumption !== null && existsSync(ckpt_path) && dirname(realpathSync(resumption.folder)) === realpathSync(ckpt_path);
  const kept = isHere ? resumption.state.globalStep : -1;
  const steps = checkpointSteps(ckpt_path).filter((step) => step > kept);
  if (steps.length === 0) return [];
  const folder = join(ckpt_path, `earlier_run_${1 + numberOfEarlierRuns(ckpt_path)}`);
  moveCheckpoints(ckpt_path, steps, folder);
  for (const name of RUN_FILES) {
    const file = join(exportFolder, name);
    if (existsSync(file)) takeAlong(file, join(folder, name), isHere);
  }
  const what = steps.length === 1 ? `the checkpoint of step ${steps[0]}` : `${steps.length} checkpoints (steps ${steps[0]} to ${steps.at(-1)})`;
  return [`${what} of an earlier run, and its metrics are now in ${folder}`];
}

/** The folders may be on two disks. */
function takeAlong(file: string, to: string, copies: boolean): void {
  copyFileSync(file, to);
  if (!copies) rmSync(file);
}

function numberOfEarlierRuns(path: string): number {
  const numbers = readdirSync(path).flatMap((name) => /^earlier_run_(\d+)$/.exec(name)?.[1] ?? []);
  return Math.max(0, ...numbers.map(Number));
}

/** Puts metrics.jsonl where the checkpoint left it: complete up to there, whatever a killed process wrote or did not, and nothing beyond. */
export function restoreMetrics(exportFolder: string, { state, resumedFrom }: Resumption): void {
  const kept = state.history.filter(({ step }) => step <= resumedFrom);
  writeWhole(join(exportFolder, 'metrics.jsonl'), kept.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

/**
 * The command that goes on with an interrupted run, as a shell takes it, or null where the process was not started by this command line.
 * @param argv what `main` was given
 */
export function resumeCommand(argv: readonly string[], { trainer }: Config, { argv: whole, execArgv }: Pick<NodeJS.Process, 'argv' | 'execArgv'> = process): string | null {
  const start = whole.length - argv.length;
  if (start < 2 || !argv.every((argument, i) => whole[start + i] === argument)) return null;
  const script = whole[1];
  const isOurs = /(^|[\\/])(vantage|cli[\\/]main\.js)$/.test(script);
  const below = relative('.', script);
  const program = isOurs ? ['npx', 'vantage'] : ['node', ...execArgv, below.startsWith('..') ? script : below];
  const isLatest = trainer.resume_mode === 'latest';
  const kept = argv.filter((argument) => isLatest || !/^trainer\.resume_(mode|path)=/.test(argument));
  const mode = isLatest ? [] : ['trainer.resume_mode=latest', ...(trainer.resume_path === null ? [] : ['trainer.resume_path=null'])];
  return [...program, ...whole.slice(2, start), ...kept, ...mode].map(quoted).join(' ');
}

function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
