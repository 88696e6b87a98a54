/** Mistakes of code in the wild, with calls: state, inputs, declarations, results. */
import { AdvantageEstimator, full, tensor, UpdateList, where, writeAt, zeros, type EstimatorState, type Tensor } from 'vantage-rl';
import { carried, gaeWith, perToken, toGo, type Mistake, type WithState } from './mistake';

const grouped = { requires: ['groupIds'], declares: { scope: 'group', emptyRows: 'count' } } as const;
const byShape = new Map<string, Float64Array>();
let total = 0;

/** A running mean of the rewards of all batches, in `level` and `count`. */
function running(self: AdvantageEstimator, rewards: Tensor, masks: Tensor): Tensor {
  const state = self as WithState;
  const result = perToken(rewards.sum(1).sub(state.level), masks);
  state.count++;
  state.level += (rewards.sum(1).mean().item() - state.level) / state.count;
  return result;
}

export const wildCallMistakes: Mistake[] = [
  {
    what: 'a running mean that no checkpoint has',
    cause: 'state-carried',
    compute(r, _, m) {
      return running(this, r, m);
    },
  },
  {
    what: 'state in the options',
    cause: 'state-carried',
    options: { seen: 0 },
    compute(r, _, m) {
      return perToken(r.sum(1), m).mul(++(this.options as { seen: number }).seen);
    },
  },
  {
    what: 'a result that is kept from the first batch of a shape',
    cause: 'state-carried',
    compute(r, _, m) {
      const self = this as WithState;
      self.level ||= r.sum(1).mean().item();
      return perToken(r.sum(1).sub(self.level), m);
    },
  },
  {
    what: 'a running mean, of which the count is not saved',
    cause: 'state-not-restored',
    compute(r, _, m) {
      return running(this, r, m);
    },
    save: ({ level }) => ({ level }),
    restore: (self, state) => {
      self.level = (state as { level: number }).level;
    },
  },
  {
    what: 'a running mean that is saved, and not restored',
    cause: 'state-not-restored',
    compute(r, _, m) {
      return running(this, r, m);
    },
    save: ({ level, count }) => ({ level, count }),
    restore: () => {},
  },
  {
    what: 'a running mean that is saved, without restoreState',
    cause: 'state-not-restored',
    compute(r, _, m) {
      return running(this, r, m);
    },
    save: ({ level, count }) => ({ level, count }),
  },
  {
    what: 'state in a Map',
    cause: 'state-not-restored',
    compute(r, _, m) {
      return running(this, r, m);
    },
    save: ({ level, count }) => new Map([['level', level], ['count', count]]) as never,
    restore: (self, state) => {
      Object.assign(self, { level: (state as { level?: number }).level ?? 0, count: (state as { count?: number }).count ?? 0 });
    },
  },
  {
    what: 'a best reward of −Infinity, which JSON does not have',
    cause: 'state-not-restored',
    compute(r, _, m) {
      const self = this as WithState;
      if (self.count === 0) self.level = -Infinity;
      if (self.count++ > 1) self.level = Math.max(self.level, r.sum(1).max().item());
      return perToken(r.sum(1).sub(Number.isFinite(self.level) ? self.level : self.level === null ? 1 : 0), m);
    },
    save: ({ level, count }) => ({ level, count }),
    restore: (self, state) => {
      Object.assign(self, state as object);
    },
  },
  {
    what: 'state that is saved by reference',
    cause: 'state-not-restored',
    compute(r, _, m) {
      const shared = sharedOf(this);
      const result = perToken(r.sum(1).sub(shared.level), m);
      shared.level += r.sum(1).mean().item() * 0.5 + 0.25;
      return result;
    },
    save: (self) => sharedOf(self),
    restore: (self, state) => {
      shares.set(self, { ...(state as { level: number }) });
    },
  },
  { what: 'a total in the module', cause: 'randomness', compute: (r, _, m) => perToken(r.sum(1).sub(total += r.sum().abs().item() + 1), m) },
  {
    what: 'results by shape, in the module',
    cause: 'stale-cache',
    declares: { scope: 'row' },
    compute: (r, _, m) => {
      const key = r.shape.join();
      if (!byShape.has(key)) byShape.set(key, Float64Array.from(r.sum(1).dataSync()));
      return perToken(tensorOf(byShape.get(key)!, r), m);
    },
  },
  { what: 'the time', cause: 'randomness', compute: (r, _, m) => perToken(r.sum(1), m).mul(1 + (performance.now() % 1)) },
  { what: 'a token in ten left out at random', cause: 'randomness', compute: (r, _, m) => perToken(r.sum(1).mul(Math.random() < 0.9 ? 1 : 0.5), m) },
  {
    what: 'the batch before, kept by reference',
    cause: 'state-disposed',
    compute(r, _, m) {
      const self = this as WithState;
      const before = self.kept[0] ?? r;
      self.kept[0] = r;
      return perToken(r.sum(1).sub(before.mean()), m);
    },
  },
  { what: 'a step of an optimizer on the rewards', cause: 'inputs-changed', takesRawInputs: true, compute: (r, _, m) => perToken(where(m, moved(r), 0).sum(1), m) },
  {
    what: 'writeAt into the rewards',
    cause: 'inputs-changed',
    takesRawInputs: true,
    compute: (r, _, m) => where(m, writeAt(r.reshape(r.shape[0]!, r.shape[1]!, 1), zeros([r.shape[0]!, 1, 1]), 0).squeeze(2), 0),
  },
  {
    what: "a critic's values that are disposed",
    cause: 'inputs-changed',
    requires: ['values'],
    takesRawInputs: true,
    compute: (r, v, m, { gamma, lambda }) => {
      const [rewards, values] = [where(m, r, 0), where(m, v!, 0)];
      const advantages = gaeWith(rewards, values, carried(values, m), m, gamma, lambda).realize();
      const returns = advantages.add(values).realize();
      v!.dispose();
      return { advantages, returns };
    },
  },
  {
    what: 'ids of groups that are sorted in place',
    cause: 'inputs-changed',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      (groups!.ids as string[]).sort().reverse().push('one more');
      return perToken(groups!.centre(r.sum(1)), m);
    },
  },
  {
    what: 'γ that is set for those that come after',
    cause: 'inputs-changed',
    compute: (r, _, m, context) => {
      (context as { gamma: number }).gamma = 1;
      return toGo(r, m, context.gamma);
    },
  },
  {
    what: 'baselines that are moved in place',
    cause: 'inputs-changed',
    requires: ['baselines'],
    declares: { scope: 'row' },
    takesRawInputs: true,
    compute: (r, _, m, { baselines }) => perToken(where(m, r, 0).sum(1).sub(moved(baselines!)), m),
  },
  {
    what: 'a critic that is not asked for',
    cause: 'undeclared-input',
    compute: (r, v, m, { gamma, lambda }) => ({ advantages: gaeWith(r, v!, carried(v!, m), m, gamma, lambda), returns: gaeWith(r, v!, carried(v!, m), m, gamma, lambda).add(v!) }),
  },
  { what: 'groups that are not asked for', cause: 'undeclared-input', compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m) },
  { what: 'a γ that is not said to be read', cause: 'undeclared-read', reads: [], declares: { scope: 'row' }, compute: (r, _, m, { gamma }) => toGo(r, m, gamma) },
  { what: 'a critic that is required and not used', cause: 'input-unused', requires: ['values'], declares: { scope: 'row' }, compute: (r, _, m) => toGo(r, m, 1) },
  { what: 'a promise of advantages', cause: 'wrong-result', compute: (r) => ({ advantages: Promise.resolve(r) }) as never },
  { what: 'nested arrays', cause: 'wrong-result', compute: (r) => r.toArray() as never },
  { what: 'another name of the result', cause: 'wrong-result', compute: (r) => ({ advantage: r }) as never },
  { what: 'a metric for each row', cause: 'wrong-result', compute: (r, _, m) => ({ advantages: r.mul(m), metrics: { score: r.sum(1) } }) },
  { what: 'bools', cause: 'wrong-result', compute: (r) => r.greater(0) },
  { what: 'time before rows', cause: 'wrong-shape', compute: (r, _, m) => r.mul(m).transpose() },
  { what: 'a column too few', cause: 'wrong-shape', compute: (r) => r.slice([0, 1]) },
  { what: 'a field that is not there', cause: 'throws', compute: (r, _, m, context) => perToken(r.sum(1), m).mul((context as unknown as { config: { gamma: number } }).config.gamma) },
];

const shares = new WeakMap<object, { level: number }>();
const sharedOf = (self: object): { level: number } & EstimatorState => {
  if (!shares.has(self)) shares.set(self, { level: 0 });
  return shares.get(self) as never;
};

const tensorOf = (numbers: Float64Array, like: Tensor): Tensor => tensor(numbers).cast(like.dtype);

/** A step of AdamW, in place. */
function moved(x: Tensor): Tensor {
  const like = (value: number) => full([...x.shape], value, { dtype: x.dtype }).realize();
  const updates = new UpdateList();
  updates.adamw(x, like(0), like(0), like(1), full([1], 1, { dtype: x.dtype }), { lr: 0.1, beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weightDecay: 0, step: 1 });
  updates.evaluate();
  return x;
}
