/** Options of the built-in estimators, and the numbers that they may be. */
import type { KlEstimator } from '../losses/kl';
import { anyNumber, divisor, notNegative, type NumberRange, share } from '../options';
import type { BaselineOptions } from './outcome';
import type { DeviationOptions, RowWhitening, TokenWhitening } from './whiten';

/** The options that built-in estimators have beside the common ones. Each estimator has some of them, and refuses the others; its class says which, and their defaults. */
export interface EstimatorOptions extends Partial<BaselineOptions>, Partial<DeviationOptions>, Partial<RowWhitening>, Partial<Omit<TokenWhitening, 'whiten'>> {
  /** What is whitened over: estimators of tokens know `batch`, `group` and `none`; `rloo` and `spo` know `rows` and `none`; `gdpo` knows `rows`, `tokens` and `none`. */
  whiten?: TokenWhitening['whiten'] | 'rows' | 'tokens';
  /** Divide by the standard deviation (`grpo` and its kin). */
  normByStd?: boolean;
  /** Whose standard deviation (`grpo`). */
  scale?: 'group' | 'batch';
  /** What a recurrence does at masked positions. */
  holes?: 'carry' | 'ignore' | 'decay';
  /** No credit crosses a masked position (`reinforce++`). */
  resetOnMask?: boolean;
  /** A penalty for the divergence from the reference policy (`reinforce++_baseline`, `raw_reward`). */
  klCoef?: number;
  klEstimator?: KlEstimator;
  /** λ of returns and of advantages (`vapo_gae`). */
  lambdaValue?: number | null;
  lambdaPolicy?: number | null;
  lengthAdaptiveAlpha?: number;
  /** Weights of the components, and how many there have to be (`gdpo`). */
  weights?: readonly number[];
  minComponents?: number;
  /** `gpg`. */
  fNorm?: number;
  /** `optimal_token_baseline`. */
  zeroTail?: boolean;
  countEmptyRows?: boolean;
  /** `turn_discount`, `turn_level`, `gigpo`. */
  turnDiscount?: number | null;
  turnWeight?: number;
  trajectoryWeight?: number;
  /** ω, the weight of step groups (`gigpo`). */
  stepWeight?: number;
  /** The parameters of the Beta density, null for those of the batch's moments, what 1/f is limited to, and the range of rewards (`bnpo`). */
  alpha?: number | null;
  beta?: number | null;
  maxWeight?: number;
  minReward?: number;
  maxReward?: number;
  /** Answers of which the best counts, the estimator, and what happens to prompts with too few rows (`pass_at_k`). */
  k?: number;
  method?: 'sloo_minus_one' | 'sloo' | 's' | 'analytic';
  smallGroups?: 'error' | 'zero';
  /** The value of a prompt that was not seen before and how many rewards it is worth; ρ where no divergence is known, its limits, and the divergence at which it is ½ (`spo`). */
  initialValue?: number;
  initialWeight?: number;
  forgetting?: number;
  minForgetting?: number;
  maxForgetting?: number;
  halfDivergence?: number;
}

/** What numbers the options of built-in estimators may be, by their names. An estimator for which a name means something else says so itself (`static ranges`). */
export const optionRanges: Readonly<Record<string, NumberRange>> = {
  epsilon: notNegative,
  whitenEpsilon: notNegative,
  minVariance: notNegative,
  countEpsilon: notNegative,
  klCoef: anyNumber,
  lambdaValue: { ...share, nullable: true },
  lambdaPolicy: { ...share, nullable: true },
  lengthAdaptiveAlpha: notNegative,
  weights: { ...anyNumber, each: true },
  minComponents: { low: 1, integer: true },
  fNorm: divisor,
  turnDiscount: { ...share, nullable: true },
  turnWeight: anyNumber,
  trajectoryWeight: anyNumber,
  stepWeight: anyNumber,
  maxWeight: { ...divisor, infinite: true },
  minReward: anyNumber,
  maxReward: anyNumber,
  k: { low: 1, integer: true },
  n: { low: 1, integer: true },
  clipRho: { ...notNegative, infinite: true },
  clipC: { ...notNegative, infinite: true },
  clipPgRho: { ...notNegative, infinite: true },
  initialValue: anyNumber,
  initialWeight: notNegative,
  forgetting: share,
  minForgetting: share,
  maxForgetting: share,
  halfDivergence: divisor,
};
