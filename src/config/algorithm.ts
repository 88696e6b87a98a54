/** `trainer.algorithm`: estimator, loss, divergence, corrections, sampling. */
import { z } from 'zod';
import { klEstimators } from '../losses/kl';
import { lossReductions } from '../losses/reduction';
import { above, between, bool, oneOf, options, positiveInt, positiveIntOrOff, section, text, textList } from './fields';

/** How a coefficient of the KL term moves: `fixed`, or `adaptive`, towards a divergence of `kl_target`. */
const klControl = section({
  type: oneOf(['fixed', 'adaptive']).default('fixed'),
  /** The divergence to hold (`adaptive`), a mean over tokens. */
  kl_target: above(0).default(0.1),
  /** Sequences over which a steady error of 1 would change the coefficient by its own size (`adaptive`). */
  horizon: above(0).default(10_000),
});

/** How the coefficient of the entropy bonus moves: `fixed`, or `adaptive`, which holds the entropy at `target`. */
const entropyControl = section({
  type: oneOf(['fixed', 'adaptive']).default('fixed'),
  /** The entropy, in nats a token, under which the coefficient grows (`adaptive`). */
  target: between(0, Infinity).default(0.2),
  /** What one step adds or takes away (`adaptive`). */
  delta: between(0, Infinity).default(0.005),
  /** The coefficient stays in [min, max] (`adaptive`). */
  min: between(0, Infinity).default(0),
  max: between(0, Infinity).default(1),
});

/** Which prompts a training batch is made of. */
const dynamicSampling = section({
  /** `filter`: samples on until there are enough prompts whose responses differ in reward; `replace`: puts such prompts in the place of the others. */
  type: oneOf(['filter', 'replace']).nullable().default(null),
  /** Batches that one step may take from the data; -1: any number. */
  max_sample_batches: positiveIntOrOff('no limit').default(30),
  /** The share of such prompts that a batch must exceed, or else another one is sampled (`replace`). */
  min_replace_ratio: between(0, 1).default(0.3),
});

/** Against the difference between the sampler and the policy that is trained; ratios are π_old/π_rollout. */
const offPolicyCorrection = section({
  /** Truncated importance sampling by `token` or `sequence`. */
  tis_ratio_type: oneOf(['token', 'sequence']).nullable().default(null),
  /** Bound of a token's weight. */
  token_tis_ratio_clip_high: above(0).default(2),
  /** Bound of a sequence's weight. */
  sequence_tis_ratio_clip_high: above(0).default(5),
  /** Leaves out sequences whose ratio, the `product` or the `geometric` mean of its tokens', is out of bounds. */
  sequence_mask_metric: oneOf(['product', 'geometric']).nullable().default(null),
  product_mask_low: between(0, Infinity).default(0.5),
  product_mask_high: above(0).default(2),
  geo_mask_low: between(0, Infinity).default(0.99),
  geo_mask_high: above(0).default(1.01),
  /** Leaves out sequences that hold a token whose ratio is under or over these. */
  outlier_token_is_threshold_low: between(0, Infinity).nullable().default(null),
  outlier_token_is_threshold_high: above(0).nullable().default(null),
  /** Leaves out tokens whose ratio is under or over these. */
  token_mask_is_threshold_low: between(0, Infinity).nullable().default(null),
  token_mask_is_threshold_high: above(0).nullable().default(null),
});

export const algorithm = section({
  /** Any registered advantage estimator. */
  advantage_estimator: text().default('grpo'),
  /** Options of the estimator by name, `convention` among them. */
  advantage_options: options().default({}),
  /** Metrics of the environment that are rewards of their own, for estimators that take several (`gdpo`). */
  reward_components: textList('metrics').default([]),
  kl_ctrl: klControl.prefault({}),
  kl_estimator_type: oneOf(klEstimators).default('k3'),
  use_kl_in_reward: bool().default(false),
  use_kl_loss: bool().default(true),
  /** Weight of the KL term, in the loss or in the reward; where it is adaptive, the first one. */
  kl_loss_coef: between(0, Infinity).default(0.001),
  use_entropy_loss: bool().default(false),
  /** Weight of the entropy bonus; where it is adaptive, the first one. */
  entropy_loss_coef: between(0, Infinity).default(0.01),
  entropy_ctrl: entropyControl.prefault({}),
  advantage_batch_normalize: bool().default(false),
  /** Any registered policy loss. */
  policy_loss_type: text().default('regular'),
  /** Options of the policy loss by name, `convention` among them. */
  policy_loss_options: options().default({}),
  /** How the tokens' losses become one number; null: as the loss does (`grpo`, `bnpo`, `dapo`, `dr_grpo`, `luspo`), else `token_mean`. */
  loss_reduction: oneOf(lossReductions).nullable().default(null),
  /** Divide by the group's standard deviation (GRPO), or only subtract its mean (Dr. GRPO). */
  grpo_norm_by_std: bool().default(true),
  /** Prompts whose responses have all the same reward are in no loss. */
  zero_variance_filter: bool().default(false),
  /** λ of GAE. */
  lambd: between(0, 1).default(1),
  gamma: between(0, 1).default(1),
  /** ε of the clip; null: the loss's own (0.2; `geo_mean` 0.4, `dapo` 0.28 above). */
  eps_clip_low: between(0, 1).nullable().default(null),
  eps_clip_high: between(0, Infinity).nullable().default(null),
  /** Bound of dual-clip PPO for negative advantages (`dual_clip`). */
  clip_ratio_c: above(1).default(3),
  /** How far a value may move from the old one before its loss stops rewarding it; null: any distance. */
  value_clip: above(0).nullable().default(0.2),
  /** The constant that `seq_mean_token_sum_norm` divides by. */
  max_seq_len: positiveInt().nullable().default(null),
  dynamic_sampling: dynamicSampling.prefault({}),
  off_policy_correction: offPolicyCorrection.prefault({}),
  /** Of the loss `sapo`: temperatures for positive advantages and for the others. */
  sapo: section({ tau_pos: above(0).default(1), tau_neg: above(0).default(1.05) }).prefault({}),
  /** Of the loss `clip_cov`: the share of the tokens that lose their gradient, and the bounds of their covariance. */
  clip_cov: section({
    clip_ratio: between(0, 1).default(0.0002),
    clip_cov_lb: z.number('a number').default(1),
    clip_cov_ub: z.number('a number').default(5),
  }).prefault({}),
  /** Of the loss `kl_cov`: the share of the tokens that get a penalty, and its weight. */
  kl_cov: section({ kl_cov_frac: between(0, 1).default(0.2), ppo_kl_coef: between(0, Infinity).default(1) }).prefault({}),
  /** Of the loss `cispo`: the weight is clipped to [1 − low, 1 + high]; the policy that ratios are taken to. */
  cispo: section({
    cispo_eps_clip_low: between(0, Infinity).nullable().default(1),
    cispo_eps_clip_high: between(0, Infinity).default(4),
    anchor: oneOf(['old', 'rollout']).default('old'),
  }).prefault({}),
  /** Of the loss `dppo`: the divergence, and its bounds for tokens of negative and of positive advantage. */
  dppo: section({
    dppo_type: oneOf(['binary_tv', 'binary_kl']).default('binary_tv'),
    delta_low: between(0, Infinity).default(0.2),
    delta_high: between(0, Infinity).default(0.2),
  }).prefault({}),
});
