import type { Tensor } from '../tensor';

/** Makes tensors that outlive a `tidy`, in memory, all of them or none: where one cannot be made, those before it are let go. */
export function keptTensors(count: number, make: (index: number) => Tensor): Tensor[] {
  const made: Tensor[] = [];
  try {
    for (let i = 0; i < count; i++) made.push(make(i).realize().keep());
  } catch (error) {
    for (const x of made) x.dispose();
    throw error;
  }
  return made;
}
