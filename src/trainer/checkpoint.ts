/** Checkpoints: `{ckpt_path}/global_step_N/` appears whole or not at all, and `latest_ckpt_global_step.txt` names it afterwards. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DataLoaderState } from '../data';
import { syncFolder } from '../data/files';
import { DataError, showValue } from '../errors';
import { type AdamW, type Decoder, readSafetensors, writeSafetensors } from '../models';
import type { Tensor } from '../tensor';
import type { CoefficientsState } from './coefficients';
import type { SavedEstimator } from './estimator_state';

/** What stands beside the weights; plain JSON. */
export interface TrainerState {
  /** Of this layout. */
  version: 1;
  /** Training steps that are done. */
  globalStep: number;
  /** Where the data loader stands. */
  data: DataLoaderState;
  /** Every random number of a step follows from the seed and the step. */
  seed: number;
  /** The metrics that `trainer.stop_when` looks back on. */
  recent: number[];
  /** The weights of the KL term and the entropy bonus; absent in checkpoints of before there were any that move. */
  coefficients?: CoefficientsState;
  /** The advantage estimator's own state, in a file of its own; null where there is none. */
  estimator: SavedEstimator | null;
  /** The whole configuration of the run. */
  config: unknown;
}

/** The models of a checkpoint by folder: `policy`, `critic`, and `ref`, which nothing trains, where it changes during the run. */
export type CheckpointModels = Record<string, { model: Decoder; optimizer: AdamW | null }>;

const latestName = 'latest_ckpt_global_step.txt';
const stateName = 'trainer_state.json';
const estimatorName = 'advantage_estimator.json';
const stepFolder = /^global_step_(\d+)$/;

/**
 * Writes a checkpoint and deletes those that are older than the newest `keep` (−1: none).
 * @returns its folder
 * @throws DataError naming the folder
 */
export function saveCheckpoint(path: string, models: CheckpointModels, state: TrainerState, keep = -1): string {
  const folder = join(path, `global_step_${state.globalStep}`);
  const draft = `${folder}.draft`;
  try {
    rmSync(draft, { recursive: true, force: true });
    for (const [name, { model, optimizer }] of Object.entries(models)) {
      mkdirSync(join(draft, name), { recursive: true });
      writeSafetensors(join(draft, name, 'model.safetensors'), model.parameters, { format: 'pt' });
      if (optimizer === null) continue;
      const { step, tensors } = optimizer.state();
      writeSafetensors(join(draft, name, 'optimizer.safetensors'), tensors, { step: String(step) });
    }
    // It may hold something for each prompt, and is kept out of what people read.
    const { estimator, ...rest } = state;
    if (estimator !== null) writeSynced(join(draft, estimatorName), `${JSON.stringify(estimator)}\n`);
    writeSynced(join(draft, stateName), `${JSON.stringify(rest, null, 2)}\n`);
    // One of the same step, from an earlier run, makes room; it is deleted once its successor stands.
    const earlier = `${folder}.earlier`;
    rmSync(earlier, { recursive: true, force: true });
    if (existsSync(folder)) renameSync(folder, earlier);
    renameSync(draft, folder);
    rmSync(earlier, { recursive: true, force: true });
    const latest = join(path, latestName);
    writeSynced(`${latest}.draft`, `${state.globalStep}\n`);
    renameSync(`${latest}.draft`, latest);
    syncFolder(path);
  } catch (error) {
    throw new DataError(`${folder}: the checkpoint cannot be written (${(error as Error).message})`, { cause: error });
  }
  if (keep > 0) deleteOlder(path, state.globalStep, keep);
  return folder;
}

/** The folder of the newest complete checkpoint under `path`, or null. @throws DataError for a pointer that is no step or leads nowhere */
export function latestCheckpoint(path: string): string | null {
  const file = join(path, latestName);
  if (!existsSync(file)) return null;
  const text = readFileSync(file, 'utf8').trim();
  const folder = join(path, `global_step_${text}`);
  if (!/^\d+$/.test(text) || !existsSync(folder))
    throw new DataError(`${file}: expected the step of a checkpoint beside it, got ${showValue(text)}`);
  return folder;
}

/**
 * Reads a checkpoint into models and optimizers of the same shapes.
 * @returns the state beside the weights
 * @throws DataError naming the file and what is wrong with it; TensorError for shapes that differ
 */
export function loadCheckpoint(folder: string, models: CheckpointModels): TrainerState {
  const state = readState(folder);
  for (const [name, { model, optimizer }] of Object.entries(models)) {
    if (optimizer === null) {
      loadWeights(join(folder, name, 'model.safetensors'), model.parameters);
      continue;
    }
    const file = join(folder, name, 'optimizer.safetensors');
    const { tensors, metadata } = readSafetensors(file);
    const step = Number(metadata.step);
    if (!Number.isInteger(step) || step < 0)
      throw new DataError(`${file}: metadata step: expected an integer, 0 or more, got ${showValue(metadata.step)}`);
    loadWeights(join(folder, name, 'model.safetensors'), model.parameters);
    optimizer.loadState({ step, tensors });
  }
  return state;
}

/** Puts a file's weights in the place of a model's. @throws DataError naming a tensor that is missing, unknown or of another shape */
function loadWeights(file: string, parameters: Map<string, Tensor>): void {
  const { tensors } = readSafetensors(file);
  const describe = (x: Tensor | undefined) => (x === undefined ? 'none' : `${x.dtype} [${x.shape.join(',')}]`);
  const names = new Set([...parameters.keys(), ...tensors.keys()]);
  for (const name of names) {
    const [expected, got] = [describe(parameters.get(name)), describe(tensors.get(name))];
    if (expected !== got) throw new DataError(`${file}: ${name}: expected ${expected}, got ${got}`);
  }
  for (const [name, parameter] of parameters) {
    const loaded = tensors.get(name)!;
    parameter.replace(loaded.node);
    loaded.dispose();
  }
}

/** Where a checkpoint keeps the estimator's state. */
export function estimatorFile(folder: string): string {
  return join(folder, estimatorName);
}

function readState(folder: string): TrainerState {
  const file = join(folder, stateName);
  const state = readJson(file) as Partial<TrainerState> | null;
  if (state?.version !== 1) throw new DataError(`${file}: version: expected 1, got ${showValue(state?.version)}`);
  if (!Number.isInteger(state.globalStep))
    throw new DataError(`${file}: globalStep: expected an integer, got ${showValue(state.globalStep)}`);
  const estimator = existsSync(estimatorFile(folder)) ? (readJson(estimatorFile(folder)) as SavedEstimator) : null;
  return { ...(state as TrainerState), estimator };
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new DataError(`${file}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

function deleteOlder(path: string, newest: number, keep: number): void {
  const steps = readdirSync(path)
    .flatMap((name) => stepFolder.exec(name)?.[1] ?? [])
    .map(Number);
  // Steps beyond the newest are an earlier run's: not ours to judge.
  const ours = steps.filter((step) => step <= newest).sort((a, b) => b - a);
  for (const step of ours.slice(keep)) rmSync(join(path, `global_step_${step}`), { recursive: true, force: true });
}

function writeSynced(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const descriptor = openSync(file, 'w');
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
