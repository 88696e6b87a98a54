import { AdamW, learningRate } from '../../src/models';
import { memory, randomKey, randomNormal, tensor, tidy, type DType, type Tensor } from '../../src/tensor';
import { expectClose, int32, randomModel, tiny } from './helpers';
import { referenceAdamW } from './reference';

const key = randomKey(21);
const normal = (shape: number[], n: number, dtype: DType = 'float64'): Tensor => randomNormal(shape, { key: key.fold(n), dtype }).realize();

/** A least-squares problem with gradients that are easy to write down: loss = Σ (x·w + b − y)². */
function problem(dtype: DType = 'float64') {
  const parameters = new Map([
    ['w', normal([5, 3], 0, dtype)],
    ['b', normal([3], 1, dtype)],
  ]);
  const x = normal([8, 5], 2, dtype);
  const y = normal([8, 3], 3, dtype);
  const loss = (from = 0, to = 8) =>
    x
      .slice([from], [to])
      .matmul(parameters.get('w')!)
      .add(parameters.get('b')!)
      .sub(y.slice([from], [to]))
      .square()
      .sum();
  return { parameters, x, y, loss };
}

function plainGradient(p: number[], x: ArrayLike<number>, y: ArrayLike<number>): number[] {
  const gradient = new Array<number>(18).fill(0);
  for (let row = 0; row < 8; row++) {
    for (let o = 0; o < 3; o++) {
      let error = p[15 + o]! - y[row * 3 + o]!;
      for (let i = 0; i < 5; i++) error += x[row * 5 + i]! * p[i * 3 + o]!;
      for (let i = 0; i < 5; i++) gradient[i * 3 + o]! += 2 * error * x[row * 5 + i]!;
      gradient[15 + o]! += 2 * error;
    }
  }
  return gradient;
}

