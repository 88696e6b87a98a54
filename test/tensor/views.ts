/** Random changes of shape, as the engine and as the reference make them. */
import type { Tensor } from '../../src/tensor';
import type { Random } from './helpers';
import type { Ref } from './reference';

export interface View {
  name: string;
  tensor: (x: Tensor) => Tensor;
  ref: (x: Ref) => Ref;
}

const factorings = (size: number): number[][] => {
  const found = [[size]];
  for (let a = 1; a <= size; a++) {
    if (size % a !== 0) continue;
    found.push([a, size / a]);
    for (let b = 2; b <= size / a; b++) if ((size / a) % b === 0) found.push([a, b, size / a / b]);
  }
  return found;
};

/** One random view that a tensor of `shape` allows. */
export function randomView(random: Random, shape: readonly number[]): View {
  const axes = [...shape.keys()];
  const axis = random.integer(0, Math.max(0, shape.length - 1));
  const makers: (() => View | null)[] = [
    () => {
      const starts = shape.map((extent) => random.integer(0, Math.max(0, extent - 1)));
      const lengths = shape.map((extent, d) => random.integer(Math.min(1, extent), extent - starts[d]!));
      const ends = starts.map((start, d) => (start + lengths[d]! === shape[d] ? null : start + lengths[d]!));
      return { name: `slice(${starts}; ${ends})`, tensor: (x) => x.slice(starts, ends), ref: (x) => x.slice(starts, lengths) };
    },
    () => {
      if (shape.length === 0 || shape[axis] === 0) return null;
      const index = random.integer(-shape[axis]!, shape[axis]! - 1);
      return { name: `select(${axis}, ${index})`, tensor: (x) => x.select(axis, index), ref: (x) => x.select(axis, index < 0 ? index + shape[axis]! : index) };
    },
    () => {
      const order = random.shuffle(axes);
      return { name: `transpose(${order})`, tensor: (x) => x.transpose(order), ref: (x) => x.permute(order) };
    },
    () => {
      const size = shape.reduce((a, b) => a * b, 1);
      const wanted = size === 0 ? [0, 3] : random.pick(factorings(size));
      return { name: `reshape(${wanted})`, tensor: (x) => x.reshape(wanted), ref: (x) => x.reshape(wanted) };
    },
    () => (shape.length === 0 ? null : { name: `flip(${axis})`, tensor: (x) => x.flip(axis), ref: (x) => x.flip(axis) }),
    () => {
      const at = random.integer(0, shape.length);
      return { name: `expandDims(${at})`, tensor: (x) => x.expandDims(at), ref: (x) => x.reshape(shape.toSpliced(at, 0, 1)) };
    },
    () => ({ name: 'squeeze()', tensor: (x) => x.squeeze(), ref: (x) => x.reshape(shape.filter((extent) => extent !== 1)) }),
    () => {
      const wide = [...(random.next() < 0.5 ? [2] : []), ...shape.map((extent) => (extent === 1 ? random.integer(1, 3) : extent))];
      return { name: `broadcastTo(${wide})`, tensor: (x) => x.broadcastTo(wide), ref: (x) => x.expand(wide) };
    },
  ];
  for (;;) {
    const view = random.pick(makers)();
    if (view) return view;
  }
}

/** A chain of views that stays within five dimensions and some hundreds of elements. */
export function randomChain(random: Random, sample: Ref, length: number): View {
  const views: View[] = [];
  for (let current = sample; views.length < length;) {
    const view = randomView(random, current.shape);
    const next = view.ref(current);
    if (next.shape.length > 5 || next.data.length > 400) continue;
    views.push(view);
    current = next;
  }
  return {
    name: views.map((view) => view.name).join(' → '),
    tensor: (x) => views.reduce((y, view) => view.tensor(y), x),
    ref: (x) => views.reduce((y, view) => view.ref(y), x),
  };
}
