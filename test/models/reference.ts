/** The decoder as plain loops over float64 numbers, one row at a time and without padding: what the models are checked against. */
import type { ResolvedConfig } from '../../src/models';

export type Weights = Map<string, { shape: readonly number[]; data: ArrayLike<number> }>;

function matvec(weights: Weights, name: string, x: number[]): number[] {
  const { shape, data } = weights.get(`${name}.weight`)!;
  const bias = weights.get(`${name}.bias`)?.data;
  return Array.from({ length: shape[0]! }, (_, o) => {
    let sum = bias ? bias[o]! : 0;
    for (let i = 0; i < x.length; i++) sum += data[o * x.length + i]! * x[i]!;
    return sum;
  });
}

function norm(weights: Weights, name: string, x: number[], epsilon: number): number[] {
  const { data } = weights.get(`${name}.weight`)!;
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + epsilon)) * data[i]!);
}

function rotated(head: number[], position: number, theta: number): number[] {
  const half = head.length / 2;
  return head.map((value, i) => {
    const angle = position * theta ** ((-2 * (i % half)) / head.length);
    const partner = i < half ? -head[i + half]! : head[i - half]!;
    return value * Math.cos(angle) + partner * Math.sin(angle);
  });
}

const heads = (x: number[], width: number): number[][] => Array.from({ length: x.length / width }, (_, h) => x.slice(h * width, (h + 1) * width));
const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** Hidden states after the last norm for one sequence without padding: [T][D]. */
export function referenceHidden(config: ResolvedConfig, weights: Weights, ids: readonly number[]): number[][] {
  const { hiddenSize: width, headDim, numHeads, numKvHeads, ropeTheta, rmsNormEps } = config;
  const embedding = weights.get('model.embed_tokens.weight')!.data;
  let x = ids.map((id) => Array.from({ length: width }, (_, i) => embedding[id * width + i]!));
  for (let layer = 0; layer < config.numLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    const inputs = x.map((row) => norm(weights, `${prefix}.input_layernorm`, row, rmsNormEps));
    const project = (name: string) => inputs.map((row) => heads(matvec(weights, `${prefix}.self_attn.${name}`, row), headDim));
    const q = project('q_proj').map((row, t) => row.map((head) => rotated(head, t, ropeTheta)));
    const k = project('k_proj').map((row, t) => row.map((head) => rotated(head, t, ropeTheta)));
    const v = project('v_proj');
    x = x.map((row, t) => {
      const attended = q[t]!.flatMap((query, h) => {
        const keyHead = Math.floor((h * numKvHeads) / numHeads);
        const scores = k.slice(0, t + 1).map((key) => Math.exp(dot(query, key[keyHead]!) / Math.sqrt(headDim)));
        const total = scores.reduce((sum, score) => sum + score, 0);
        return query.map((_, i) => scores.reduce((sum, score, j) => sum + (score / total) * v[j]![keyHead]![i]!, 0));
      });
      const residual = matvec(weights, `${prefix}.self_attn.o_proj`, attended).map((value, i) => value + row[i]!);
      const inner = norm(weights, `${prefix}.post_attention_layernorm`, residual, rmsNormEps);
      const gate = matvec(weights, `${prefix}.mlp.gate_proj`, inner);
      const up = matvec(weights, `${prefix}.mlp.up_proj`, inner);
      const gated = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
      return matvec(weights, `${prefix}.mlp.down_proj`, gated).map((value, i) => value + residual[i]!);
    });
  }
  return x.map((row) => norm(weights, 'model.norm', row, rmsNormEps));
}

/** Logits [T][V] of one sequence without padding. */
export function referenceLogits(config: ResolvedConfig, weights: Weights, ids: readonly number[]): number[][] {
  const head = config.tieWordEmbeddings ? 'model.embed_tokens' : 'lm_head';
  return referenceHidden(config, weights, ids).map((row) => matvec(weights, head, row));
}

/** log softmax(logits / temperature) at a token, and the entropy of that distribution. */
export function referenceLogProb(logits: readonly number[], id: number, temperature = 1): { logProb: number; entropy: number } {
  const scaled = logits.map((logit) => logit / temperature);
  const most = Math.max(...scaled);
  const lse = most + Math.log(scaled.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return { logProb: scaled[id]! - lse, entropy: scaled.reduce((sum, value) => sum - Math.exp(value - lse) * (value - lse), 0) };
}

/** AdamW with global-norm clipping on one flat list of parameters, PyTorch's formula. Returns the norm before clipping. */
export function referenceAdamW(
  p: number[],
  m: number[],
  v: number[],
  gradient: readonly number[],
  step: number,
  {
    lr,
    betas: [beta1, beta2],
    epsilon,
    weightDecay,
    maxGradNorm,
  }: { lr: number; betas: readonly [number, number]; epsilon: number; weightDecay: number; maxGradNorm: number },
): number {
  const gradNorm = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
  const scale = Math.min(1, maxGradNorm / (gradNorm + 1e-6));
  gradient.forEach((raw, i) => {
    const g = raw * scale;
    m[i] = beta1 * m[i]! + (1 - beta1) * g;
    v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
    const mean = m[i]! / (1 - beta1 ** step);
    const square = v[i]! / (1 - beta2 ** step);
    p[i] = p[i]! - lr * (mean / (Math.sqrt(square) + epsilon) + weightDecay * p[i]!);
  });
  return gradNorm;
}
