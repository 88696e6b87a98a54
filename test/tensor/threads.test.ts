/** Results are the same bits for any number of threads: a process for each number. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { readsTypeScript } from '../programs';

const root = join(__dirname, '../..');
const script = `
const { createHash } = require('node:crypto');
const { computeAdvantages, computePolicyLoss, gradients, randomKey, randomNormal, scan, tokenLogProbs, arange, ones } = require('./src');
const { nativeDescription } = require('./src/native');

const draw = (shape, n) => randomNormal(shape, { key: randomKey(n) });
const [rewards, values, masks] = [draw([96, 700], 1), draw([96, 700], 2), draw([96, 700], 3).greater(-1)];
const logits = draw([300, 1000], 4);
const { logProbs } = tokenLogProbs(logits, arange(300));
const row = logProbs.reshape(1, 300);
const { loss } = computePolicyLoss('regular', { logProbs: row, oldLogProbs: row.mul(0.99).detach(), advantages: draw([1, 300], 5), mask: ones([1, 300]) });
const results = [
  computeAdvantages('gae', { rewards, values, masks }, { gamma: 0.99, lambda: 0.95 }).advantages,
  computeAdvantages('reinforce++', { rewards, masks }, { gamma: 0.9 }).advantages,
  scan([rewards], { reverse: true }, (next, [r]) => r.add(next.mul(0.9)).tanh()),
  rewards.matmul(values.transpose()),
  rewards.sum(), rewards.std(), rewards.mean(0),
  loss, gradients(loss, [logits])[0],
];
const hash = createHash('sha256');
for (const result of results) hash.update(new Uint8Array(result.dataSync().buffer.slice(0)));
console.log(JSON.stringify([nativeDescription().threads, hash.digest('hex')]));
`;

test('1, 2, 3 and 7 threads', () => {
  const runs = [1, 2, 3, 7].map((threads) => {
    const env = { ...process.env, VANTAGE_NUM_THREADS: String(threads), VANTAGE_DEVICE: 'cpu' };
    return JSON.parse(execFileSync(process.execPath, [...readsTypeScript, '-e', script], { cwd: root, env, encoding: 'utf8' })) as [number, string];
  });
  expect(runs.map(([threads]) => threads)).toEqual([1, 2, 3, 7]);
  expect(new Set(runs.map(([, hash]) => hash)).size).toBe(1);
}, 120_000);
