/** What an estimator's class says of itself, looked at when it is registered. */
import { didYouMean, EstimatorError, listOf, showValue } from '../errors';
import { checkValue, type NumberRange, type Rule } from '../options';
import { commonDefaults } from './conventions';
import { type AdvantageEstimatorClass, advantageInputs } from './estimator';

/** What an option may be: its class's choices, its class's range, or something like its default. */
export function ruleOf({ choices = {}, ranges = {}, options = {} }: AdvantageEstimatorClass, option: string): Rule {
  if (Object.hasOwn(choices, option)) return { choices: choices[option]! };
  return Object.hasOwn(ranges, option) ? ranges[option]! : { like: options[option] };
}

/** @throws EstimatorError where `static requires`, `reads`, `choices` or `ranges` name what there is not, or exclude the default of an option, and for an option that every estimator has */
export function checkDeclared(name: unknown, estimator: AdvantageEstimatorClass): void {
  const who = `advantage estimator ${showValue(name)} (class ${estimator.name || 'without a name'})`;
  const requires: unknown = estimator.requires ?? [];
  if (!Array.isArray(requires)) throw new EstimatorError(`${who}: expected static requires to be an array of input names, got ${showValue(requires)}`);
  for (const input of requires) expectOneOf(`${who}: static requires`, input, advantageInputs, 'input');
  if (Object.hasOwn(estimator, 'reads') && estimator.reads !== undefined && typeof estimator.reads !== 'function') {
    const reads: unknown = estimator.reads;
    if (!Array.isArray(reads)) throw new EstimatorError(`${who}: expected static reads to be an array of names, or a function that gives one, got ${showValue(reads)}`);
    for (const each of reads) expectOneOf(`${who}: static reads`, each, ['gamma', 'lambda', ...advantageInputs], 'input');
  }
  const options = Object.keys(estimator.options ?? {});
  const common = options.find((option) => option === 'convention' || Object.hasOwn(commonDefaults, option));
  if (common !== undefined) throw new EstimatorError(`${who}: static options: '${common}' is an option of every estimator, whose value comes with the context: take another name`);
  // What a class has from the one that it extends may be about options that it gave up.
  const inherited = Object.getPrototypeOf(estimator) as Partial<AdvantageEstimatorClass>;
  for (const member of ['choices', 'ranges'] as const) {
    for (const [option, rule] of Object.entries(estimator[member] ?? {})) {
      if (member === 'choices' && !Array.isArray(rule)) throw new EstimatorError(`${who}: static choices: ${option}: expected an array of values, got ${showValue(rule)}`);
      if (member === 'ranges' && typeof (rule as NumberRange | null)?.low !== 'number') {
        throw new EstimatorError(`${who}: static ranges: ${option}: expected { low, high?, … }, got ${showValue(rule)}`);
      }
      if (inherited[member]?.[option] !== rule) expectOneOf(`${who}: static ${member}`, option, options, 'option');
    }
  }
  for (const option of options) {
    const rule = ruleOf(estimator, option);
    if (!('like' in rule) && estimator.options[option] !== undefined) checkValue(`${who}: static options: ${option}`, estimator.options[option], rule);
  }
}

function expectOneOf(label: string, name: unknown, names: readonly string[], what: 'input' | 'option'): void {
  if ((names as readonly unknown[]).includes(name)) return;
  const nearest = typeof name === 'string' ? didYouMean(name, names) : null;
  throw new EstimatorError(`${label} names ${showValue(name)}, which is no ${what}.${nearest === null ? '' : ` Did you mean '${nearest}'?`} ${listOf(what, names)}`);
}
