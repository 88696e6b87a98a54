/** AdamW with global gradient-norm clipping; a step is one evaluation of backward pass, norm and update. */
import { TensorError } from '../errors';
import { evaluate, gradients, onesLike, UpdateList, zeros, type Tensor } from '../tensor';
import { checkArray, checkFinite, checkOptions, describe, formatShape, sameShape } from '../tensor/shape';
import { tensorArgument } from '../tensor/tensor';
import { checkTensors } from './check';
import { keptTensors } from './kept';

const optionNames = ['lr', 'betas', 'epsilon', 'weightDecay', 'maxGradNorm', 'decays'] as const;
const stepNames = ['lr', 'evaluate'] as const;
const stateNames = ['step', 'tensors'] as const;

/** Options of {@link AdamW}. */
export interface AdamWOptions {
  /** Learning rate, where a step is not given its own. */
  lr: number;
  /** Decay of the running mean and of the running mean square. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  epsilon?: number;
  /** Decoupled weight decay. Default 0.01, as in PyTorch. */
  weightDecay?: number;
  /** Gradients are scaled down to this global norm. Default: no clipping. */
  maxGradNorm?: number;
  /** Which parameters decay, by name. Default: all, as in PyTorch. */
  decays?: (name: string) => boolean;
}

/** Options of one optimizer step. */
export interface StepOptions {
  /** The rate of this step. Default: that of the options. */
  lr?: number;
  /** Tensors (metrics) to evaluate with the step, before the parameters change. */
  evaluate?: readonly Tensor[];
}

/** What a checkpoint keeps of an optimizer: its steps, and `{parameter}.exp_avg` and `{parameter}.exp_avg_sq` (PyTorch's names). */
export interface OptimizerState {
  /** Steps that were done. */
  step: number;
  /** The running means of gradients and of their squares, by the parameters' names. */
  tensors: Map<string, Tensor>;
}

interface Moments {
  mean: Tensor;
  square: Tensor;
}

/**
 * AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), as PyTorch's: with g the gradient times
 * min(1, maxGradNorm / (‖g‖ + 1e-6)), m = β₁m + (1−β₁)g, v = β₂v + (1−β₂)g², p −= lr·(m̂ / (√v̂ + ε) + weightDecay·p), m̂ and v̂
 * corrected for their start at 0. Parameters change in place.
 *
 * @example
 * optimizer.accumulate(loss);
 * const { gradNorm } = optimizer.step();
 */
export class AdamW {
  private readonly moments = new Map<string, Moments>();
  private readonly names: string[];
  private readonly settings: Required<AdamWOptions>;
  private steps = 0;
  /** Gradients of the micro-batches so far; the last one is not evaluated yet. */
  private pending: Tensor[] | null = null;
  private alongside: Tensor[] = [];

