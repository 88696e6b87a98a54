/**
 * The seeds of `npm run fuzz:native`: plans that estimators, losses, models and single operations make, each written as native/test/fuzz/words.h reads it.
 * Usage: node --import tsx test/fuzz/bytes/plans.ts FOLDER
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  AdamW,
  attention,
  computeAdvantages,
  computePolicyLoss,
  gradients,
  klDivergence,
  listAdvantageEstimators,
  listPolicyLosses,
  randomKey,
  randomNormal,
  randomUniform,
  sampleTokens,
  scan,
  tensor,
  type Tensor,
  tidy,
  tokenLogProbs,
  Transformer,
  transformerConfig,
  where,
  writeAt,
  zeros,
} from '../../../src';
import { logitsPolicyLoss } from '../../../src/losses';
import { native } from '../../../src/native';

const ROWS = 4;
const TIME = 5;

/** The words of a plan as few bytes: an int16 each, or the escape and a double. */
export function planBytes(words: Float64Array): Uint8Array {
  const bytes: number[] = [];
  const double = new DataView(new ArrayBuffer(8));
  for (const word of words) {
    const isSmall = Number.isInteger(word) && word > -32768 && word <= 32767;
    const head = isSmall ? word & 0xffff : 0x8000;
    bytes.push(head & 0xff, head >> 8);
    if (isSmall) continue;
    double.setFloat64(0, word, true);
    for (let i = 0; i < 8; i++) bytes.push(double.getUint8(i));
  }
  return Uint8Array.from(bytes);
}

const numbers = (shape: number[], seed: number): Tensor => randomNormal(shape, { key: randomKey(seed) }).realize();

/** One thing after the other; what a device or an estimator refuses makes no plan, and is passed over. */
function makePlans(): void {
  const rewards = numbers([ROWS, TIME], 1);
  const values = numbers([ROWS, TIME], 2);
  const logProbs = numbers([ROWS, TIME], 3).abs().neg().realize();
  const masks = tensor(Array.from({ length: ROWS * TIME }, (_, i) => (i % TIME < TIME - (i % 3) ? 1 : 0)), { shape: [ROWS, TIME], dtype: 'uint8' });
  const ids = tensor(Array.from({ length: ROWS * TIME }, (_, i) => i % 3), { shape: [ROWS, TIME], dtype: 'int32' });
  const flatIds = ids.reshape([ROWS * TIME]).realize();
  const logits = numbers([ROWS * TIME, 7], 4);
  const batch = {
    rewards: rewards.sigmoid().realize(),
    values,
    masks,
    groupIds: [0, 0, 0, 0],
    oldLogProbs: logProbs,
    refLogProbs: logProbs,
    rolloutLogProbs: logProbs,
    teacherLogProbs: logProbs,
    sumSquaredProbs: logProbs.exp().realize(),
    baselines: numbers([ROWS], 12),
    rewardComponents: numbers([ROWS, 2], 13),
    turnIds: ids,
    anchorIds: ids,
  };
  const tasks: (() => void)[] = [
    ...listAdvantageEstimators().map((name) => () => {
      const { advantages, returns } = computeAdvantages(name, batch, {});
      advantages.dataSync();
      returns?.dataSync();
    }),
    ...listPolicyLosses().map((name) => () => {
      const { loss } = computePolicyLoss(name, { logProbs, oldLogProbs: values.abs().neg(), advantages: rewards, mask: masks, rolloutLogProbs: logProbs, refLogProbs: logProbs });
      gradients(loss, [logProbs]).forEach((each) => each.dataSync());
    }),
    () => klDivergence(logProbs, values, 'k3', masks).mean(null, { mask: masks }).item(),
    () => logitsPolicyLoss(logits, flatIds, { oldLogProbs: logProbs.reshape([-1]), advantages: rewards.reshape([-1]), mask: masks.reshape([-1]) }).loss.item(),
    () => tokenLogProbs(logits, flatIds).logProbs.dataSync(),
    () => gradients(tokenLogProbs(logits, flatIds).entropy.sum(), [logits])[0]!.dataSync(),
    () => sampleTokens(logits, { key: randomKey(5), temperature: 0.7, topP: 0.9, topK: 3 }).ids.dataSync(),
    () => logits.softmax().dataSync(),
    () => logits.logSoftmax().sum(0).dataSync(),
    () => logits.cast('bfloat16').mul(2).cast('float64').mean(1).dataSync(),
    () => logits.matmul(numbers([7, 3], 6)).dataSync(),
    () => logits.gather(flatIds.expandDims(1), 1).dataSync(),
    () => gradients(logits.gather(flatIds.expandDims(1), 1).sum(), [logits])[0]!.dataSync(),
    () => scan([rewards, masks], { reverse: true }, (s, [r, m]) => r.add(s.mul(m).mul(0.9))).dataSync(),
    () => scan([rewards], {}, (s, [r]) => s.mul(r).tanh().add(r)).dataSync(),
    () => rewards.cumsum(1).dataSync(),
    () => where(rewards.greater(0), values, rewards.exp()).transpose().max(1).dataSync(),
    () => rewards.slice([1, 0], [3, 4]).neg().sum(0).dataSync(),
    () => randomUniform([ROWS, TIME], { key: randomKey(7) }).add(1).dataSync(),
    () => rewards.std(1).add(values.var(null)).dataSync(),
    () => writeAt(zeros([2, 4, 3]), numbers([2, 2, 3], 8), 1).dataSync(),
    () => attention(numbers([2, 4, 3, 8], 9), numbers([2, 2, 3, 8], 10), numbers([2, 2, 3, 8], 11), { scale: 0.35, keyStart: tensor([0, 1], { dtype: 'int32' }) }).dataSync(),
    trainTransformer,
  ];
  for (const task of tasks) {
    try {
      tidy(task);
    } catch (error) {
      console.error(`no plan of ${String(task).slice(0, 60).replaceAll('\n', ' ')}: ${(error as Error).message.slice(0, 120)}`);
    }
  }
}

function trainTransformer(): void {
  const config = transformerConfig({ vocabSize: 5, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: 6, maxPositionEmbeddings: 16 });
  const model = Transformer.initialize(config, randomKey(1));
  const optimizer = new AdamW(model.parameters, { lr: 1e-3, maxGradNorm: 1 });
  const ids = tensor([[1, 2, 3, 4], [0, 1, 2, 3]], { dtype: 'int32' });
  const { logProbs, entropy } = model.logProbs(ids, tensor([0, 1], { dtype: 'int32' }), { from: 2 });
  optimizer.accumulate(logProbs.sum().add(entropy.mean()), []);
  optimizer.step();
}

if (require.main === module) {
  const folder = process.argv[2];
  if (folder === undefined) throw new Error('expected a folder for the plans');
  mkdirSync(folder, { recursive: true });
  const addon = native();
  const create = addon.createPlan;
  let count = 0;
  addon.createPlan = (device, words) => {
    const bytes = planBytes(words);
    writeFileSync(join(folder, createHash('sha1').update(bytes).digest('hex')), bytes);
    count++;
    return create(device, words);
  };
  makePlans();
  console.log(`${count} plans`);
}
