/** The batch of an estimator as the functions of returns/ take it. */
import type { Tensor } from '../tensor';
import type { AdvantageContext } from './estimator';
import type { TrajectoryInputs } from './returns';

export function trajectoryOf(rewards: Tensor, values: Tensor | null, mask: Tensor, { terminated, truncated, bootstrapValues }: AdvantageContext): TrajectoryInputs {
  return { rewards, values, mask, terminated, truncated, bootstrapValues };
}
