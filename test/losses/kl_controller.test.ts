/** Controllers of coefficients: of the KL penalty and of the entropy bonus; the mask of the tokens of high entropy. */
import { AdaptiveEntropyCoefficient, AdaptiveKlController, createKlController, FixedKlController, tensor, topEntropyMask } from 'vantage-rl';
import { offPolicyBatch } from './off_policy_reference';

describe('KL controllers', () => {
  test('adaptive: the coefficient follows the clipped relative error', () => {
    // The number of the catalogue: 0.2 → 0.204 where the divergence is far above the target and a tenth of the horizon has passed.
    expect(new AdaptiveKlController({ coefficient: 0.2, target: 0.1, horizon: 10 }).update(1, 1)).toBeCloseTo(0.204, 12);
    const controller = new AdaptiveKlController({ coefficient: 1, target: 2, horizon: 100 });
    let wanted = 1;
    for (const [kl, steps] of [[2, 5], [2.1, 10], [0, 10], [9, 50], [1.9, 1]] as const) {
      wanted *= 1 + (Math.max(-0.2, Math.min(0.2, kl / 2 - 1)) * steps) / 100;
      expect(controller.update(kl, steps)).toBeCloseTo(wanted, 12);
      expect(controller.value).toBeCloseTo(wanted, 12);
    }
  });

  test('a divergence that is not finite changes nothing; clip is an option', () => {
    const controller = new AdaptiveKlController({ coefficient: 1, target: 1, horizon: 1, clip: 0.5 });
    expect(controller.update(NaN)).toBe(1);
    expect(controller.update(Infinity)).toBe(1);
    expect(controller.update(4)).toBe(1.5);
  });

  test('more steps than a horizon holds bring the coefficient to 0, not below', () => {
    const controller = new AdaptiveKlController({ coefficient: 1, target: 1, horizon: 10 });
    expect(controller.update(0, 40)).toBeCloseTo(0.2, 12);
    expect(controller.update(0, 51)).toBe(0);
    expect(controller.update(5, 10)).toBe(0);
    const negative = new AdaptiveKlController({ coefficient: -1, target: 1, horizon: 10 });
    expect(Math.abs(negative.update(0, 51))).toBe(0);
  });

  test('fixed, by name, and state over a restart', () => {
    expect(new FixedKlController(0.1).update()).toBe(0.1);
    expect(createKlController({ coefficient: 0.3 }).update(7, 100)).toBe(0.3);
    const controller = createKlController({ type: 'adaptive', coefficient: 1, target: 1, horizon: 10 });
    controller.update(5, 3);
    const resumed = createKlController({ type: 'adaptive', coefficient: 1, target: 1, horizon: 10 });
    resumed.restore(controller.state());
    expect(resumed.update(0.5, 2)).toBe(controller.update(0.5, 2));
  });

  test('errors', () => {
    expect(() => createKlController({ type: 'adaptve' as never, coefficient: 1 })).toThrow("Did you mean 'adaptive'?");
    expect(() => new AdaptiveKlController({ coefficient: 1, target: 0, horizon: 1 })).toThrow('AdaptiveKlController: target: expected a number');
    expect(() => new AdaptiveKlController({ coefficient: 1, taget: 1 } as never)).toThrow("unknown option 'taget'. Did you mean 'target'?");
    expect(() => createKlController({})).toThrow('FixedKlController: coefficient: expected a number');
    expect(() => createKlController({ type: 'adaptive', coefficient: 0.1 })).toThrow('AdaptiveKlController: target: expected a number above 0, got undefined');
    expect(() => new FixedKlController(1).restore({} as never)).toThrow('state: expected { value }');
  });
});

describe('AdaptiveEntropyCoefficient', () => {
  test('grows below the target, shrinks above it, and is in force only below', () => {
    const coefficient = new AdaptiveEntropyCoefficient({ coefficient: 0.01, target: 0.5, delta: 0.01, max: 0.025 });
    expect(coefficient.value).toBe(0.01);
    expect(coefficient.update(0.4)).toBeCloseTo(0.02, 12);
    expect(coefficient.update(0.4)).toBeCloseTo(0.025, 12);
    expect(coefficient.update(0.6)).toBe(0);
    expect(coefficient.update(0.5)).toBeCloseTo(0.015, 12);
    expect(coefficient.update(NaN)).toBeCloseTo(0.015, 12);
    const resumed = new AdaptiveEntropyCoefficient({ target: 0.5, delta: 0.01 });
    resumed.restore(coefficient.state());
    expect(resumed.update(0.1)).toBe(coefficient.update(0.1));
  });

  test('errors', () => {
    expect(() => new AdaptiveEntropyCoefficient({} as never)).toThrow('target: expected a number');
    expect(() => new AdaptiveEntropyCoefficient({ target: 1, coefficient: 2 })).toThrow('coefficient: expected a number from 0 to 1, got 2');
    expect(() => new AdaptiveEntropyCoefficient({ target: 1 }).restore({} as never)).toThrow('state: expected { coefficient, isLow }');
  });
});

describe('topEntropyMask', () => {
  test('keeps what lies at or above the quantile of the valid tokens', () => {
    for (let seed = 0; seed < 8; seed++) {
      const { oldLogProbs, masks } = offPolicyBatch(seed);
      const entropy = oldLogProbs.map((row) => row.map((x) => -x));
      for (const rho of [0, 0.2, 0.5, 1]) {
        const sorted = entropy.flatMap((row, b) => row.filter((_, t) => masks[b]![t])).sort((a, b) => a - b);
        const at = (1 - rho) * (sorted.length - 1);
        const [below, above] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
        const threshold = below + (above - below) * (at - Math.floor(at));
        const wanted = entropy.map((row, b) => row.map((x, t) => (masks[b]![t] && x >= threshold ? 1 : 0)));
        const spoilt = entropy.map((row, b) => row.map((x, t) => (masks[b]![t] ? x : NaN)));
        expect(topEntropyMask(tensor(spoilt, { dtype: 'float64' }), tensor(masks, { dtype: 'uint8' }), { rho }).toArray()).toEqual(wanted);
      }
    }
  });

  test('nothing valid; errors', () => {
    expect(topEntropyMask(tensor([[1, 2]]), tensor([[0, 0]])).toArray()).toEqual([[0, 0]]);
    expect(() => topEntropyMask(tensor([[1]]), tensor([[1]]), { rho: 2 })).toThrow('topEntropyMask: rho: expected a number from 0 to 1, got 2');
    expect(() => topEntropyMask(tensor([[1]]), tensor([[1, 1]]))).toThrow('mask: expected shape');
  });
});
