/** The divergence from the reference over a batch, and its share in the rewards. */
import type { Config } from '../config';
import { klDivergence } from '../losses';
import { tidy } from '../tensor';
import type { Metrics } from '../tracking';
import type { TrainingBatch } from './batch';

/**
 * Measures the divergence of the policy as it was before the update, and with `use_kl_in_reward` takes `coefficient` times that of each token off its reward.
 * `loss/avg_kl`: the mean over rows of the means over their tokens; `loss/avg_kl_max`: that of their largest.
 */
export function klPenalty(batch: TrainingBatch, { trainer: { algorithm } }: Config, coefficient: number): Metrics {
  const { use_kl_in_reward, kl_estimator_type } = algorithm;
  if (batch.refLogProbs === null) return { 'loss/kl_loss_coef': coefficient };
  const kl = tidy(() => klDivergence(batch.tensor('oldLogProbs'), batch.tensor('refLogProbs'), kl_estimator_type, batch.tensor('masks')).dataSync());
  if (use_kl_in_reward) batch.rewards.forEach((reward, i) => (batch.rewards[i] = reward - coefficient * kl[i]));
  const width = batch.shape.responseWidth;
  let [means, largest] = [0, 0];
  for (let row = 0; row < batch.rows; row++) {
    let [sum, max] = [0, -Infinity];
    for (let i = row * width; i < (row + 1) * width; i++) {
      sum += kl[i];
      max = Math.max(max, kl[i]);
    }
    means += sum / Math.max(1, batch.tokens(row, row + 1));
    largest += max;
  }
  return { 'loss/avg_kl': means / Math.max(1, batch.rows), 'loss/avg_kl_max': largest / Math.max(1, batch.rows), 'loss/kl_loss_coef': coefficient };
}
