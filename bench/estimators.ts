/**
 * Advantage estimators through the public API beside plain typed-array JavaScript, taking turns; each result is checked first.
 * Usage, after `npm run setup`: npx tsx bench/estimators.ts
 */
import { AdvantageEstimator, computeAdvantages, registerAdvantageEstimator, scan, tensor, type AdvantageOptions, type Tensor } from 'vantage-rl';

class Custom extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));
    return advantages.sub(advantages.mean()).div(advantages.std().add(1e-8));
  }
}
registerAdvantageEstimator('my_custom', Custom, { override: true });

const [gamma, lambda] = [0.99, 0.95];

function gaeInJavaScript(r: Float32Array, v: Float32Array, m: Uint8Array, rows: number, time: number, advantages: Float32Array, returns: Float32Array): void {
  for (let b = 0; b < rows; b++) {
    let advantage = 0;
    let next = 0;
    for (let i = (b + 1) * time - 1; i >= b * time; i--) {
      if (m[i]) {
        advantage = r[i]! + gamma * next - v[i]! + gamma * lambda * advantage;
        next = v[i]!;
        advantages[i] = advantage;
        returns[i] = advantage + next;
      } else {
        advantages[i] = 0;
        returns[i] = 0;
      }
    }
  }
}

function seconds(f: () => void): number {
  const start = performance.now();
  f();
  return (performance.now() - start) / 1000;
}

for (const [rows, time] of [[256, 1024], [1024, 1024], [4096, 2048]] as const) {
  const size = rows * time;
  const r = Float32Array.from({ length: size }, () => Math.random());
  const v = Float32Array.from({ length: size }, () => Math.random());
  const m = Uint8Array.from({ length: size }, (_, i) => (i % time < time - ((i / time) | 0) % 50 ? 1 : 0));
  const shape = [rows, time];
  const inputs = { rewards: tensor(r, { shape }), masks: tensor(m, { shape }) };
  const withValues = { ...inputs, values: tensor(v, { shape }) };
  const [advantages, returns] = [new Float32Array(size), new Float32Array(size)];
  const estimate = (name: string, given: typeof inputs, options: AdvantageOptions) => {
    const result = computeAdvantages(name, given, options);
    result.advantages.dispose();
    result.returns.dispose();
  };
  gaeInJavaScript(r, v, m, rows, time, advantages, returns);
  const checked = computeAdvantages('gae', withValues, { gamma, lambda, whiten: false });
  checked.advantages.dataSync().forEach((x, i) => {
    if (Math.abs(x - advantages[i]!) > 1e-5 * Math.max(1, Math.abs(advantages[i]!))) throw new Error(`gae: ${x} at ${i}, expected ${advantages[i]}`);
  });
  const contenders = {
    javascript: () => gaeInJavaScript(r, v, m, rows, time, advantages, returns),
    gae: () => estimate('gae', withValues, { gamma, lambda, whiten: false }),
    'reinforce++': () => estimate('reinforce++', inputs, { gamma }),
    my_custom: () => estimate('my_custom', inputs, { gamma }),
  };
  const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (let round = 0; round < 25; round++) for (const [name, f] of Object.entries(contenders)) times[name]!.push(seconds(f));
  const median = (name: string) => times[name]!.sort((a, b) => a - b)[12]!;
  const ratio = (a: string, b: string) => (median(a) / median(b)).toFixed(2);
  const text = Object.keys(contenders).map((name) => `${name} ${(median(name) * 1000).toFixed(2)} ms`).join('  ');
  console.log(`${rows}×${time}: ${text}  gae ${ratio('javascript', 'gae')}× JavaScript, my_custom ${ratio('my_custom', 'reinforce++')}× reinforce++`);
}
