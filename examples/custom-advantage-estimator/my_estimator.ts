import { AdvantageEstimator, scan, type Tensor } from 'vantage-rl';

/** Discounted reward-to-go, standardised over the batch's tokens. */
export class MyCustomAdvantageEstimator extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    // running = r_t + 0.99 · running · m_t, from the last token to the first
    const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));
    const [mean, std] = [advantages.mean(null, { mask: masks }), advantages.std(null, { mask: masks })];
    return advantages.sub(mean).div(std.add(1e-8));
  }
}
