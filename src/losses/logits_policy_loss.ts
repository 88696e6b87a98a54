/** A policy loss straight from the logits, with its gradient in them: the logits are read once. */
import { EstimatorError, showValue } from '../errors';
import { checkNames } from '../options';
import { stopGradient, Tensor, where } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { cast, constant, kernel } from '../tensor/graph';
import { checkDivisors, checkNoNaN, checkNumber, checkSameShape, checkTensor } from './check';
import { clippedMetrics } from './builtin/clipped';
import { klDivergence, type PlainKlEstimator, plainKlEstimators } from './kl';
import type { PolicyLossOptions } from './options';
import type { PolicyLossInputs, PolicyLossResult } from './policy_loss';
import { meanOver } from './reduction';

/** Inputs of {@link logitsPolicyLoss} beside logits and ids. */
export interface LogitsPolicyLossInputs extends Pick<PolicyLossInputs, 'oldLogProbs' | 'advantages' | 'mask'> {
  /** Log-probabilities under the reference policy of the KL term, of the ids' shape; constants. */
  refLogProbs?: Tensor;
  /** What each token's loss is divided by, of a shape that broadcasts to the ids' (see `reductionDivisors`). Default 1. */
  divisors?: Tensor;
}

/** Options of {@link logitsPolicyLoss}. */
export interface LogitsPolicyLossOptions extends Pick<PolicyLossOptions, 'epsClipLow' | 'epsClipHigh'> {
  /** Dual clip: bound of the ratio for negative advantages, above 1. Default 3. */
  clipRatioC?: number;
  /** Default 'regular'. */
  type?: 'regular' | 'dual_clip';
  /** δ: no ratio counts for more than this, before it is clipped. Default none. */
  delta?: number;
  /** The logits are divided by it. Default 1. */
  temperature?: number;
  /** Factor on the entropy, which the loss rewards. Default 0. */
  entropyCoef?: number;
  /** Factor on the divergence from `refLogProbs`. Default 0. */
  klCoef?: number;
  /** Default 'k3'. */
  klEstimator?: PlainKlEstimator;
}

/** What {@link logitsPolicyLoss} gives. */
export interface LogitsPolicyLossResult extends PolicyLossResult {
  /** Of the ids' shape, 0 where the mask is 0; constants, for metrics. */
  logProbs: Tensor;
  /** Of the ids' shape, in nats, 0 where the mask is 0; constants, for metrics. */
  entropy: Tensor;
}

/**
 * The policy loss of the tokens `ids` [...] under the logits [...,V]: with ℓ and H the log-prob and the entropy of `tokenLogProbs`,
 *
 *     Σ over the mask of (L(ℓ, ℓ_old, A) + klCoef · KL(ℓ, ℓ_ref) − entropyCoef · H) / divisor
 *
 * where L is the policy loss `regular` or `dual_clip` and KL the estimate of `klDivergence`. Differentiable in the logits. It is what `tokenLogProbs` and
 * `computePolicyLoss` compute together, but the gradient is computed with the loss, while a row of logits is still on chip, and takes the logits' place
 * where nothing else reads them. Evaluate the gradients together with the loss, as always.
 *
 * What the tensors hold where the mask is 0, NaN included, has no effect; rows of logits there are not read.
 *
 * @throws EstimatorError for shapes that do not belong together, dtypes and options
 */
