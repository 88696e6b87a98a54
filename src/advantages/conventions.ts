/**
 * Conventions: the habits in which libraries differ, as options; a preset is a named bundle of them. Any single option overrides the preset.
 */
import { EstimatorError, showValue, didYouMean } from '../errors';

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
  /** Set what leaves at masked positions to 0. */
  remask: boolean;
}

export const commonDefaults: CommonOptions = { gamma: 1, lambda: 1, rewardOnMasked: 'drop', remask: true };

/**
 * `vantage`: masked positions are passed through and reach nothing. `skyrl`: GAE does not look at the mask in its recurrence, REINFORCE++ starts anew behind each
 * masked token, a row alone in its group keeps its reward under GRPO, rewards at masked tokens count, outputs are not masked again.
 *
 * `areal`: at masked tokens stands what the recurrence carries past them; GRPO's ε is 1e-5.
 */
const presets = {
  vantage: {},
  skyrl: { rewardOnMasked: 'keep', remask: false, holes: 'ignore', resetOnMask: true, singleton: 'raw' },
  areal: { remask: false, epsilon: 1e-5 },
} as const satisfies Record<string, Record<string, unknown>>;

export type Convention = keyof typeof presets;

/** The values that a preset gives to options. @throws EstimatorError for an unknown preset */
export function presetOf(who: string, name: unknown): Readonly<Record<string, unknown>> {
  if (name === undefined) return presets.vantage;
  if (typeof name === 'string' && Object.hasOwn(presets, name)) return presets[name as Convention];
  const nearest = typeof name === 'string' ? didYouMean(name, Object.keys(presets)) : null;
  throw new EstimatorError(`${who}: option 'convention': expected ${Object.keys(presets).join(' or ')}, got ${showValue(name)}${nearest ? `. Did you mean '${nearest}'?` : ''}`);
}