  constructor(
    private readonly parameters: Map<string, Tensor>,
    options: AdamWOptions,
  ) {
    const { lr, betas = [0.9, 0.999], epsilon = 1e-8, weightDecay = 0.01, maxGradNorm = Infinity, decays = () => true } = checkOptions('AdamW', options, optionNames);
    checkTensors('AdamW', 'parameters', parameters);
    this.settings = { lr, betas, epsilon, weightDecay, maxGradNorm, decays };
    // First: a comparison asks an object for its number.
    for (const [name, value] of Object.entries({ lr, epsilon, weightDecay, maxGradNorm })) checkSetting(name, value, typeof value === 'number', 'a number');
    checkSetting('lr', lr, lr >= 0, 'a number of at least 0');
    checkSetting('betas', betas, Array.isArray(betas) && betas.length === 2 && betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1), 'two numbers from 0 to below 1');
    checkSetting('epsilon', epsilon, epsilon > 0, 'a positive number');
    checkSetting('weightDecay', weightDecay, weightDecay >= 0, 'a number of at least 0');
    checkSetting('maxGradNorm', maxGradNorm, maxGradNorm > 0, 'a positive number');
    checkSetting('decays', decays, typeof decays === 'function', 'a function of a name');
    this.names = [...parameters.keys()];
    const zero = keptTensors(2 * this.names.length, (i) => {
      const { shape, dtype, device } = parameters.get(this.names[i >> 1]!)!;
      return zeros(shape, { dtype, device });
    });
    this.names.forEach((name, i) => this.moments.set(name, { mean: zero[2 * i]!, square: zero[2 * i + 1]! }));
  }

  /** Optimizer steps made. */
  get stepCount(): number {
    return this.steps;
  }

  /**
   * Adds the gradients of a loss to those of the next step. Nothing runs until the next micro-batch or step: a step of one micro-batch
   * is one evaluation.
   *
   * @param loss a scalar that has not been evaluated
   * @param metrics tensors to evaluate in the same pass
   */
  accumulate(loss: Tensor, metrics: readonly Tensor[] = []): void {
    checkArray('AdamW.accumulate', 'an array of metrics', metrics);
    for (const x of metrics) tensorArgument('AdamW.accumulate metrics', x);
    const previous = this.pending;
    // The micro-batches run one after the other, so that only one holds its activations.
    if (previous) evaluate([...previous, ...this.takeAlongside()]);
    const fresh = gradients(
      loss,
      this.names.map((name) => this.parameters.get(name)!),
      { allowUnused: true },
    );
    this.pending = fresh.map((gradient, i) => (previous ? previous[i]!.add(gradient) : gradient).keep());
    if (previous) { for (const gradient of [...previous, ...fresh]) gradient.dispose(); }
    this.alongside = [loss, ...metrics];
  }

  /**
   * Updates the parameters with the accumulated gradients and forgets these.
   *
   * @returns the global norm of the gradients before clipping
   * @throws TensorError where nothing was accumulated
   */
  step(options?: StepOptions): { gradNorm: number } {
    const { lr = this.settings.lr, evaluate: metrics = [] } = checkOptions('AdamW.step', options, stepNames);
    checkFinite('AdamW.step', 'lr', lr);
    checkArray('AdamW.step', 'an array of tensors to evaluate', metrics);
    for (const x of metrics) tensorArgument('AdamW.step evaluate', x);
    if (!this.pending) throw new TensorError('AdamW.step: expected gradients from accumulate(loss), got none');
    const { betas, epsilon, weightDecay, maxGradNorm, decays } = this.settings;
    const gradNorm = globalNorm(this.pending);
    const coefficient = (maxGradNorm === Infinity ? onesLike(gradNorm) : gradNorm.add(1e-6).pow(-1).mul(maxGradNorm).minimum(1)).reshape(1);
    const updates = new UpdateList();
    const step = this.steps + 1;
    this.names.forEach((name, i) => {
      const { mean, square } = this.moments.get(name)!;
      const rates = { lr, beta1: betas[0], beta2: betas[1], epsilon, weightDecay: decays(name) ? weightDecay : 0, step };
      updates.adamw(this.parameters.get(name)!, mean, square, this.pending![i]!, coefficient, rates);
    });
    updates.evaluate([gradNorm, ...metrics, ...this.takeAlongside()]);
    // A step that fails is not counted: it may be made again.
    this.steps = step;
    const result = { gradNorm: gradNorm.item() };
    for (const used of [...this.pending, gradNorm, coefficient]) used.dispose();
    this.pending = null;
    return result;
  }

  /** The state to save: the optimizer's own tensors, valid until its next step. */
  state(): OptimizerState {
    const tensors = new Map<string, Tensor>();
    for (const [name, { mean, square }] of this.moments) tensors.set(`${name}.exp_avg`, mean).set(`${name}.exp_avg_sq`, square);
    return { step: this.steps, tensors };
  }

  /**
   * Goes on from a saved state; takes the tensors over.
   *
   * @throws TensorError naming a tensor that is missing or of another shape or dtype; the optimizer is unchanged then
   */
  loadState(state: OptimizerState): void {
    const loaded = this.checkState(state);
    for (const [name, { mean, square }] of loaded) {
      const previous = this.moments.get(name)!;
      if (previous.mean !== mean) previous.mean.dispose();
      if (previous.square !== square) previous.square.dispose();
      this.moments.set(name, { mean: mean.keep(), square: square.keep() });
    }
    this.steps = state.step;
  }

  /** @internal The moments of a state. @throws TensorError as {@link loadState} */
  checkState(saved: OptimizerState): Map<string, Moments> {
    const { step, tensors } = checkOptions('AdamW.loadState', saved, stateNames, 'key');
    checkTensors('AdamW.loadState', 'tensors', tensors);
    if (!Number.isInteger(step) || step < 0) {
      throw new TensorError(`AdamW.loadState: expected step, a non-negative integer, got ${describe(step)}`);
    }
    const loaded = new Map<string, Moments>();
    for (const [name, parameter] of this.parameters) {
      const find = (suffix: string): Tensor => {
        const found = tensors.get(`${name}.${suffix}`);
        const wanted = `${parameter.dtype} ${formatShape(parameter.shape)}`;
        if (!found) throw new TensorError(`AdamW.loadState: '${name}.${suffix}': expected ${wanted}, got none`);
        if (!sameShape(found.shape, parameter.shape) || found.dtype !== parameter.dtype) {
          throw new TensorError(`AdamW.loadState: '${name}.${suffix}': expected ${wanted}, got ${found.dtype} ${formatShape(found.shape)}`);
        }
        return found;
      };
      loaded.set(name, { mean: find('exp_avg'), square: find('exp_avg_sq') });
    }
    return loaded;
  }

  /** Lets go of the optimizer's memory; the parameters stay. */
  dispose(): void {
    for (const { mean, square } of this.moments.values()) for (const x of [mean, square]) x.dispose();
    for (const gradient of this.pending ?? []) gradient.dispose();
    this.pending = null;
    this.alongside = [];
  }

  /** What is evaluated with the gradients, but for what its owner has disposed of. */
  private takeAlongside(): Tensor[] {
    const taken = this.alongside.filter((x) => !x.isDisposed);
    this.alongside = [];
    return taken;
  }
}

/** √(Σ g²) over all gradients. */
function globalNorm(gradientList: readonly Tensor[]): Tensor {
  return gradientList
    .map((gradient) => gradient.square().sum())
    .reduce((total, part) => total.add(part))
    .sqrt();
}

function checkSetting(name: string, value: unknown, holds: boolean, expected: string): void {
  if (!holds) throw new TensorError(`AdamW: expected ${name}, ${expected}, got ${describe(value)}`);
}