export function logitsPolicyLoss(logits: Tensor, ids: Tensor, inputs: LogitsPolicyLossInputs, options: LogitsPolicyLossOptions = {}): LogitsPolicyLossResult {
  const operation = 'logitsPolicyLoss';
  checkNames(operation, 'input', inputs, ['oldLogProbs', 'advantages', 'mask', 'refLogProbs', 'divisors']);
  checkNames(operation, 'option', options, ['type', 'epsClipLow', 'epsClipHigh', 'clipRatioC', 'delta', 'temperature', 'entropyCoef', 'klCoef', 'klEstimator']);
  const { oldLogProbs, advantages, mask, refLogProbs, divisors } = inputs;
  if (divisors !== undefined) checkTensor(operation, 'divisors', divisors);
  const { type = 'regular', epsClipLow = 0.2, epsClipHigh = 0.2, clipRatioC = 3, delta, temperature = 1, entropyCoef = 0, klCoef = 0, klEstimator = 'k3' } = options;
  checkSameShape(operation, { ids, oldLogProbs, advantages, mask }, { refLogProbs });
  checkNoNaN(operation, 'mask', mask);
  if (divisors) checkDivisors(operation, divisors);
  checkLogits(logits, ids);
  if (type !== 'regular' && type !== 'dual_clip') throw new EstimatorError(`${operation}: type: expected regular or dual_clip, got ${showValue(type)}`);
  if (!plainKlEstimators.includes(klEstimator)) throw new EstimatorError(`${operation}: klEstimator: expected one of ${plainKlEstimators.join(', ')}, got ${showValue(klEstimator)}`);
  if (klCoef !== 0 && !refLogProbs) throw new EstimatorError(`${operation}: refLogProbs: expected a Tensor, as klCoef is ${showValue(klCoef)}`);
  checkNumber(operation, 'epsClipLow', epsClipLow, 0, 1);
  checkNumber(operation, 'epsClipHigh', epsClipHigh, 0);
  checkNumber(operation, 'clipRatioC', clipRatioC, 1);
  if (delta !== undefined) checkNumber(operation, 'delta', delta, 0);
  checkNumber(operation, 'temperature', temperature, Number.MIN_VALUE);
  checkNumber(operation, 'entropyCoef', entropyCoef, -Number.MAX_VALUE);
  checkNumber(operation, 'klCoef', klCoef, -Number.MAX_VALUE);

  const rows = ids.size;
  const dtype = logits.dtype === 'float64' ? 'float64' : 'float32';
  const flat = logits.reshape([rows, logits.shape[logits.ndim - 1]!]).node;
  const column = (x: Tensor) => cast(x.reshape([rows]).node, dtype);
  const weights = where(mask.notEqual(0), divisors ? divisors.cast(dtype).pow(-1).broadcastTo([...ids.shape]) : 1, 0);
  const bound = type === 'dual_clip' ? clipRatioC : Infinity;
  const row = { shape: [rows], dtype } as const;
  const call = {
    name: 'token_policy_gradient',
    outputs: [row, row, row, { shape: flat.shape, dtype: flat.dtype }],
    scalars: [1 / temperature, epsClipLow, epsClipHigh, bound, delta ?? Infinity, entropyCoef, klCoef],
    attributes: [plainKlEstimators.indexOf(klEstimator)],
    reuses: [null, null, null, 0],
    optional: [3],
  };
  const reference = refLogProbs && klCoef !== 0 ? column(refLogProbs) : constant(0, dtype, [0]);
  const arrays = [flat, cast(ids.reshape([rows]).node, 'int32'), column(oldLogProbs), column(advantages), column(weights), reference];
  const [losses, ...known] = kernel(call, arrays).slice(0, 3).map((node) => new Tensor(node));
  const [logProbs, entropy] = known.map((x) => stopGradient(x.reshape([...ids.shape]))) as [Tensor, Tensor];
  const metrics = clippedMetrics(logProbs, oldLogProbs, advantages, mask, epsClipLow, epsClipHigh);
  const mean = meanOver(mask);
  const kl = refLogProbs && { kl: mean(klDivergence(logProbs, refLogProbs, klEstimator, mask)) };
  return { loss: losses!.sum(), logProbs, entropy, metrics: { ...metrics, ...kl, entropy: mean(entropy) } };
}

function checkLogits(logits: Tensor, ids: Tensor): void {
  if (logits instanceof Tensor) checkTensor('logitsPolicyLoss', 'logits', logits);
  if (!(logits instanceof Tensor) || !isFloating(logits.dtype)) {
    throw new EstimatorError(`logitsPolicyLoss: logits: expected a floating Tensor, got ${logits instanceof Tensor ? logits.dtype : showValue(logits)}`);
  }
  if (isFloating(ids.dtype)) throw new EstimatorError(`logitsPolicyLoss: ids: expected integers, got ${ids.dtype}`);
  if (logits.ndim !== ids.ndim + 1 || ids.shape.some((extent, d) => extent !== logits.shape[d])) {
    throw new EstimatorError(`logitsPolicyLoss: logits: expected shape [${[...ids.shape, 'V'].join(',')}], got [${logits.shape.join(',')}]`);
  }
}
