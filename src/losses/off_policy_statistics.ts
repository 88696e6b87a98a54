/** Statistics of numbers that tokens and sequences have, for the metrics of off-policy corrections. */
import { type Tensor, where } from '../tensor';

/** How statistics of tokens and sequences are taken. */
export interface StatisticsOptions {
  /** Added to the number of tokens that a mean is divided by. */
  epsilon: number;
  /** Rows without a valid token take part in the means over sequences. */
  countMaskedRows: boolean;
}

/** What is counted: valid tokens and the rows that hold them. */
export class TokenStatistics {
  /** Valid tokens, a scalar. */
  private readonly total: Tensor;
  /** Rows that take part, bool [B,1]. */
  readonly rows: Tensor;

  constructor(
    private readonly valid: Tensor,
    private readonly count: Tensor,
    private readonly options: StatisticsOptions,
  ) {
    this.total = count.sum();
    this.rows = options.countMaskedRows ? count.greaterEqual(0) : count.greater(0);
  }

  /** Σ m·x / (Σ m + ε) over all tokens; 0 where there is none. */
  mean(x: Tensor): Tensor {
    return x.sum(null, { mask: this.valid }).div(this.total.maximum(1).add(this.options.epsilon));
  }

  /** The same of each row, [B,1]. */
  rowMean(x: Tensor): Tensor {
    return x.sum(-1, { mask: this.valid, keepDims: true }).div(this.count.maximum(1).add(this.options.epsilon));
  }

  max(x: Tensor): Tensor {
    return where(this.total.greater(0), x.max(null, { mask: this.valid }), 0);
  }

  min(x: Tensor): Tensor {
    return where(this.total.greater(0), x.min(null, { mask: this.valid }), 0);
  }

  /**
   * √(E[x²] − E[x]²) with E[x] = {@link mean}; 0 for a single token. From the squared differences V to the mean μ, so that an offset of x costs
   * no digits: with n tokens and N = n + ε it is √(V/N + μ²·n·ε/N²).
   */
  std(x: Tensor): Tensor {
    const { epsilon } = this.options;
    const n = this.total.maximum(1);
    const mean = x.sum(null, { mask: this.valid }).div(n);
    const spread = x.sub(mean).square().sum(null, { mask: this.valid });
    const padded = n.add(epsilon);
    const variance = spread.div(padded).add(mean.square().mul(n).mul(epsilon).div(padded.square()));
    return where(this.total.greater(1), variance.sqrt(), 0);
  }

  /** (Σw)²/(n·Σw²): the share of the tokens that as many equally weighted ones would be; 0 where all weights are 0. */
  effectiveSampleSize(w: Tensor): Tensor {
    const squares = this.mean(w.square());
    return where(squares.greater(0), this.mean(w).add(this.options.epsilon).square().div(squares), 0);
  }

  /** Mean, standard deviation (ddof 1; 0 for a single row) and extremes of one number a row, [B,1]. */
  ofRows(x: Tensor, rows: Tensor = this.rows): { mean: Tensor; std: Tensor; max: Tensor; min: Tensor } {
    const n = rows.sum();
    const some = n.greater(0);
    const mean = x.sum(null, { mask: rows }).div(n.maximum(1));
    const std = x.sub(mean).square().sum(null, { mask: rows }).div(n.sub(1).maximum(1)).sqrt();
    return { mean, std, max: where(some, x.max(null, { mask: rows }), 0), min: where(some, x.min(null, { mask: rows }), 0) };
  }

  /** The rows for which a condition holds, as a share of those that take part. */
  shareOfRows(condition: Tensor, rows: Tensor = this.rows): Tensor {
    return condition.sum(null, { mask: rows }).cast(this.count.dtype).div(rows.sum().maximum(1));
  }

  /** Rows with at least one valid token, bool [B,1]. */
  get filledRows(): Tensor {
    return this.count.greater(0);
  }
}

/** {@link StatisticsOptions} of the libraries that differ. */
export const statisticsPresets = {
  skyrl: { countMaskedRows: true },
  verl: { epsilon: 1e-8, countMaskedRows: true },
} as const;
