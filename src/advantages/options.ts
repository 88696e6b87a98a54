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
  /** How that divergence is estimated. */
  klEstimator?: KlEstimator;
  /** λ of returns and of advantages (`vapo_gae`). */
  lambdaValue?: number | null;
  /** λ of advantages; null: the call's λ (`vapo_gae`). */
  lambdaPolicy?: number | null;
  /** α of λ = 1 − 1/(αL) for a response of L tokens; 0: λ does not depend on the length (`vapo_gae`). */
  lengthAdaptiveAlpha?: number;
  /** Weights of the components, and how many there have to be (`gdpo`). */
  weights?: readonly number[];
  /** How many components there have to be (`gdpo`). */
  minComponents?: number;
  /** `gpg`. */
  fNorm?: number;
  /** `optimal_token_baseline`. */
  zeroTail?: boolean;
  /** Rows without tokens count as rows (`optimal_token_baseline`). */
  countEmptyRows?: boolean;
  /** `turn_discount`, `turn_level`, `gigpo`. */
  turnDiscount?: number | null;
  /** The weight of the turn's part (`turn_level`). */
  turnWeight?: number;
  /** The weight of the whole row's part (`turn_level`). */
  trajectoryWeight?: number;
  /** ω, the weight of step groups (`gigpo`). */
  stepWeight?: number;
  /** The parameters of the Beta density, null for those of the batch's moments, what 1/f is limited to, and the range of rewards (`bnpo`). */
  alpha?: number | null;
  /** The second parameter of the Beta density; null: by the batch's moments (`bnpo`). */
  beta?: number | null;
  /** What 1/f is limited to (`bnpo`). */
  maxWeight?: number;
  /** The least reward, which is brought to 0 (`bnpo`). */
  minReward?: number;
  /** The largest reward, which is brought to 1 (`bnpo`). */
  maxReward?: number;
  /** Answers of which the best counts, the estimator, and what happens to prompts with too few rows (`pass_at_k`). */
  k?: number;
  /** The estimate of the gradient of pass@k (`pass_at_k`). */
  method?: 'sloo_minus_one' | 'sloo' | 's' | 'analytic';
  /** Prompts with fewer rows than the estimate needs: an error, or advantages of 0 (`pass_at_k`). */
  smallGroups?: 'error' | 'zero';
  /** The value of a prompt that was not seen before and how many rewards it is worth; ρ where no divergence is known, its limits, and the divergence at which it is ½ (`spo`). */
  initialValue?: number;
  /** How many rewards the value of an unseen prompt is worth (`spo`). */
  initialWeight?: number;
  /** ρ, what is kept of a value's weight, where no divergence is known (`spo`). */
  forgetting?: number;
  /** The least ρ (`spo`). */
  minForgetting?: number;
  /** The largest ρ (`spo`). */
  maxForgetting?: number;
  /** The divergence at which ρ is ½ (`spo`). */
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
