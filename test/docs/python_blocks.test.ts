/** The Python of docs/checkpoints.md reads a checkpoint, where Python (VANTAGE_PYTHON, or python3) has safetensors. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdamW, latestCheckpoint, saveCheckpoint, Transformer } from 'vantage-rl';
import { randomKey } from '../../src/tensor';
import { blocks, read, root } from './markdown';

const python = process.env.VANTAGE_PYTHON ?? 'python3';
const isThere = (() => {
  try {
    execFileSync(python, ['-c', 'import numpy, safetensors.numpy'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
if (!isThere) console.warn(`skipped: ${python} has no numpy and safetensors`);

(isThere ? test : test.skip)('safetensors reads the weights, with their names, types, shapes and values', () => {
  const [block] = blocks(read(join(root, 'docs/checkpoints.md')), 'python');
  const folder = mkdtempSync(join(tmpdir(), 'vantage-python-'));
  try {
    const shape = { vocabSize: 14, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 2, intermediateSize: 8, ropeTheta: 1e4, rmsNormEps: 1e-6 };
    const model = Transformer.initialize({ ...shape, tieWordEmbeddings: true, attentionBias: true, maxPositionEmbeddings: 64 }, randomKey(1));
    const data = { epoch: 0, batch: 0, seed: 0, batchSize: 1, size: 1 };
    const state = {
      version: 3,
      globalStep: 2,
      seconds: 0,
      data,
      dataset: '',
      seed: 0,
      coefficients: { kl: { value: 0.001 }, entropy: null },
      evaluationPending: false,
      estimator: null,
      history: [],
      config: {},
    } as const;
    saveCheckpoint(join(folder, 'checkpoints'), { policy: { model, optimizer: new AdamW(model.parameters, { lr: 1 }) } }, state);
    expect(latestCheckpoint(join(folder, 'checkpoints'))).toBe(join(folder, 'checkpoints/global_step_2'));
    const values = '\nimport json\nprint(json.dumps({name: value.ravel().tolist() for name, value in weights.items()}))\n';
    const lines = execFileSync(python, ['-c', block!.code + values], { cwd: folder, encoding: 'utf8' }).trim().split('\n');
    const shapes = [...model.parameters].map(([name, x]) => `${name} ${x.dtype} (${x.shape.join(', ')}${x.shape.length === 1 ? ',' : ''})`);
    expect(lines.slice(0, -1).sort()).toEqual(shapes.sort());
    const expected = Object.fromEntries([...model.parameters].map(([name, x]) => [name, Array.from(x.dataSync())]));
    expect(JSON.parse(lines.at(-1)!)).toEqual(expected);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
