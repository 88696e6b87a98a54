import { AdvantageEstimator, registerAdvantageEstimator } from 'vantage-rl';

/** The reward minus the mean of all responses of the batch, whatever their prompt. */
class BatchBaseline extends AdvantageEstimator {
  computeAdvantages(rewards, values, masks) {
    const score = rewards.sum(1, { keepDims: true });
    return score.sub(score.mean()).mul(masks);
  }
}
registerAdvantageEstimator('batch_baseline', BatchBaseline);
