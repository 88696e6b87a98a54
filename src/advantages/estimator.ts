/** The contract of an advantage estimator: what it declares, what it is given, what it returns. */
import { EstimatorError, showValue } from '../errors';
import type { NumberRange } from '../options';
import type { Tensor } from '../tensor';
import type { Groups } from './groups';

/** Inputs beyond rewards and masks that an estimator can ask for by `static requires`. */
export const advantageInputs = Object.freeze(
  [
    'values',
    'groupIds',
    'oldLogProbs',
    'refLogProbs',
    'rolloutLogProbs',
    'terminated',
    'truncated',
    'bootstrapValues',
    'baselines',
    'sumSquaredProbs',
    'turnIds',
    'rewardComponents',
    'teacherLogProbs',
    'importanceWeights',
    'anchorIds',
    'policyDivergences',
  ] as const,
);
/** A name of {@link advantageInputs}. @useDeclaredType */
export type AdvantageInput = (typeof advantageInputs)[number];

/** What an estimator looks at of γ, λ and the inputs, beside what it requires; a function where its options decide. */
export type EstimatorReads = readonly EstimatorRead[] | ((options: Readonly<Record<string, unknown>>) => readonly EstimatorRead[]);
/** What an estimator may look at, beside rewards and masks. */
export type EstimatorRead = 'gamma' | 'lambda' | AdvantageInput;

/** What an estimator says of its results, beyond its inputs: {@link checkEstimator} and `vantage check` hold it to that. Whatever is not said is not claimed. */
export interface EstimatorDeclaration {
  /** What the advantages of a row may depend on: that `row` alone, the rows of its `group`, or the whole `batch` (unless said otherwise). */
  readonly scope?: 'row' | 'group' | 'batch';
  /**
   * What changes no advantage at γ = 1: `shift`, a constant added to the total reward of every row of a group; `scale`, a positive factor on all rewards of a group (but for a small ε beside the
   * standard deviation). Of reward components each one.
   */
  readonly invariantTo?: readonly ('shift' | 'scale')[];
  /** What belongs together in the rows that are compared: the n-th valid `tokens`, wherever they stand (unless said otherwise), or `columns`, counted from the left. */
  readonly alignment?: 'tokens' | 'columns';
  /** Whether a row without a valid token counts in the statistics of its group or batch. */
  readonly emptyRows?: 'count' | 'ignore';
  /** What the total reward of a row may be. Default: any finite number. */
  readonly rewardRange?: NumberRange;
  /** Rows that a group must have. Default 1. */
  readonly smallestGroup?: number;
}

/** The declaration of an estimator; a function where its options decide. */
export type EstimatorDeclares = EstimatorDeclaration | ((options: Readonly<Record<string, unknown>>) => EstimatorDeclaration);

/** What an estimator may look at besides rewards, values and masks. Whatever it `requires` is there. */
export interface AdvantageContext {
  /** Discount γ. */
  readonly gamma: number;
  /** λ of GAE and its kin. */
  readonly lambda: number;
  /** Rows that answer the same prompt, with statistics over them. Null without group ids. */
  readonly groups: Groups | null;
  /** `[batch, time]`: log-probs of the tokens under the policy before the update, a frozen reference, and the sampler. */
  readonly oldLogProbs: Tensor | null;
  /** `[batch, time]`: log-probs under the frozen reference. */
  readonly refLogProbs: Tensor | null;
  /** `[batch, time]`: log-probs as the sampler reported them. */
  readonly rolloutLogProbs: Tensor | null;
  /** [batch, time] flags: the episode ends here; it is cut off here. */
  readonly terminated: Tensor | null;
  /** [batch, time] flags: the episode is cut off behind this token. */
  readonly truncated: Tensor | null;
  /** [batch] or [batch, time]: the value of the state behind the last token, where the row was cut off, and behind truncated tokens. */
  readonly bootstrapValues: Tensor | null;
  /** `[batch]`: the reward of a baseline answer to the same prompt (a greedy one). */
  readonly baselines: Tensor | null;
  /** `[batch, time]`: Σ_a π(a)² of each token's distribution. */
  readonly sumSquaredProbs: Tensor | null;
  /** [batch, time] int32: the turn each token belongs to. */
  readonly turnIds: Tensor | null;
  /** [batch, time] int32: the state that the token's turn began in, the same id for the same state; negative where none is known. */
  readonly anchorIds: Tensor | null;
  /** `[batch]`: how far the policy has moved since the row's prompt was last answered; NaN where it never was. */
  readonly policyDivergences: Tensor | null;
  /** `[batch, components]`: the rewards of several reward functions; NaN where one of them gave none. */
  readonly rewardComponents: Tensor | null;
  /** `[batch, time]`: log-probs of the tokens under a teacher. */
  readonly teacherLogProbs: Tensor | null;
  /** `[batch, time]`: importance weights of the tokens, π_old/π_rollout, truncated as the run likes. */
  readonly importanceWeights: Tensor | null;
  /** Whether masked positions of the result will be set to 0 (`advantages`: only those of the advantages): an estimator may leave something there where they are not. */
  readonly remask: boolean | 'advantages';
}

