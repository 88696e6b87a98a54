/** Runs an estimator: prepares and checks its inputs, and calls it. What it returns is checked in result.ts. */
import { type Array2D, asTensor } from './arrays';
import { commonDefaults, commonRules, presetsOf, type CommonOptions, type Convention } from './conventions';
import { EstimatorError, showValue, VantageError } from '../errors';
import { isError, placeOf } from '../frames';
import { checkNoNaN } from '../losses/check';
import { checkNames, checkObject, resolveOptions } from '../options';
import { Remembered } from '../remembered';
import { evaluate, type RowLayout, scan, Tensor, tidy, where, type RowOffsets } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { formatShape, sameShape } from '../tensor/shape';
import type { EstimatorOptions } from './options';
import { ruleOf } from './declared';
import { advantageInputs, type AdvantageContext, type AdvantageEstimator, type AdvantageEstimatorClass, type AdvantageInput } from './estimator';
import { Groups, type GroupIds } from './groups';
import { unpackRows } from './packed';
import { canonicalName, estimatorsWithOption, getAdvantageEstimator } from './registry';
import { checkedResult, finiteInputs, type Advantages } from './result';

/** A batch as estimators see it. All but group ids, baselines, policy divergences, bootstrap values ([batch], the latter also [batch, time]) and reward components ([batch, components]) are [batch, time]. */
export interface AdvantageInputs {
  /** `[batch, time]`: of the tokens; the reward of a whole answer stands at its last token. */
  rewards: Array2D;
  /** 1 for tokens the policy wrote; padding may be on either side, holes anywhere. */
  masks: Array2D;
  /** `[batch, time]`: the critic's V of the state before each token. */
  values?: Array2D | null;
  /** [batch] strings or integers: equal for the answers to one prompt, in any order. */
  groupIds?: GroupIds | null;
  /** `[batch, time]`: log-probs of the tokens under the policy before the update. */
  oldLogProbs?: Array2D | null;
  /** `[batch, time]`: log-probs under the frozen reference. */
  refLogProbs?: Array2D | null;
  /** `[batch, time]`: log-probs as the sampler reported them. */
  rolloutLogProbs?: Array2D | null;
  /** [batch, time] flags: the episode ends with this token. */
  terminated?: Array2D | null;
  /** [batch, time] flags: the episode is cut off behind this token. */
  truncated?: Array2D | null;
  /** [batch] or [batch, time]: the value behind the last token, and behind truncated ones. */
  bootstrapValues?: Array2D | null;
  /** `[batch]`: the reward of a baseline answer to the same prompt. */
  baselines?: Array2D | null;
  /** `[batch, time]`: Σ_a π(a)² of each token's distribution. */
  sumSquaredProbs?: Array2D | null;
  /** [batch, time] integers: the turn of each token. */
  turnIds?: Array2D | null;
  /** `[batch, K]`: one number for each reward function; NaN where it gave none. */
  rewardComponents?: Array2D | null;
  /** `[batch, time]`: log-probs under a teacher. */
  teacherLogProbs?: Array2D | null;
  /** `[batch, time]`: π_old/π_rollout of the tokens. */
  importanceWeights?: Array2D | null;
  /** [batch, time] integers: the state in which the token's turn began; negative: none to compare. */
  anchorIds?: Array2D | null;
  /** `[batch]`: how far the policy has moved since the prompt was last answered; NaN where it never was. */
  policyDivergences?: Array2D | null;
}

/**
 * The same batch without padding: the tokens of all rows one after the other. What is [batch, time] above is [tokens] here; what has a number for each row stays
 * [batch] (`bootstrapValues` may be [batch] or [tokens]).
 */
export interface PackedAdvantageInputs extends Omit<AdvantageInputs, 'masks'> {
  /** `[batch + 1]`: row b is the tokens rowOffsets[b] … rowOffsets[b+1]−1. From 0 to the number of tokens; rows of length 0 are allowed. A {@link RowLayout} spares working out once more where each token goes. */
  rowOffsets: RowOffsets | RowLayout;
  /** Default: every token counts. */
  masks?: Array2D | null;
}

/** Options of every estimator, and beside them an estimator's own (its `static options`). */
export interface AdvantageOptions extends Partial<CommonOptions>, EstimatorOptions {
  /** A bundle of options after the habits of a library; each option given by itself overrides it. Default `vantage`. */
  convention?: Convention;
  [estimatorOption: string]: unknown;
}

const commonNames = ['convention', ...Object.keys(commonDefaults)];
const inputNames = ['rewards', 'masks', 'rowOffsets', ...advantageInputs];
/** Inputs with a number for each row, or something else. */
const notOfTokens: readonly string[] = ['groupIds', 'baselines', 'policyDivergences', 'rewardComponents', 'rowOffsets'];
const perRow: readonly AdvantageInput[] = ['bootstrapValues', 'baselines', 'policyDivergences'];

