/** Checkpoints: `{ckpt_path}/global_step_N/` appears whole or not at all, and `latest_ckpt_global_step.txt` names it afterwards. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import type { DataLoaderState } from '../data';
import { checkFields, checkList, checkPath } from '../data/check';
import { syncFolder, writeSynced } from '../data/files';
import { DataError, showValue } from '../errors';
import { makeFolder } from '../folders';
import { AdamW, Decoder, readSafetensors, saveHuggingFace, writeSafetensors } from '../models';
import { withSafetensors } from '../models/safetensors';
import type { Tensor } from '../tensor';
import type { MetricsRecord } from '../tracking';
import type { CoefficientsState } from './coefficients';
import type { SavedEstimator } from './estimator_state';
import { historyText, parseHistory } from './history';

/** What stands beside the weights; plain JSON. */
export interface TrainerState {
  /** Of this layout. */
  version: 3;
  /** Training steps that are done. */
  globalStep: number;
  /** What training took up to here, evaluations and checkpoints included. */
  seconds: number;
  /** Where the data loader stands: the batches that were taken, which may be more than the steps. */
  data: DataLoaderState;
  /** Of the training prompts: `datasetFingerprint`. */
  dataset: string;
  /** Every random number of a step follows from the seed and the step. */
  seed: number;
  /** The weights of the KL term and the entropy bonus. */
  coefficients: CoefficientsState;
  /** Whether an interruption came before the evaluation of this step, which is then made up for. */
  evaluationPending: boolean;
  /** The advantage estimator's own state, in a file of its own; null where there is none. */
  estimator: SavedEstimator | null;
  /** The metrics of all steps so far, in a file of its own. */
  history: readonly MetricsRecord[];
  /** The whole configuration of the run. */
  config: unknown;
}

/** The models of a checkpoint by folder: `policy`, `critic`, and `ref`, which nothing trains, where it changes during the run. */
export type CheckpointModels = Record<string, { model: Decoder; optimizer: AdamW | null }>;

function checkModels(who: string, models: unknown): void {
  checkFields(who, 'models', models, '{ name: { model, optimizer } }');
  for (const [name, part] of Object.entries(models)) {
    const { model, optimizer } = (part ?? {}) as Partial<CheckpointModels[string]>;
    if (!(model instanceof Decoder)) throw new DataError(`${who}: models: ${name}: expected a Transformer or a ValueModel as model, got ${showValue(model)}`);
    if (optimizer !== null && !(optimizer instanceof AdamW)) throw new DataError(`${who}: models: ${name}: expected an AdamW or null as optimizer, got ${showValue(optimizer)}`);
  }
}

const latestName = 'latest_ckpt_global_step.txt';
const stateName = 'trainer_state.json';
const estimatorName = 'advantage_estimator.json';
const historyName = 'history.jsonl';
const stepFolder = /^global_step_(\d+)$/;
/** What stands in a checkpoint's folder, whichever of it was lost. */
const ownNames = [stateName, historyName, estimatorName, 'policy', 'critic', 'ref'];
/** What a process that was killed may leave: a save under way, the one it replaces, a deletion under way. */
const leftover = /^global_step_\d+\.(draft|earlier|deleted)$/;

/**
 * Writes a checkpoint and deletes those that are older than the newest `keep` (−1: none).
 * @returns its folder
 * @throws DataError naming the folder and the newest checkpoint that stands; the failed one leaves nothing behind
 */
export function saveCheckpoint(path: string, models: CheckpointModels, state: TrainerState, keep = -1): string {
  checkPath('saveCheckpoint', path);
  checkModels('saveCheckpoint', models);
  checkFields('saveCheckpoint', 'state', state);
  if (!Number.isInteger(state.globalStep) || state.globalStep < 0) throw new DataError(`saveCheckpoint: globalStep: expected an integer, 0 or more, got ${showValue(state.globalStep)}`);
  checkList('saveCheckpoint', 'history', state.history, 'an array of records');
  if (!Number.isInteger(keep)) throw new DataError(`saveCheckpoint: keep: expected an integer, got ${showValue(keep)}`);
  const folder = join(path, `global_step_${state.globalStep}`);
  const [draft, earlier] = [`${folder}.draft`, `${folder}.earlier`];
  try {
    rmSync(draft, { recursive: true, force: true });
    writeDraft(draft, models, state);
    // One of the same step makes room; it is deleted once its successor stands.
    if (existsSync(folder)) renameSync(folder, earlier);
    renameSync(draft, folder);
    syncFolder(path);
    writePointer(path, state.globalStep);
    rmSync(earlier, { recursive: true, force: true });
  } catch (error) {
    throw new DataError(`${folder}: the checkpoint cannot be written (${reasonOf(error)})${whatStands(path)}`, { cause: error });
  }
  if (keep > 0) deleteOlder(path, state.globalStep, keep);
  return folder;
}

