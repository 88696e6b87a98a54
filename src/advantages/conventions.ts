/**
 * Conventions: the habits in which libraries differ, as options; a preset is a named bundle of them. Any single option overrides the preset.
 */
import { conventionNames, type ConventionName, type Rule } from '../options';

/** Options that belong to no single estimator. */
export interface CommonOptions {
  /** Discount γ. */
  gamma: number;
  /** λ of GAE. */
  lambda: number;
  /**
   * What happens to a reward at a masked position: `drop`, `keep` (grouped estimators count it in the row's total), `carry` (it goes to the valid token before it), `error`.
   */
  rewardOnMasked: 'drop' | 'keep' | 'carry' | 'error';
  /** Set what leaves at masked positions to 0; `advantages`: only in the advantages, not in the returns. */
  remask: boolean | 'advantages';
}

export const commonDefaults: CommonOptions = { gamma: 1, lambda: 1, rewardOnMasked: 'drop', remask: true };

export const commonRules: Readonly<Record<keyof CommonOptions, Rule>> = {
  gamma: { low: 0, high: 1 },
  lambda: { low: 0, high: 1 },
  rewardOnMasked: { choices: ['drop', 'keep', 'carry', 'error'] },
  remask: { choices: [true, false, 'advantages'] },
};

/**
 * `vantage`: masked positions are passed through and reach nothing. `skyrl`: GAE does not look at the mask in its recurrence, REINFORCE++ starts anew behind each
 * masked token, a row alone in its group keeps its reward under GRPO, rewards at masked tokens count. `verl`: as `skyrl`, but GAE passes masked positions through. `trl`:
 * rows without a reward (NaN) are left out. `openrlhf`: masked tokens still cost a discount step. `nemo`: leave-one-out statistics; advantages of rows also stand at masked positions.
 * `areal`: at masked tokens stands what the recurrence carries past them; GRPO's ε is 1e-5.
 */
const presets = {
  vantage: {},
  skyrl: { rewardOnMasked: 'keep', remask: 'advantages', holes: 'ignore', resetOnMask: true, singleton: 'raw' },
  verl: { rewardOnMasked: 'keep', remask: 'advantages', singleton: 'raw', resetOnMask: true, countEpsilon: 1e-8 },
  trl: { rewardOnMasked: 'keep', skipNaN: true },
  openrlhf: { rewardOnMasked: 'keep', remask: false, holes: 'decay' },
  nemo: { rewardOnMasked: 'keep', remask: false },
  areal: { remask: false },
} as const satisfies Record<ConventionName, Record<string, unknown>>;

/** Whose habits an estimator's options follow where they are not given. */
export type Convention = ConventionName;

/** Whitening by the variance of all tokens, floored instead of shifted. */
const flooredWhitening = { ddof: 0, epsilon: 0, minVariance: 1e-8 } as const;

/** What a preset says of a single estimator, before what it says of all. */
const ofEstimators: { readonly [C in Convention]?: Readonly<Record<string, Readonly<Record<string, unknown>>>> } = {
  skyrl: {
    gae: { remask: false },
    rloo: { singleton: 'zero' },
  },
  verl: {
    gae: { remask: false },
    'reinforce++': { holes: 'ignore' },
    remax: { remask: false },
    grpo_passk: { singleton: 'error' },
    gdpo: { whiten: 'tokens', whitenEpsilon: 1e-8, whitenEpsilonPlacement: 'inside' },
    optimal_token_baseline: { countEmptyRows: true },
  },
  trl: {
    gae: { holes: 'decay' },
    grpo: { epsilon: 1e-4 },
    gdpo: { epsilon: 1e-4, whitenEpsilon: 1e-4 },
  },
  openrlhf: {
    gae: flooredWhitening,
    grpo: { epsilon: 1e-9 },
    'reinforce++': flooredWhitening,
    'reinforce++_baseline': flooredWhitening,
  },
  nemo: {
    gae: { remask: 'advantages', countEpsilon: 1e-8 },
    vapo_gae: { remask: 'advantages', countEpsilon: 1e-8 },
    grpo: { leaveOneOut: true },
    gdpo: { leaveOneOut: true, minComponents: 2 },
    'reinforce++': flooredWhitening,
    'reinforce++_baseline': flooredWhitening,
    raw_reward: { ...flooredWhitening, whiten: 'batch' },
    distillation: { remask: true },
  },
  areal: {
    grpo: { epsilon: 1e-5, remask: true },
  },
};

/**
 * What each convention says of an estimator's options.
 * @param estimator its registered name
 */
export function presetsOf(estimator: string): Readonly<Record<ConventionName, Readonly<Record<string, unknown>>>> {
  const all = conventionNames.map((name) => {
    const own = ofEstimators[name];
    return [name, own && Object.hasOwn(own, estimator) ? { ...presets[name], ...own[estimator] } : presets[name]];
  });
  return Object.fromEntries(all) as Record<ConventionName, Readonly<Record<string, unknown>>>;
}
