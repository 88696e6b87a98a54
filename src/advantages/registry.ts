/** Advantage estimators by name. */
import { EstimatorError, showValue } from '../errors';
import { Registry, type RegisterOptions } from '../registry';
import { BetaNormalization } from './builtin/bnpo';
import { DiscountedReturn } from './builtin/discounted_return';
import { Distillation } from './builtin/distillation';
import { GeneralizedAdvantageEstimation } from './builtin/gae';
import { DecoupledRewards } from './builtin/gdpo';
import { GroupInGroup } from './builtin/gigpo';
import { GroupPolicyGradient } from './builtin/gpg';
import { DrGroupRelative, GroupRelative, GroupRelativeBatchScale } from './builtin/grpo';
import { PassAtK } from './builtin/grpo_passk';
import { MaximumLikelihood } from './builtin/maxrl';
import { NStep } from './builtin/n_step';
import { OptimalBaseline } from './builtin/opo';
import { AlignedOptimalTokenBaseline, OptimalTokenBaseline } from './builtin/optimal_token_baseline';
import { PassAtKPolicy } from './builtin/pass_at_k';
import { RawReward, ReinforcePlusPlusBaseline } from './builtin/raw_reward';
import { ReinforcePlusPlus } from './builtin/reinforce_plus_plus';
import { ReMax } from './builtin/remax';
import { LeaveOneOut } from './builtin/rloo';
import { SingleStream } from './builtin/spo';
import { Td0 } from './builtin/td0';
import { Td1 } from './builtin/td1';
import { TdLambda } from './builtin/td_lambda';
import { TruncatedGae } from './builtin/truncated_gae';
import { TurnDiscount, TurnLevel } from './builtin/turns';
import { DecoupledAdvantageEstimation } from './builtin/vapo_gae';
import { Vtrace } from './builtin/vtrace';
import { checkDeclared } from './declared';
import type { AdvantageEstimator, AdvantageInput, AdvantageEstimatorClass, EstimatorDeclaration } from './estimator';
import { optionRanges } from './options';

const registry = new Registry<AdvantageEstimatorClass>('advantage estimator');

/**
 * Registers an estimator class under a name, to be chosen by `trainer.algorithm.advantage_estimator`.
 * A class with a fitting prototype is enough: it may come from another copy of the package.
 *
 * @throws EstimatorError if the class has no `computeAdvantages`, or if its `requires`, `reads`, `choices` or `ranges` name an input or an option that does not exist, are none, or exclude
 *   the default of an option; or if it has an option that every estimator has
 * @throws RegistryError if the name is taken by another class and `override` is not set
 * @example
 * registerAdvantageEstimator('my_custom', MyCustomAdvantageEstimator);
 */
export function registerAdvantageEstimator(name: string, estimator: AdvantageEstimatorClass, options: Pick<RegisterOptions, 'aliases' | 'override'> = {}): void {
  if (typeof estimator !== 'function' || typeof (estimator.prototype as Partial<AdvantageEstimator> | undefined)?.computeAdvantages !== 'function') {
    throw new EstimatorError(`advantage estimator ${showValue(name)}: expected a class with the method computeAdvantages, as those that extend AdvantageEstimator have, got ${showValue(estimator)}`);
  }
  checkDeclared(name, estimator);
  registry.register(name, estimator, options);
}

/** Removes an estimator and its aliases. @throws RegistryError for an unknown name */
export function unregisterAdvantageEstimator(name: string): void {
  registry.unregister(name);
}

/** The class registered under a name or alias. @throws RegistryError that lists what exists and the nearest match */
export function getAdvantageEstimator(name: string): AdvantageEstimatorClass {
  return registry.get(name);
}

/** The name that an alias stands for; any other name as it is. */
export function canonicalName(name: string): string {
  return registry.nameOf(name);
}

/** Whether a name or alias is registered. */
export function hasAdvantageEstimator(name: string): boolean {
  return registry.has(name);
}