/**
 * The advantages of a batch by the estimator of a name, or by an instance (which may carry state from batch to batch).
 *
 * What masked positions hold, NaN and Inf included, reaches no output. Inputs are tensors or (nested, typed) arrays. Packed rows give the same numbers, to the bit, as
 * the same rows padded with 0 behind their last token.
 *
 * @throws EstimatorError for inputs that are missing or of a wrong shape, unknown options, and results that are no advantages (the message names the estimator)
 * @throws RegistryError for an unknown name
 * @example
 * const { advantages } = computeAdvantages('grpo', { rewards: [[0, 1], [0, 0]], masks: [[1, 1], [1, 1]], groupIds: ['a', 'a'] });
 */
export function computeAdvantages(estimator: string | AdvantageEstimator, inputs: AdvantageInputs | PackedAdvantageInputs, options: AdvantageOptions = {}): Advantages {
  return tidy(() => {
    if (typeof estimator === 'string') {
      const { instance, common } = instantiate(estimator, options);
      return run(estimator, instance, inputs, common);
    }
    const instance: unknown = estimator;
    if (typeof (instance as Partial<AdvantageEstimator> | null)?.computeAdvantages !== 'function') {
      throw new EstimatorError(`computeAdvantages: expected the name or an instance of an advantage estimator, got ${showValue(estimator)}`);
    }
    const { name, common } = created.get(estimator) ?? { name: estimator.constructor?.name ?? 'of no class', common: {} };
    return run(name, estimator, inputs, commonSettings.answer(estimator, name, [options, common], () => commonOf(name, common, options)));
  });
}

/** The names that instances were made under, and the common options that came with them. */
const created = new WeakMap<AdvantageEstimator, { name: string; common: AdvantageOptions }>();

/** An estimator of a registered class, with its own options taken from `options`; the common ones hold for every call that does not give others. It keeps its state from call to call. */
export function createAdvantageEstimator(name: string, options: AdvantageOptions = {}): AdvantageEstimator {
  const { instance } = instantiate(name, options);
  created.set(instance, { name, common: Object.fromEntries(commonNames.map((key) => [key, options[key]])) });
  return instance;
}

/** The common options of a call with an instance: those it was made with, and over them those given. */
function commonOf(name: string, common: AdvantageOptions, options: AdvantageOptions): CommonOptions {
  const who = `advantage estimator '${name}'`;
  checkObject(who, 'option', options);
  const stray = Object.keys(options).find((key) => !commonNames.includes(key) && options[key] !== undefined);
  if (stray !== undefined) throw new EstimatorError(`${who}: option '${stray}' came with an instance, which has its options: give it to createAdvantageEstimator`);
  return resolveOptions<CommonOptions>(who, commonDefaults, { ...common, ...given(options) }, { presets: presetsOf(canonicalName(name)), rules: commonRules });
}
const commonSettings = new Remembered<CommonOptions>();

interface Settings {
  own: Readonly<Record<string, unknown>>;
  common: CommonOptions;
}
const settings = new Remembered<Settings>();

/** An instance with its own options, and the common ones in force. @throws EstimatorError for options that are none */
function instantiate(name: string, options: AdvantageOptions): { instance: AdvantageEstimator; common: CommonOptions } {
  const Class = getAdvantageEstimator(name);
  const { own, common } = settings.answer(Class, name, [options, Class.options ?? {}], () => settingsOf(Class, name, options));
  return { instance: new Class({ ...own }), common };
}

/** The options of the class that are not common ones, and the common ones. */
function settingsOf(Class: AdvantageEstimatorClass, name: string, options: AdvantageOptions): Settings {
  const standard = Class.options ?? {};
  const ownNames = Object.keys(standard).filter((key) => !commonNames.includes(key));
  // A default is what its class makes of it.
  const rules = { ...Object.fromEntries(ownNames.filter((key) => options?.[key] !== undefined).map((key) => [key, ruleOf(Class, key)])), ...commonRules };
  const defaults: Record<string, unknown> = { ...commonDefaults, ...Object.fromEntries(ownNames.map((key) => [key, standard[key]])) };
  const resolved = resolveOptions(`advantage estimator '${name}'`, defaults, options, { presets: presetsOf(canonicalName(name)), rules, whoHas: estimatorsWithOption });
  return { own: Object.fromEntries(ownNames.map((key) => [key, resolved[key]])), common: resolved as unknown as CommonOptions };
}