describe('AdamW', () => {
  test.each<[DType, number]>([
    ['float64', 1e-12],
    ['float32', 1e-5],
  ])('equals the plain formula over 20 steps with clipping and warm-up (%s)', (dtype, tolerance) => {
    const { parameters, x, y, loss } = problem(dtype);
    const settings = { lr: 0.05, betas: [0.8, 0.95], epsilon: 1e-6, weightDecay: 0.1, maxGradNorm: 15 } as const;
    const optimizer = new AdamW(parameters, settings);
    const p = [...parameters.values()].flatMap((parameter) => [...parameter.dataSync()]);
    const [m, v] = [new Array<number>(18).fill(0), new Array<number>(18).fill(0)];
    const norms: number[] = [];
    for (let step = 1; step <= 20; step++) {
      const lr = learningRate(step - 1, { lr: 0.05, warmupSteps: 4 });
      optimizer.accumulate(loss());
      const { gradNorm } = optimizer.step({ lr });
      const expected = referenceAdamW(p, m, v, plainGradient(p, x.dataSync(), y.dataSync()), step, { ...settings, lr });
      expectClose([gradNorm], [expected], tolerance);
      norms.push(gradNorm);
      expectClose(
        [...parameters.values()].flatMap((parameter) => [...parameter.dataSync()]),
        p,
        tolerance,
      );
    }
    expect(Math.max(...norms)).toBeGreaterThan(15);
    expect(Math.min(...norms)).toBeLessThan(15);
    const state = optimizer.state();
    expect(state.step).toBe(20);
    expectClose([...state.tensors.get('w.exp_avg')!.dataSync(), ...state.tensors.get('b.exp_avg')!.dataSync()], m, tolerance);
    expectClose([...state.tensors.get('w.exp_avg_sq')!.dataSync(), ...state.tensors.get('b.exp_avg_sq')!.dataSync()], v, tolerance);
  });

  test('four micro-batches equal one', () => {
    const whole = problem();
    const parts = problem();
    const one = new AdamW(whole.parameters, { lr: 0.01, maxGradNorm: 1 });
    const four = new AdamW(parts.parameters, { lr: 0.01, maxGradNorm: 1 });
    for (let step = 0; step < 3; step++) {
      one.accumulate(whole.loss());
      const norm = one.step().gradNorm;
      for (let part = 0; part < 4; part++) four.accumulate(parts.loss(2 * part, 2 * part + 2));
      expectClose([four.step().gradNorm], [norm], 1e-12);
    }
    for (const [name, x] of whole.parameters) expectClose(x.dataSync(), parts.parameters.get(name)!.dataSync(), 1e-12);
  });

  test('a model in micro-batches inside tidy: same weights, metrics of every micro-batch, flat memory', () => {
    const ids = [
      [3, 1, 4, 1],
      [5, 9, 2, 6],
      [5, 3, 5, 8],
      [9, 7, 9, 3],
    ];
    const run = (size: number) => {
      const model = randomModel(tiny(), 'float32');
      const optimizer = new AdamW(model.parameters, { lr: 1e-2, maxGradNorm: 1 });
      const losses: number[] = [];
      const bytes: number[] = [];
      for (let step = 0; step < 4; step++) {
        tidy(() => {
          const metrics: Tensor[] = [];
          for (let at = 0; at < 4; at += size) {
            const rows = int32(ids.slice(at, at + size));
            const { logProbs, entropy } = model.logProbs(rows, int32(new Array<number>(size).fill(0)), { from: 2 });
            const loss = logProbs.sum().neg().div(8);
            metrics.push(loss, entropy.mean());
            optimizer.accumulate(loss, [metrics.at(-1)!]);
          }
          optimizer.step();
          for (const metric of metrics) expect(metric.explain()).toBe('in memory: nothing to run');
          losses.push(metrics.reduce((sum, metric, i) => (i % 2 === 0 ? sum + metric.item() : sum), 0));
        });
        bytes.push(memory().bytes);
      }
      expect(new Set(bytes.slice(1)).size).toBe(1);
      expect(losses.at(-1)!).toBeLessThan(losses[0]!);
      return { losses, weights: [...model.parameters.values()].flatMap((x) => [...x.dataSync()]) };
    };
    const [one, four] = [run(4), run(1)];
    expectClose(four.losses, one.losses, 1e-5);
    expectClose(four.weights, one.weights, 1e-3);
  });

  test('metrics are those before the update', () => {
    const { parameters, loss } = problem();
    const optimizer = new AdamW(parameters, { lr: 0.5 });
    const before = loss().item();
    const metric = loss();
    optimizer.accumulate(loss());
    optimizer.step({ evaluate: [metric] });
    expect(metric.item()).toBe(before);
    expect(loss().item()).not.toBe(before);
  });

  test('without a gradient limit the gradient is taken as it is', () => {
    const { parameters, x, y, loss } = problem();
    const optimizer = new AdamW(parameters, { lr: 0.1, weightDecay: 0 });
    const p = [...parameters.values()].flatMap((parameter) => [...parameter.dataSync()]);
    optimizer.accumulate(loss());
    optimizer.step();
    const options = { lr: 0.1, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, maxGradNorm: Infinity } as const;
    referenceAdamW(
      p,
      p.map(() => 0),
      p.map(() => 0),
      plainGradient(p, x.dataSync(), y.dataSync()),
      1,
      options,
    );
    expectClose(
      [...parameters.values()].flatMap((parameter) => [...parameter.dataSync()]),
      p,
      1e-12,
    );
  });

  test('only the parameters that are to decay do', () => {
    const parameters = new Map([
      ['kept', tensor([2, 2])],
      ['decaying', tensor([2, 2])],
    ]);
    const optimizer = new AdamW(parameters, { lr: 0.1, weightDecay: 0.5, decays: (name) => name === 'decaying' });
    optimizer.accumulate(parameters.get('kept')!.sum().mul(0).add(parameters.get('decaying')!.sum().mul(0)));
    optimizer.step();
    expectClose(parameters.get('kept')!.dataSync(), [2, 2], 0);
    expectClose(parameters.get('decaying')!.dataSync(), [1.9, 1.9], 1e-6);
  });

  test('goes on from a saved state bit for bit', () => {
    const a = problem('float32');
    const optimizer = new AdamW(a.parameters, { lr: 0.01 });
    const step = (one: AdamW, loss: () => Tensor) => {
      one.accumulate(loss());
      one.step();
    };
    for (let i = 0; i < 3; i++) step(optimizer, a.loss);
    const b = problem('float32');
    for (const [name, x] of a.parameters) b.parameters.get(name)!.replace(tensor(x.dataSync(), { shape: x.shape }).node);
    const resumed = new AdamW(b.parameters, { lr: 0.01 });
    const { step: steps, tensors } = optimizer.state();
    resumed.loadState({ step: steps, tensors: new Map([...tensors].map(([name, x]) => [name, tensor(x.dataSync(), { shape: x.shape })])) });
    for (let i = 0; i < 3; i++) {
      step(optimizer, a.loss);
      step(resumed, b.loss);
    }
    for (const [name, x] of a.parameters) expect(b.parameters.get(name)!.dataSync()).toEqual(x.dataSync());
  });

  test('errors name what was expected and what came', () => {
    const { parameters } = problem();
    const optimizer = new AdamW(parameters, { lr: 0.01 });
    expect(() => optimizer.step()).toThrow('AdamW.step: expected gradients from accumulate(loss), got none');
    expect(() => optimizer.loadState({ step: 1, tensors: new Map() })).toThrow("'w.exp_avg': expected float64 [5,3], got none");
    const { tensors } = optimizer.state();
    expect(() => optimizer.loadState({ step: 1, tensors: new Map(tensors).set('b.exp_avg', tensor([1])) })).toThrow(
      "'b.exp_avg': expected float64 [3], got float32 [1]",
    );
    expect(() => optimizer.loadState({ step: -1, tensors })).toThrow('step, a non-negative integer, got -1');
    expect(() => new AdamW(parameters, { lr: -1 })).toThrow('AdamW: expected lr, a number of at least 0, got -1');
    expect(() => new AdamW(parameters, { lr: 1, betas: [0.9, 1] })).toThrow('betas, two numbers from 0 to below 1');
    expect(() => new AdamW(parameters, { lr: 1, maxGradNorm: 0 })).toThrow('maxGradNorm, a positive number, got 0');
  });
});

describe('learningRate', () => {
  test('rises during warm-up and stays', () => {
    const rates = [0, 1, 2, 3, 4, 5].map((step) => learningRate(step, { lr: 4, warmupSteps: 3 }));
    expect(rates).toEqual([1, 2, 3, 4, 4, 4]);
    expect(learningRate(0, { lr: 4 })).toBe(4);
  });

  test('falls along a line or half a cosine', () => {
    const at = (schedule: 'linear' | 'cosine', step: number) => learningRate(step, { lr: 3, schedule, warmupSteps: 2, totalSteps: 10, minLr: 1 });
    expect([2, 6, 10, 12].map((step) => at('linear', step))).toEqual([3, 2, 1, 1]);
    expectClose(
      [2, 4, 6, 10, 12].map((step) => at('cosine', step)),
      [3, 2 + Math.SQRT1_2, 2, 1, 1],
      1e-12,
    );
  });

  test('needs the number of steps to fall', () => {
    expect(() => learningRate(5, { lr: 1, schedule: 'cosine' })).toThrow(
      'learningRate: expected totalSteps above warmupSteps = 0 for the cosine schedule, got undefined',
    );
  });
});