function writeDraft(draft: string, models: CheckpointModels, { estimator, history, ...rest }: TrainerState): void {
  for (const [name, { model, optimizer }] of Object.entries(models)) {
    makeFolder(join(draft, name));
    saveHuggingFace(join(draft, name), model, { maxShardBytes: Infinity });
    if (optimizer === null) continue;
    const { step, tensors } = optimizer.state();
    writeSafetensors(join(draft, name, 'optimizer.safetensors'), tensors, { step: String(step) });
  }
  // These may hold something for each prompt and each step, and are kept out of what people read.
  if (estimator !== null) writeSynced(join(draft, estimatorName), `${JSON.stringify(estimator)}\n`);
  writeSynced(join(draft, historyName), historyText(history));
  writeSynced(join(draft, stateName), `${JSON.stringify({ ...rest, files: filesIn(draft) }, null, 2)}\n`);
  syncFolder(draft);
}

/** The bytes of each file below a folder, by its path with slashes: the list that a checkpoint is complete by. */
function filesIn(folder: string, prefix = ''): Record<string, number> {
  const entries = readdirSync(join(folder, prefix), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  const sizes = entries.map((entry) => {
    const name = `${prefix}${entry.name}`;
    return entry.isDirectory() ? filesIn(folder, `${name}/`) : { [name]: statSync(join(folder, name)).size };
  });
  return Object.assign({}, ...sizes) as Record<string, number>;
}

function writePointer(path: string, step: number): void {
  const latest = join(path, latestName);
  writeSynced(`${latest}.draft`, `${step}\n`);
  renameSync(`${latest}.draft`, latest);
  syncFolder(path);
}

function reasonOf(error: unknown): string {
  const { code, message, cause } = error as NodeJS.ErrnoException;
  if (code === undefined && typeof cause === 'object' && cause !== null) return reasonOf(cause);
  if (error instanceof RangeError || error instanceof TypeError) return 'the state holds what JSON cannot: cycles, bigints, or more than fits';
  if (code === 'ENOSPC') return `the disk is full: ${message}`;
  return code === 'EDQUOT' ? `the disk quota is used up: ${message}` : message;
}

/** Takes away what the failed save wrote, so that it does not keep the disk full, and says what a run can go on from. */
function whatStands(path: string): string {
  try {
    cleanCheckpoints(path);
    const newest = newestWhole(path).folder;
    return newest === null ? '' : `. ${newest} is whole: once this is mended, trainer.resume_mode=latest goes on from there`;
  } catch {
    // What cannot be cleaned now is cleaned at the next start.
    return '';
  }
}

/** Removes what a process that was killed left of a save or a deletion; a checkpoint that was about to be replaced stands again. */
export function cleanCheckpoints(path: string): void {
  if (!existsSync(path)) return;
  for (const name of readdirSync(path)) {
    const kind = leftover.exec(name)?.[1];
    if (kind === undefined && name !== `${latestName}.draft`) continue;
    const file = join(path, name);
    const folder = file.slice(0, -`.${kind}`.length);
    if (kind === 'earlier' && !existsSync(folder)) renameSync(file, folder);
    else rmSync(file, { recursive: true, force: true });
  }
}

/** The steps of the checkpoints under a folder, ascending; files of one may be damaged. */
export function checkpointSteps(path: string): number[] {
  return stepFolders(path).filter((step) => isCheckpoint(join(path, `global_step_${step}`)));
}

function stepFolders(path: string): number[] {
  if (!existsSync(path)) return [];
  const steps = readdirSync(path).flatMap((name) => stepFolder.exec(name)?.[1] ?? []);
  return steps.map(Number).sort((a, b) => a - b);
}

/** A folder has its name only once it is whole; one that holds nothing of ours is not ours. */
export function isCheckpoint(folder: string): boolean {
  return ownNames.some((name) => existsSync(join(folder, name)));
}

/**
 * What keeps a run from going on from a checkpoint, as `no trainer_state.json` or `policy/model.safetensors is empty`; null where all of it is there: the files that its
 * state lists, none of them shorter than it was. Weights are not read, only measured.
 */
export function checkpointProblem(folder: string): string | null {
  const measured = (name: string, bytes: number): string | null => {
    const file = join(folder, name);
    if (!existsSync(file)) return `no ${missing(folder, name)}`;
    const { size } = statSync(file);
    if (size === 0 && bytes > 0) return `${name} is empty`;
    return size < bytes ? `${name} is cut off: ${size} of ${bytes} bytes` : null;
  };
  const problem = measured(stateName, 1);
  if (problem !== null) return problem;
  try {
    const { version, globalStep, files } = (readJson(join(folder, stateName)) ?? {}) as Partial<TrainerState & { files: Record<string, number> }>;
    // Another version of the layout is not damage: reading it says so.
    if (version !== 3) return null;
    if (typeof files !== 'object' || files === null) return `${stateName} lists no files`;
    for (const [name, bytes] of Object.entries(files)) {
      const lost = measured(name, bytes);
      if (lost !== null) return lost;
    }
    for (const name of Object.keys(files)) if (name.endsWith('.safetensors')) withSafetensors(join(folder, name), () => undefined);
    const last = parseHistory(join(folder, historyName), readText(join(folder, historyName))).at(-1)?.step;
    return last === globalStep ? null : `${historyName} ends at step ${last ?? 'none'}`;
  } catch (error) {
    return (error as Error).message.replace(`${folder}${sep}`, '');
  }
}

/** The outermost folder that is not there, or the file. */
function missing(folder: string, name: string): string {
  const parts = name.split('/');
  const depth = parts.findIndex((_, i) => !existsSync(join(folder, ...parts.slice(0, i + 1))));
  return depth === parts.length - 1 ? name : `folder ${parts.slice(0, depth + 1).join('/')}/`;
}

/** The newest checkpoint that is complete, or null, and newer ones that are not: a line for each. */
export function newestWhole(path: string): { folder: string | null; passed: string[] } {
  const passed: string[] = [];
  for (const step of stepFolders(path).reverse()) {
    const folder = join(path, `global_step_${step}`);
    const problem = checkpointProblem(folder);
    if (problem === null) return { folder, passed: passed.map((line) => `${line}: going on from step ${step}`) };
    passed.push(`global_step_${step} is incomplete (${problem})`);
  }
  return { folder: null, passed };
}

/**
 * The newest complete checkpoint under `path`, or null where none was begun. A process that was killed may have left the pointer one behind.
 * @throws DataError where there were checkpoints, and none is complete: something was lost
 */
export function latestWhole(path: string): { folder: string | null; passed: string[] } {
  const newest = newestWhole(path);
  if (newest.folder !== null) return newest;
  const file = join(path, latestName);
  if (checkpointSteps(path).length > 0)
    throw new DataError(`${path}: no checkpoint is whole: ${newest.passed.join('; ')}. trainer.resume_mode=null starts afresh (what is there is kept aside)`);
  if (!existsSync(file)) return { folder: null, passed: [] };
  const lost = newest.passed.length === 0 ? 'there is none' : `no checkpoint is whole: ${newest.passed.join('; ')}`;
  throw new DataError(`${file}: expected the step of a checkpoint beside it, got ${showValue(readFileSync(file, 'utf8').trim())}, and ${lost}`);
}

/** The folder of `latestWhole`. @throws DataError as that does */
export function latestCheckpoint(path: string): string | null {
  checkPath('latestCheckpoint', path);
  return latestWhole(path).folder;
}

/** Moves the checkpoints of these steps into another folder; the pointer goes with the last one. */
export function moveCheckpoints(path: string, steps: readonly number[], to: string): void {
  makeFolder(to);
  for (const step of steps) renameSync(join(path, `global_step_${step}`), join(to, `global_step_${step}`));
  rmSync(join(path, latestName), { force: true });
  const left = checkpointSteps(path).at(-1);
  if (left !== undefined) writePointer(path, left);
  const moved = steps.at(-1);
  if (moved !== undefined) writePointer(to, moved);
  syncFolder(path);
}

/**
 * Reads a checkpoint into models and optimizers of the same shapes.
 * @returns the state beside the weights
 * @throws DataError naming the file and what is wrong with it; TensorError for shapes that differ
 */
export function loadCheckpoint(folder: string, models: CheckpointModels): TrainerState {
  checkPath('loadCheckpoint', folder);
  checkModels('loadCheckpoint', models);
  const state = readTrainerState(folder);
  for (const [name, { model, optimizer }] of Object.entries(models)) {
    if (optimizer === null) {
      loadWeights(join(folder, name, 'model.safetensors'), model.parameters);
      continue;
    }
    const file = join(folder, name, 'optimizer.safetensors');
    const { tensors, metadata } = readSafetensors(file);
    try {
      const step = Number(metadata.step);
      if (!Number.isInteger(step) || step < 0)
        throw new DataError(`${file}: metadata step: expected an integer, 0 or more, got ${showValue(metadata.step)}`);
      inFile(file, () => void optimizer.checkState({ step, tensors }));
      loadWeights(join(folder, name, 'model.safetensors'), model.parameters);
      optimizer.loadState({ step, tensors });
    } catch (error) {
      for (const x of tensors.values()) x.dispose();
      throw error;
    }
    const taken = new Set(optimizer.state().tensors.values());
    for (const x of tensors.values()) if (!taken.has(x)) x.dispose();
  }
  return state;
}

/** Puts a file's weights in the place of a model's. @throws DataError naming a tensor that is missing, unknown or of another shape */
function loadWeights(file: string, parameters: Map<string, Tensor>): void {
  const { tensors } = readSafetensors(file);
  const describe = (x: Tensor | undefined) => (x === undefined ? 'none' : `${x.dtype} [${x.shape.join(',')}]`);
  for (const name of new Set([...parameters.keys(), ...tensors.keys()])) {
    const [expected, got] = [describe(parameters.get(name)), describe(tensors.get(name))];
    if (expected === got) continue;
    for (const x of tensors.values()) x.dispose();
    throw new DataError(`${file}: ${name}: expected ${expected}, got ${got}`);
  }
  for (const [name, parameter] of parameters) {
    const loaded = tensors.get(name)!;
    parameter.replace(loaded.node);
    loaded.dispose();
  }
}

/** Where a checkpoint keeps what is no weight. */
export function stateFile(folder: string): string {
  return join(folder, stateName);
}

/** Takes something from a file. @throws DataError that names it, for what is refused */
export function inFile(file: string, take: () => void): void {
  try {
    take();
  } catch (error) {
    throw new DataError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Where a checkpoint keeps the estimator's state. */
export function estimatorFile(folder: string): string {
  return join(folder, estimatorName);
}

type Rule = readonly [holds: (value: unknown) => boolean, expected: string];
const isWhole: Rule = [(value) => Number.isSafeInteger(value) && (value as number) >= 0, 'an integer, 0 or more'];
const isNumber: Rule = [Number.isFinite, 'a number'];
const isObject: Rule = [(value) => typeof value === 'object' && value !== null && !Array.isArray(value), 'an object'];
const isText: Rule = [(value) => typeof value === 'string', 'text'];
const isTruth: Rule = [(value) => typeof value === 'boolean', 'true or false'];
const isObjectOrNull: Rule = [(value) => value === null || isObject[0](value), 'an object or null'];

/** Of what `TrainerState` keeps in its own file; the data loader and the coefficients look at theirs more closely. */
const stateRules: Record<string, Rule> = {
  globalStep: isWhole,
  seconds: isNumber,
  data: isObject,
  'data.epoch': isWhole,
  'data.batch': isWhole,
  dataset: isText,
  seed: isNumber,
  coefficients: isObject,
  'coefficients.kl': isObject,
  'coefficients.kl.value': isNumber,
  'coefficients.entropy': isObjectOrNull,
  evaluationPending: isTruth,
  config: isObject,
};

/** What stands beside the weights of a checkpoint. @throws DataError naming the file and what is wrong with it */
export function readTrainerState(folder: string): TrainerState {
  const file = join(folder, stateName);
  const { files, ...state } = (readJson(file) ?? {}) as Partial<TrainerState & { files: Record<string, number> }>;
  if (state.version !== 3) throw new DataError(`${file}: version: expected 3, got ${showValue(state.version)}`);
  for (const [key, [holds, expected]] of Object.entries(stateRules)) {
    const value = key.split('.').reduce<unknown>((object, name) => (object as Record<string, unknown> | null | undefined)?.[name], state);
    if (!holds(value)) throw new DataError(`${file}: ${key}: expected ${expected}, got ${showValue(value)}`);
  }
  // One that is listed and not there is an error: the estimator would begin anew.
  const isListed = Object.hasOwn(files ?? {}, estimatorName) || existsSync(estimatorFile(folder));
  const estimator = isListed ? (readJson(estimatorFile(folder)) as SavedEstimator) : null;
  const history = parseHistory(join(folder, historyName), readText(join(folder, historyName)));
  const { globalStep, evaluationPending } = state as TrainerState;
  // What the interrupted evaluation will add to is the last record.
  if (evaluationPending && history.at(-1)?.step !== globalStep) throw new DataError(`${join(folder, historyName)}: expected step ${globalStep} as the last, got ${history.at(-1)?.step ?? 'none'}`);
  return { ...(state as TrainerState), estimator, history };
}

function readJson(file: string): unknown {
  const text = readText(file);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(`${file}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new DataError(`${file}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

function deleteOlder(path: string, newest: number, keep: number): void {
  // Steps beyond the newest are an earlier run's: not ours to judge.
  const ours = checkpointSteps(path).filter((step) => step <= newest);
  for (const step of ours.slice(0, -keep)) {
    const folder = join(path, `global_step_${step}`);
    // A half of one must not look like a whole one.
    renameSync(folder, `${folder}.deleted`);
    rmSync(`${folder}.deleted`, { recursive: true, force: true });
  }
}