/** Plain JSON: what an estimator's state is made of. Numbers are finite. */
export type EstimatorState = null | boolean | number | string | readonly EstimatorState[] | { readonly [key: string]: EstimatorState };

/** What an estimator returns, where it returns more than advantages. */
export interface AdvantageResult {
  /** [batch, time] */
  advantages: Tensor;
  /** `[batch, time]`: what a critic is trained on. Default: the advantages. */
  returns?: Tensor;
  /** Numbers to log. */
  metrics?: Record<string, number | Tensor>;
  /** A small tensor that is finite only if all advantages and returns are, such as the number that every token of a row gets: it spares a pass over them that looks for NaN. */
  finiteIf?: Tensor;
}

/**
 * Base class of advantage estimators, built-in and custom.
 *
 * Subclass it, write `computeAdvantages`, and register the class by name with `registerAdvantageEstimator`. `static requires` lists the inputs that the estimator cannot do without:
 * they are checked before the call. An instance lives as long as its trainer, so fields can carry state from batch to batch: numbers, or tensors that
 * `keep` has taken from the end of the call. With `saveState` and `restoreState` a checkpoint keeps it.
 *
 * @example
 * class RewardMinusMean extends AdvantageEstimator {
 *   computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
 *     const score = rewards.sum(1, { keepDims: true });
 *     return score.sub(score.mean()).mul(masks);
 *   }
 * }
 */
export abstract class AdvantageEstimator {
  /** Inputs that must be there. */
  static readonly requires: readonly AdvantageInput[] = [];
  /**
   * What it looks at beside what it requires: a run refuses keys that nothing reads, such as `trainer.algorithm.lambd` for an estimator without λ. It speaks for this class alone, not
   * for those that extend it: one that does not say what it reads may read everything.
   */
  static readonly reads?: EstimatorReads;
  /** What it says of its results, for {@link checkEstimator}. It speaks for this class alone, not for those that extend it. */
  static readonly declares?: EstimatorDeclares;
  /** Options and their defaults. Whoever computes advantages may give others, by name. */
  static readonly options: Readonly<Record<string, unknown>> = {};
  /** The values that an option may have, where they are few. */
  static readonly choices: Readonly<Record<string, readonly unknown[]>> = {};
  /** The numbers that an option may be: `{ scale: { low: 0, high: 1 } }`. Any but NaN where nothing is said. */
  static readonly ranges: Readonly<Record<string, NumberRange>> = {};

  /**
   * Set by an estimator that looks at no masked position itself: it gets rewards and values as they came, which saves a pass over memory. Others get 0 there. `values`, by one that
   * looks at the values there, whatever they are: these come as they are, all else as `rewardOnMasked` and the mask say.
   */
  readonly takesRawInputs: boolean | 'values' = false;
  /** Set by an estimator whose results hold 0 at masked positions: they are taken as they are. With others, 0 is put there. */
  readonly leavesZeros: boolean = false;

  /** The options in force: the defaults of the class with what was given. */
  readonly options: Readonly<Record<string, unknown>>;

  constructor(options: Readonly<Record<string, unknown>> = {}) {
    this.options = { ...(this.constructor as typeof AdvantageEstimator).options, ...options };
  }

  /**
   * The advantages of a batch.
   *
   * @param rewards [batch, time] float; 0 at masked positions
   * @param values [batch, time] float, 0 at masked positions, or null without a critic: V of the state before each token
   * @param masks [batch, time]: 1 for tokens the policy wrote, 0 for padding and for tokens of tools and environments
   * @param context everything else
   * @returns advantages [batch, time], or {advantages, returns?, metrics?}. What stands at masked positions is set to 0.
   */
  abstract computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): Tensor | AdvantageResult;

  /**
   * What the estimator carries from batch to batch, for the checkpoint; null: nothing. A run that goes on from the checkpoint gives it to `restoreState`.
   *
   * @example
   * override saveState() { return { baseline: this.baseline }; }
   * override restoreState(state: { baseline: number }) { this.baseline = state.baseline; }
   */
  saveState(): EstimatorState {
    return null;
  }

  /**
   * Goes on from what `saveState` gave. It is called with anything but null.
   * @throws EstimatorError for a state that is not this estimator's
   */
  restoreState(state: EstimatorState): void {
    throw new EstimatorError(`expected no state, as ${this.constructor.name} has no restoreState, got ${showValue(state)}`);
  }
}

/** A class that can be registered. */
export type AdvantageEstimatorClass = (new (options?: Readonly<Record<string, unknown>>) => AdvantageEstimator) & {
  readonly requires: readonly AdvantageInput[];
  readonly reads?: EstimatorReads;
  readonly declares?: EstimatorDeclares;
  readonly options: Readonly<Record<string, unknown>>;
  readonly choices?: Readonly<Record<string, readonly unknown[]>>;
  readonly ranges?: Readonly<Record<string, NumberRange>>;
};