/** The names, sorted, without aliases. */
export function listAdvantageEstimators(): string[] {
  return registry.list();
}

/** The names of the estimators that have an option, sorted. */
export function estimatorsWithOption(option: string): string[] {
  return registry.list().filter((name) => Object.hasOwn(registry.get(name).options ?? {}, option));
}

/** The further names of an estimator, sorted. */
export function aliasesOfEstimator(name: string): string[] {
  return registry.aliasesOf(name);
}

/**
 * Whether an estimator looks at γ, λ or an input: it requires it, or declares that it reads it, or does not say what it reads.
 * @param options those in force
 * @throws RegistryError for an unknown name
 */
export function estimatorReads(name: string, what: 'gamma' | 'lambda' | AdvantageInput, options: Readonly<Record<string, unknown>>): boolean {
  const estimator = registry.get(name);
  if ((estimator.requires as readonly string[] | undefined)?.includes(what)) return true;
  // What a class declares says nothing of those that extend it, which may have methods of their own.
  const { reads } = Object.hasOwn(estimator, 'reads') ? estimator : {};
  return reads === undefined || (typeof reads === 'function' ? reads(options) : reads).includes(what);
}

/** What a class itself declares, with its options in force; what the class that it extends declares says nothing of it. */
export function declarationOf(estimator: AdvantageEstimatorClass, options: Readonly<Record<string, unknown>>): EstimatorDeclaration | undefined {
  const { declares } = Object.hasOwn(estimator, 'declares') ? estimator : {};
  return typeof declares === 'function' ? declares(options) : declares;
}

/** A built-in estimator: its options are within the ranges that their names have, but where its class has its own. A class that extends it inherits them. */
function builtIn(name: string, estimator: AdvantageEstimatorClass, aliases: readonly string[] = []): void {
  const byName = Object.entries(optionRanges).filter(([option]) => Object.hasOwn(estimator.options, option));
  Object.defineProperty(estimator, 'ranges', { value: { ...Object.fromEntries(byName), ...estimator.ranges }, writable: true, enumerable: true, configurable: true });
  registry.register(name, estimator, { aliases, keepExisting: true });
}

builtIn('gae', GeneralizedAdvantageEstimation);
builtIn('grpo', GroupRelative);
builtIn('rloo', LeaveOneOut);
builtIn('reinforce++', ReinforcePlusPlus, ['reinforce_plus_plus']);
builtIn('reinforce++_baseline', ReinforcePlusPlusBaseline, ['reinforce_plus_plus_baseline', 'reinforce_baseline']);
builtIn('dr_grpo', DrGroupRelative);
builtIn('grpo_batch_std', GroupRelativeBatchScale);
builtIn('maxrl', MaximumLikelihood);
builtIn('remax', ReMax);
builtIn('opo', OptimalBaseline);
builtIn('gpg', GroupPolicyGradient);
builtIn('grpo_passk', PassAtK);
builtIn('vapo_gae', DecoupledAdvantageEstimation);
builtIn('raw_reward', RawReward);
builtIn('optimal_token_baseline', OptimalTokenBaseline);
builtIn('tir_optimal_token_baseline', AlignedOptimalTokenBaseline);
builtIn('gdpo', DecoupledRewards);
builtIn('distillation', Distillation);
builtIn('turn_discount', TurnDiscount);
builtIn('turn_level', TurnLevel);
builtIn('gigpo', GroupInGroup);
builtIn('bnpo', BetaNormalization);
builtIn('pass_at_k', PassAtKPolicy, ['pkpo']);
builtIn('spo', SingleStream);
builtIn('td0', Td0);
builtIn('td1', Td1);
builtIn('td_lambda', TdLambda);
builtIn('n_step', NStep);
builtIn('discounted_return', DiscountedReturn, ['reward_to_go']);
builtIn('truncated_gae', TruncatedGae);
builtIn('vtrace', Vtrace, ['v_trace']);
