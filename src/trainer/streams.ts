import { type RandomKey, randomKey } from '../tensor';

/** What a run draws random numbers for; the order of the data has a generator of its own. */
const purposes = ['policy', 'critic', 'training', 'evaluation', 'resampling', 'baselines'] as const;

/** The key of one purpose: independent of the others, and the same for the same seed. */
export function stream(seed: number, purpose: (typeof purposes)[number]): RandomKey {
  return randomKey(seed).fold(purposes.indexOf(purpose));
}