function run(name: string, instance: AdvantageEstimator, given: AdvantageInputs | PackedAdvantageInputs, common: CommonOptions): Advantages {
  const who = `advantage estimator '${name}'`;
  checkNames(who, 'input', given, inputNames);
  const { rowOffsets } = given as Partial<PackedAdvantageInputs>;
  checkRequired(who, instance, given);
  if (rowOffsets === undefined || rowOffsets === null) return runPadded(who, instance, given as AdvantageInputs, common);
  // The rewards come first: they say how many tokens there are.
  const arrays: Record<string, Tensor> = { rewards: asTensor(who, 'rewards', given.rewards) };
  for (const [key, value] of Object.entries(given)) if (!notOfTokens.includes(key) && value !== undefined && value !== null) arrays[key] = asTensor(who, key, value);
  // Where each row is a single token, its bootstrap value is the same either way.
  const { padded, layout } = unpackRows(who, arrays, rowOffsets, (key, { shape }, batch) => key === 'bootstrapValues' && shape.length === 1 && shape[0] === batch);
  // In memory, as padded rows are: the same programs run then, and give the same bits.
  const inputs = { masks: layout.present(), ...padded };
  evaluate(Object.values(inputs));
  const { advantages, returns, metrics } = runPadded(who, instance, { ...given, ...inputs } as AdvantageInputs, common);
  const packed = layout.pack(advantages);
  const packedReturns = returns === advantages ? packed : layout.pack(returns);
  evaluate([packed, packedReturns]);
  return { advantages: packed, returns: packedReturns, metrics };
}

function checkRequired(who: string, instance: AdvantageEstimator, inputs: AdvantageInputs | PackedAdvantageInputs): void {
  const requires = (instance.constructor as AdvantageEstimatorClass | undefined)?.requires ?? ([] as readonly AdvantageInput[]);
  if (!Array.isArray(requires as unknown)) throw new EstimatorError(`${who}: static requires: expected an array of names of inputs, got ${showValue(requires)}`);
  for (const input of requires) {
    if (typeof input !== 'string') throw new EstimatorError(`${who}: static requires: expected names of inputs, got ${showValue(input)}`);
    if (inputs[input] === undefined || inputs[input] === null) {
      throw new EstimatorError(`${who} requires '${input}', which this run does not have${remedy(input)}. Given: ${Object.keys(given(inputs)).join(', ')}`);
    }
  }
}

function runPadded(who: string, instance: AdvantageEstimator, inputs: AdvantageInputs, common: CommonOptions): Advantages {
  const rewards = floating(asTensor(who, 'rewards', inputs.rewards));
  if (rewards.ndim !== 2) throw new EstimatorError(`${who}: expected rewards of shape [batch, time], got ${formatShape(rewards.shape)}${rewards.ndim === 1 ? ' ([tokens] come with rowOffsets)' : ''}`);
  const marks = asTensor(who, 'masks', inputs.masks);
  expectShape(who, 'masks', marks, rewards.shape);
  checkNoNaN(who, 'masks', marks);
  // Anything but 0 counts, and counts once: also where an estimator multiplies by the mask. The kernels of those that take raw inputs read bytes as they are.
  const masks = marks.dtype === 'bool' || (marks.dtype === 'uint8' && instance.takesRawInputs === true) ? marks : marks.cast('bool');

  const { remask, rewardOnMasked } = common;
  const optional = (input: Exclude<AdvantageInput, 'groupIds'>, value: Array2D | null | undefined): Tensor | null => {
    if (value === undefined || value === null) return null;
    const array = asTensor(who, input, value);
    const isPerRow = perRow.includes(input) && !(input === 'bootstrapValues' && array.ndim === 2);
    expectShape(who, input, array, isPerRow ? [rewards.shape[0]!] : rewards.shape);
    if (input === 'terminated' || input === 'truncated') checkNoNaN(who, input, array, masks);
    const raw = isPerRow || instance.takesRawInputs === true || instance.takesRawInputs === input || !isFloating(array.dtype) || (remask === false && input.endsWith('LogProbs'));
    return raw ? array : where(masks, array, 0);
  };
  const components = inputs.rewardComponents === undefined || inputs.rewardComponents === null ? null : floating(asTensor(who, 'rewardComponents', inputs.rewardComponents));
  if (components && (components.ndim !== 2 || components.shape[0] !== rewards.shape[0])) {
    throw new EstimatorError(`${who}: expected rewardComponents of shape [${rewards.shape[0]}, components], got ${formatShape(components.shape)}`);
  }
  const context: AdvantageContext = {
    gamma: common.gamma,
    lambda: common.lambda,
    groups: groupsOf(who, inputs.groupIds, rewards),
    oldLogProbs: optional('oldLogProbs', inputs.oldLogProbs),
    refLogProbs: optional('refLogProbs', inputs.refLogProbs),
    rolloutLogProbs: optional('rolloutLogProbs', inputs.rolloutLogProbs),
    terminated: optional('terminated', inputs.terminated),
    truncated: optional('truncated', inputs.truncated),
    bootstrapValues: optional('bootstrapValues', inputs.bootstrapValues),
    baselines: optional('baselines', inputs.baselines),
    sumSquaredProbs: optional('sumSquaredProbs', inputs.sumSquaredProbs),
    turnIds: optional('turnIds', inputs.turnIds),
    rewardComponents: components,
    teacherLogProbs: optional('teacherLogProbs', inputs.teacherLogProbs),
    importanceWeights: optional('importanceWeights', inputs.importanceWeights),
    anchorIds: optional('anchorIds', inputs.anchorIds),
    policyDivergences: optional('policyDivergences', inputs.policyDivergences),
    remask,
  };
  const values = optional('values', inputs.values);
  const prepared = instance.takesRawInputs === true && rewardOnMasked === 'drop' ? rewards : placeRewards(who, rewards, masks, rewardOnMasked);
  const result = attempt(who, values === null, () => instance.computeAdvantages(prepared, values && floating(values), masks, context));
  // What masked positions hold may reach the results where rewards there are kept.
  const counted = rewardOnMasked === 'drop' ? masks : null;
  const given = () => ({ rewards: [rewards, counted] as const, values: [values, masks] as const, ...finiteInputs(context, masks) });
  return checkedResult(who, result, masks, given, { leavesZeros: instance.leavesZeros && remask === true, remask });
}

