/** The pieces of a decoder layer, as functions on tensors. B rows, T positions, D width, H heads, hd width of a head. */
import { concat, tensor, type DType, type Tensor } from '../tensor';

/** x / √(mean(x²) + ε) · weight over the last dimension (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return x.mul(x.square().mean(-1, { keepDims: true }).add(epsilon).rsqrt()).mul(weight);
}

/** x [.., in] · weightᵀ + bias, weight [out, in] → [.., out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const product = x.matmul(weight.transpose());
  return bias ? product.add(bias) : product;
}

/** SwiGLU's gate: gate · σ(gate) · up (Shazeer 2020, "GLU Variants Improve Transformer"). */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return gate.mul(gate.sigmoid()).mul(up);
}

/** Rotations of rotary embeddings at given positions: cosines and sines [B, T, 1, hd/2], one for each pair of coordinates. */
export interface Rotation {
  cos: Tensor;
  sin: Tensor;
}

/**
 * Rotates coordinates (i, i + hd/2) of each head of x + bias, x [B, T, H, hd], bias [H·hd], by position · θ^(−2i/hd): the half-rotation
 * layout of Hugging Face (Su et al. 2021, "RoFormer"). The bias is added on the way, half by half: the sum never has to be stored.
 */
export function rotate(x: Tensor, { cos, sin }: Rotation, bias?: Tensor): Tensor {
  const [b, t, h, width] = x.shape as [number, number, number, number];
  const offset = bias?.reshape(h, width);
  const half = (from: number): Tensor => {
    const part = x.slice([0, 0, 0, from], [b, t, h, from + width / 2]);
    return offset ? part.add(offset.slice([0, from], [h, from + width / 2])) : part;
  };
  const [first, second] = [half(0), half(width / 2)];
  return concat([first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin))], 3);
}

/**
 * Cosines and sines of positions 0 … length−1, side by side: [length, hd]. Computed in float64, so that far positions keep their digits.
 */
export function rotationTable(length: number, headDim: number, theta: number, dtype: DType): Tensor {
  const half = headDim / 2;
  const values = new Float64Array(length * headDim);
  for (let position = 0; position < length; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * theta ** ((-2 * i) / headDim);
      values[position * headDim + i] = Math.cos(angle);
      values[position * headDim + half + i] = Math.sin(angle);
    }
  }
  return tensor(values, { shape: [length, headDim], dtype });
}

/** Rows of the table at integer positions [B, T]. */
export function rotationAt(table: Tensor, positions: Tensor): Rotation {
  const [b, t] = positions.shape as [number, number];
  const half = table.shape[1]! / 2;
  const rows = table.take(positions).reshape(b, t, 1, 2 * half);
  return { cos: rows.slice([0, 0, 0, 0], [b, t, 1, half]), sin: rows.slice([0, 0, 0, half]) };
}
