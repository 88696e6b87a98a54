/** Rewards before an estimator sees them: shifted, scaled, clipped, whitened, and less what the divergence from a reference costs. */
import { EstimatorError } from '../errors';
import { type Given, resolveOptions } from '../options';
import { arange, Tensor, where } from '../tensor';
import { checkNumber, checkSameShape, checkTensor, floating } from '../losses/check';

/** What {@link RewardTransformOptions} may set. */
export interface RewardTransformSettings {
  /** Added first. Default 0. */
  bias: number;
  /** Factor after it. Default 1. */
  scale: number;
  /** Bounds after that; null: open. */
  low: number | null;
  /** The upper bound; null: none. */
  high: number | null;
  /** At last: (r − μ)/√(σ² + ε) over all (valid) rewards. Default false. */
  whiten: boolean;
  /** Whitened rewards keep their mean: only the spread is brought to 1. Default false. */
  keepMean: boolean;
  /** σ² divides by n − ddof. Default 1. */
  ddof: number;
  /** Default 1e-8. */
  epsilon: number;
}

/** Options of {@link transformRewards}. */
export type RewardTransformOptions = Given<RewardTransformSettings>;

/**
 * clip((r + bias)·scale, low, high), whitened where asked for; of the rewards' shape, [B] or [B,T]. With a mask masked positions have no effect and
 * become 0. One reward alone, or none, whitens to 0 (its mean, where that is kept). Statistics are taken in float64 from differences to the mean.
 *
 * @param mask of the rewards' shape
 * @throws EstimatorError for shapes that differ and options that are unknown or out of range
 */
export function transformRewards(rewards: Tensor, options: RewardTransformOptions = {}, mask?: Tensor): Tensor {
  const who = 'transformRewards';
  const defaults: RewardTransformSettings = { bias: 0, scale: 1, low: null, high: null, whiten: false, keepMean: false, ddof: 1, epsilon: 1e-8 };
  const { bias, scale, low, high, whiten, keepMean, ddof, epsilon } = resolveOptions(who, defaults, options, { rules: { low: { like: null }, high: { like: null } } });
  checkNumber(who, 'bias', bias, -Number.MAX_VALUE);
  checkNumber(who, 'scale', scale, -Number.MAX_VALUE);
  checkNumber(who, 'ddof', ddof, 0);
  checkNumber(who, 'epsilon', epsilon, 0);
  checkBounds(who, low, high);
  checkSameShape(who, { rewards }, { mask });
  const valid = mask?.notEqual(0);
  const masked = (x: Tensor) => (valid ? where(valid, x, 0) : x);
  const shaped = masked(floating(rewards).add(bias).mul(scale).clamp(low, high));
  if (!whiten) return shaped;
  const exact = shaped.cast('float64');
  const count = valid ? valid.sum().cast('float64') : exact.mul(0).add(1).sum();
  const mean = exact.sum(null, valid && { mask: valid }).div(count.maximum(1));
  const centred = masked(exact.sub(mean));
  const variance = centred.square().sum().div(count.sub(ddof).maximum(1));
  // Equal rewards are 0, not 0/0, where ε is 0.
  const whitened = where(variance.greater(0), centred.div(variance.add(epsilon).sqrt()), 0);
  return masked(keepMean ? whitened.add(mean) : whitened).cast(shaped.dtype);
}

/** What {@link KlRewardOptions} may set. */
export interface KlRewardSettings {
  /** β, what a unit of divergence costs; 0 or more. Default 0. */
  klCoef: number;
  /** Bounds of the scores; null: open. */
  low: number | null;
  /** The upper bound of the penalized reward; null: none. */
  high: number | null;
  /** Set masked positions to 0. Else divergences there count, and the score of a row without a valid token stands in its last column. Default true. */
  remask: boolean;
}

/** Options of {@link klShapedRewards}. */
export type KlRewardOptions = Given<KlRewardSettings>;

/**
 * The tokens' rewards [B,T] under a KL penalty: r_t = clip(score) at the score's place − β·kl_t. A score [B] stands at the last valid token of its
 * row; scores [B,T] stand where they are. Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences"; for the estimate kl see `klDivergence`.
 *
 * @param scores [B] or [B,T]
 * @param kl [B,T]; what it holds at masked positions has no effect
 * @param mask [B,T]
 * @throws EstimatorError for shapes that do not belong together and options that are unknown or out of range
 */
export function klShapedRewards(scores: Tensor, kl: Tensor, mask: Tensor, options: KlRewardOptions = {}): Tensor {
  const who = 'klShapedRewards';
  const defaults: KlRewardSettings = { klCoef: 0, low: null, high: null, remask: true };
  const { klCoef, low, high, remask } = resolveOptions(who, defaults, options, {
    presets: { openrlhf: { remask: false }, verl: { remask: false } },
    rules: { low: { like: null }, high: { like: null } },
  });
  checkNumber(who, 'klCoef', klCoef, 0);
  checkBounds(who, low, high);
  checkSameShape(who, { kl, mask });
  checkTensor(who, 'scores', scores);
  const perToken = scores.ndim === 2;
  if (scores.shape[0] !== kl.shape[0] || (perToken ? scores.shape[1] !== kl.shape[1] : scores.ndim !== 1)) {
    const [batch, time] = kl.shape;
    throw new EstimatorError(`${who}: scores: expected a Tensor of shape [${batch}] or [${batch},${time}], got shape [${scores.shape.join(',')}]`);
  }
  const valid = mask.notEqual(0);
  const clipped = floating(scores).clamp(low, high);
  const placed = perToken ? clipped : where(lastValid(valid, remask), clipped.expandDims(1), 0);
  const rewards = placed.sub(floating(kl).mul(klCoef));
  return remask ? where(valid, rewards, 0) : rewards;
}

function checkBounds(who: string, low: number | null, high: number | null): void {
  if (low !== null && high !== null && low > high) throw new EstimatorError(`${who}: option 'low': expected at most high, ${high}, got ${low}`);
}

/** bool [B,T]: 1 at the last valid position of each row; of a row without one, nowhere or in the last column. */
function lastValid(valid: Tensor, emptyNowhere: boolean): Tensor {
  const [, time] = valid.shape as [number, number];
  const places = arange(1, time + 1, 1, { dtype: 'int32' }).expandDims(0).broadcastTo([...valid.shape]);
  const last = where(valid, places, 0).max(-1, { keepDims: true });
  return places.equal(emptyNowhere ? last : where(last.greater(0), last, time));
}
