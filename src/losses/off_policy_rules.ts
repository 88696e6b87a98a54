/** Rejection rules as text. */
import { EstimatorError, showValue } from '../errors';
import { checkName } from '../options';
import { rejectionAggregates, rejectionMetrics, type RejectionRule } from './off_policy_rejection';

/**
 * Rules from text, as in configurations: names such as `token_k1`, `seq_mean_k3` or `seq_sum_ratio`, separated by commas, and for each (or one for all) its bound:
 * `0.2` or `0.5_2.0`. k1 and ratio are bounded by ratios on both sides (one number u stands for 1/u … u); the others have an upper bound only.
 *
 * @throws EstimatorError for a name or bound that is none
 */
export function parseRejectionRules(names: string, bounds: string | number): RejectionRule[] {
  const who = 'parseRejectionRules';
  const rules = split(who, 'names', names).filter((name, index, all) => all.indexOf(name) === index);
  const specs = split(who, 'bounds', bounds);
  if (specs.length !== 1 && specs.length !== rules.length) {
    throw new EstimatorError(`${who}: expected one bound, or one for each of ${rules.length} rules, got ${showValue(bounds)}`);
  }
  return rules.map((name, index) => {
    checkName(who, 'names', name, ruleNames);
    const [, scope, metric] = /^(token|seq_\w+?)_(ratio|k1|k2|k3|binary_kl)$/.exec(name) as unknown as [string, string, RejectionRule['metric']];
    const spec = specs.length === 1 ? specs[0]! : specs[index]!;
    const numbers = spec.split('_').map(Number);
    const twoSided = metric === 'k1' || metric === 'ratio';
    if (numbers.length > (twoSided ? 2 : 1) || numbers.some((x) => !(x > 0 && Number.isFinite(x)))) {
      throw new EstimatorError(`${who}: bounds of ${name}: expected ${twoSided ? "'high' or 'low_high', positive numbers" : 'one positive number'}, got ${showValue(spec)}`);
    }
    const high = numbers[numbers.length - 1]!;
    const low = numbers.length === 2 ? numbers[0]! : 1 / high;
    const limits = metric === 'ratio' ? { low, high } : metric === 'k1' ? { low: Math.log(low), high: Math.log(high) } : { high };
    return scope === 'token' ? { level: 'token', metric, ...limits } : { level: 'sequence', metric, aggregate: scope.slice(4) as RejectionRule['aggregate'], ...limits };
  });
}

const ruleNames = rejectionMetrics.flatMap((metric) => [`token_${metric}`, ...rejectionAggregates.map((aggregate) => `seq_${aggregate}_${metric}`)]);

function split(who: string, what: string, value: unknown): string[] {
  const parts = typeof value === 'string' || typeof value === 'number' ? String(value).split(',').map((part) => part.trim()).filter(Boolean) : [];
  if (parts.length === 0) throw new EstimatorError(`${who}: ${what}: expected text such as 'token_k1' and '0.5_2.0', got ${showValue(value)}`);
  return parts;
}
