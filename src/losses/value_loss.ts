/** The loss of the critic. */
import { unpackRows } from '../advantages/packed';
import { checkNames } from '../options';
import { type RowLayout, type RowOffsets, type Tensor, where } from '../tensor';
import { checkNoNaN, checkNumber, checkRows, checkSameShape } from './check';
import { checkReductionOptions, type LossReduction, meanOver, reduceLoss, type ReductionOptions } from './reduction';

/** Inputs of {@link valueLoss}. */
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

/** The same without padding: the tokens of all rows one after the other, [tokens] instead of [B,T]. */
export interface PackedValueLossInputs extends Omit<ValueLossInputs, 'mask'> {
  /** `[B + 1]`: row b is the tokens rowOffsets[b] … rowOffsets[b+1]−1. From 0 to the number of tokens. Or their {@link RowLayout}. */
  rowOffsets: RowOffsets | RowLayout;
  /** Default: every token counts. */
  mask?: Tensor;
}

/** Options of {@link valueLoss}. */
export interface ValueLossOptions extends ReductionOptions {
  /** How far a value may move from the old one before the loss stops rewarding it; null (default) for no clipping. */
  valueClip?: number | null;
  /** How the tokens' losses become one number. Default `sequence_mean`: the mean over rows of the means over their tokens; a fully masked row counts as 0. */
  reduction?: LossReduction;
}

/**
 * ½ · the reduction of max((V − R)², (V_clipped − R)²) over the tokens, V_clipped = V_old + clip(V − V_old, ±valueClip).
 * `clipFraction`: the share of tokens whose clipped side is the larger. Schulman et al. 2017 (the clip as in its reference implementation).
 *
 * @throws EstimatorError for unknown inputs and options, shapes that differ, rowOffsets that are none, a negative `valueClip` and another reduction
 */
export function valueLoss(given: ValueLossInputs | PackedValueLossInputs, options: ValueLossOptions = {}): { loss: Tensor; clipFraction: Tensor } {
  checkNames('valueLoss', 'input', given, ['values', 'oldValues', 'returns', 'mask', 'rowOffsets']);
  checkReductionOptions('valueLoss', options, ['valueClip', 'reduction']);
  const { valueClip = null, reduction = 'sequence_mean', ...rest } = options;
  const inputs = inputsOf(given);
  checkRows('valueLoss', 'values', inputs.values);
  checkSameShape('valueLoss', { ...inputs });
  const { mask } = inputs;
  checkNoNaN('valueLoss', 'mask', mask);
  const valid = mask.notEqual(0);
  const [values, oldValues, returns] = [inputs.values, inputs.oldValues, inputs.returns].map((x) => where(valid, x, 0)) as [Tensor, Tensor, Tensor];
  const plain = values.sub(returns).square();
  let [worse, isClipped] = [plain, valid.logicalNot()];
  if (valueClip !== null) {
    checkNumber('valueLoss', 'valueClip', valueClip, 0);
    const clipped = values.sub(oldValues).clamp(-valueClip, valueClip).add(oldValues).sub(returns).square();
    isClipped = clipped.greater(plain);
    worse = plain.maximum(clipped);
  }
  return { loss: reduceLoss(worse, mask, reduction, rest).mul(0.5), clipFraction: meanOver(valid, values.dtype, options.countEpsilon)(isClipped) };
}

function inputsOf(given: ValueLossInputs | PackedValueLossInputs): ValueLossInputs {
  const { rowOffsets = null, values, oldValues, returns, mask } = given as PackedValueLossInputs;
  if (rowOffsets === null) return { values, oldValues, returns, mask: mask! };
  const { padded, layout, release } = unpackRows('valueLoss', { values, oldValues, returns, mask }, rowOffsets, () => false);
  const inputs = { mask: layout.present(), ...padded } as unknown as ValueLossInputs;
  release();
  return inputs;
}