function groupsOf(who: string, ids: GroupIds | null | undefined, { shape, device }: Tensor): Groups | null {
  if (ids === undefined || ids === null) return null;
  if (ids instanceof Tensor) asTensor(who, 'groupIds', ids);
  try {
    return new Groups(ids, shape[0]!, device);
  } catch (error) {
    throw error instanceof VantageError ? new EstimatorError(`${who}: ${error.message}`, { cause: error }) : error;
  }
}

/** Rewards that stand at masked positions are dropped, moved, or refused. */
function placeRewards(who: string, rewards: Tensor, valid: Tensor, policy: CommonOptions['rewardOnMasked']): Tensor {
  switch (policy) {
    case 'drop':
      return where(valid, rewards, 0);
    case 'keep':
      return rewards;
    case 'carry': {
      // From the last column on: what masked positions hold waits for the next valid one.
      const [, moved] = scan([rewards, valid], { reverse: true, init: [0, 0] }, ([waiting], [r, m]) => {
        const all = r.add(waiting);
        return [where(m, 0, all), where(m, all, 0)];
      });
      return moved;
    }
    case 'error': {
      const stray = where(valid, 0, rewards.notEqual(0)).sum().item();
      if (stray > 0) throw new EstimatorError(`${who}: ${stray} rewards stand at masked positions (rewardOnMasked is 'error')`);
      return rewards;
    }
  }
}

/** Runs the estimator; what the library refuses in it is reported under its name. */
function attempt(who: string, withoutValues: boolean, body: () => unknown): unknown {
  try {
    return body();
  } catch (error) {
    const place = placeOf(error, attempt.name);
    // The stack holds the frames of the recursion only: nothing in it says whose it is.
    if (isError(error) && error.name === 'RangeError' && error.message.includes('call stack')) {
      throw new EstimatorError(`${who}: computeAdvantages: a recursion that does not end (${error.message})${place === null ? '' : `, ${place}`}`, { cause: error });
    }
    if (!(error instanceof VantageError)) throw error;
    // From an estimator that called itself, by way of others too: its name is in there, and once more for each call it would bury what happened.
    if (error.message.includes(`${who}: `)) throw error;
    const hint = withoutValues && error.message.includes('null') ? " (values are null in this run: declare static requires = ['values'] if they are needed)" : '';
    throw new EstimatorError(`${who}: ${error.message}${hint}${place === null ? '' : `, ${place}`}`, { cause: error });
  }
}

function floating(array: Tensor): Tensor {
  return array.dtype === 'float64' ? array : array.cast('float32');
}

function expectShape(who: string, label: string, array: Tensor, shape: readonly number[]): void {
  if (!sameShape(array.shape, shape)) throw new EstimatorError(`${who}: expected ${label} of shape ${formatShape(shape)}, got ${formatShape(array.shape)}`);
}

/** The entries that are there. */
function given<T extends object>(entries: T): Partial<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined && value !== null)) as Partial<T>;
}

function remedy(input: AdvantageInput): string {
  switch (input) {
    case 'values':
      return ' (values come from a critic: set trainer.critic.model)';
    case 'refLogProbs':
      return ' (they come from the reference policy: set trainer.algorithm.use_kl_loss or use_kl_in_reward)';
    case 'rewardComponents':
      return ' (one number for each reward function and row; give it to computeAdvantages)';
    default:
      return '';
  }
}
