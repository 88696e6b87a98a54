/** Statistics, what is made of them, and scans, evaluated together and one by one: the order of what runs changes nothing. */
import { evaluate, scan, tensor, tidy, where, type Tensor } from '../../src/tensor';
import { Random } from './helpers';

test('a number that is read by rows is written before', () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  const roots = [x.var(1, { keepDims: true }), x.cumsum(1).mean(), x.add(x.mean())];
  evaluate(roots);
  expect(roots[2]!.toArray()).toEqual([[4.5, 5.5, 6.5], [7.5, 8.5, 9.5]]);
});

const statistics = ['mean', 'sum', 'std', 'max', 'var'] as const;

/** Several results over one another, as a custom estimator returns advantages, returns and metrics. */
function graph(random: Random): Tensor[] {
  const shape = [random.integer(2, 5), random.integer(2, 8)];
  const mask = tensor(Uint8Array.from({ length: shape[0]! * shape[1]! }, () => (random.next() < 0.8 ? 1 : 0)), { shape });
  const arrays = [random.ref(shape).tensor('float32'), random.ref(shape).tensor('float32')];
  const numbers: Tensor[] = [];
  const statistic = () => random.pick(arrays)[random.pick(statistics)](random.pick([null, null, 1, 0]), { keepDims: true });
  const makers = [
    () => random.pick(arrays).cumsum(1, { reverse: random.next() < 0.5 }),
    () => scan([random.pick(arrays)], { reverse: true, mask: random.next() < 0.5 ? mask : undefined }, (running, [r]) => r.add(running.mul(0.9))),
    () => random.pick(arrays).sub(statistic()),
    () => random.pick(arrays).add(statistic()).tanh(),
    () => where(mask, random.pick(arrays).mul(random.pick(arrays)).tanh(), 0),
    () => random.pick(arrays).mul(random.pick(numbers).tanh()),
  ];
  for (let i = random.integer(3, 8); i > 0; i--) {
    numbers.push(statistic().mean());
    arrays.push(random.pick(makers)());
  }
  return Array.from({ length: random.integer(2, 5) }, () => (random.next() < 0.6 ? random.pick(arrays.slice(2)) : random.next() < 0.5 ? statistic() : random.pick(numbers)));
}

test('1,500 graphs together and one by one', () => {
  for (let seed = 0; seed < 1500; seed++) {
    tidy(() => {
      const together = graph(new Random(seed));
      evaluate(together);
      const apart = graph(new Random(seed)).map((root) => root.dataSync());
      together.forEach((root, k) => {
        const [got, wanted] = [root.dataSync(), apart[k]!];
        const at = wanted.findIndex((x, i) => !(Math.abs(got[i]! - x) <= 1e-4 * Math.max(1, Math.abs(x)) || (Number.isNaN(x) && Number.isNaN(got[i]))));
        if (at >= 0) throw new Error(`seed ${seed}, root ${k} of ${together.length}, element ${at}: expected ${wanted[at]}, got ${got[at]}`);
      });
    });
  }
});
