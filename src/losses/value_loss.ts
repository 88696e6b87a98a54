/** The loss of the critic. */
import { type Tensor, where } from '../tensor';
import { checkNumber, checkSameShape } from './check';
import { maskedMean } from './reduction';

export interface ValueLossInputs {
  /** V of the critic that is trained, [B,T]. */
  values: Tensor;
  /** V before the update, [B,T]; constants. */
  oldValues: Tensor;
  /** What V should be, [B,T]; constants. */
  returns: Tensor;
  /** [B,T]; what the others hold where it is 0 has no effect. */
  mask: Tensor;
}

export interface ValueLossOptions {
  /** How far a value may move from the old one before the loss stops rewarding it; null (default) for no clipping. */
  valueClip?: number | null;
}

/**
 * ½ · mean over rows of the mean over the row's tokens of max((V − R)², (V_clipped − R)²), V_clipped = V_old + clip(V − V_old, ±valueClip).
 * A fully masked row counts as 0. `clipFraction`: the share of tokens whose clipped side is the larger. Schulman et al. 2017 (the clip as in
 * its reference implementation).
 *
 * @throws EstimatorError for shapes that differ and a negative `valueClip`
 */
export function valueLoss(inputs: ValueLossInputs, { valueClip = null }: ValueLossOptions = {}): { loss: Tensor; clipFraction: Tensor } {
  checkSameShape('valueLoss', { ...inputs });
  const { mask } = inputs;
  const valid = mask.notEqual(0);
  const [values, oldValues, returns] = [inputs.values, inputs.oldValues, inputs.returns].map((x) => where(valid, x, 0));
  const plain = values.sub(returns).square();
  let [worse, isClipped] = [plain, valid.logicalNot()];
  if (valueClip !== null) {
    checkNumber('valueLoss', 'valueClip', valueClip, 0);
    const clipped = values.sub(oldValues).clamp(-valueClip, valueClip).add(oldValues).sub(returns).square();
    isClipped = clipped.greater(plain);
    worse = plain.maximum(clipped);
  }
  const tokens = valid.sum(-1).maximum(1);
  return { loss: worse.sum(-1, { mask }).div(tokens).mean().mul(0.5), clipFraction: maskedMean(isClipped, mask) };
}
