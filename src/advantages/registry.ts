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
import { AdvantageEstimator, advantageInputs, type AdvantageEstimatorClass } from './estimator';

const registry = new Registry<AdvantageEstimatorClass>('advantage estimator');

/**
 * Registers an estimator class under a name, to be chosen by `trainer.algorithm.advantage_estimator`.
 * A class with a fitting prototype is enough: it may come from another copy of the package.
 *
 * @throws EstimatorError if the class has no `computeAdvantages` or requires an input that does not exist
 * @throws RegistryError if the name is taken by another class and `override` is not set
 * @example
 * registerAdvantageEstimator('my_custom', MyCustomAdvantageEstimator);
 */
export function registerAdvantageEstimator(name: string, estimator: AdvantageEstimatorClass, options: Pick<RegisterOptions, 'aliases' | 'override'> = {}): void {
  if (typeof estimator !== 'function' || typeof (estimator.prototype as Partial<AdvantageEstimator> | undefined)?.computeAdvantages !== 'function') {
    throw new EstimatorError(`advantage estimator ${showValue(name)}: expected a class that extends AdvantageEstimator and has computeAdvantages, got ${showValue(estimator)}`);
  }
  const requires: unknown = estimator.requires ?? [];
  if (!Array.isArray(requires)) throw new EstimatorError(`advantage estimator ${showValue(name)}: expected static requires to be an array of input names, got ${showValue(requires)}`);
  for (const input of requires) {
    if (!(advantageInputs as readonly unknown[]).includes(input)) {
      throw new EstimatorError(`advantage estimator ${showValue(name)}: static requires names ${showValue(input)}, which is no input. Inputs: ${advantageInputs.join(', ')}`);
    }
  }
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

registry.register('gae', GeneralizedAdvantageEstimation, { keepExisting: true });
registry.register('grpo', GroupRelative, { keepExisting: true });
registry.register('rloo', LeaveOneOut, { keepExisting: true });
registry.register('reinforce++', ReinforcePlusPlus, { aliases: ['reinforce_plus_plus'], keepExisting: true });
registry.register('reinforce++_baseline', ReinforcePlusPlusBaseline, { aliases: ['reinforce_plus_plus_baseline', 'reinforce_baseline'], keepExisting: true });
registry.register('dr_grpo', DrGroupRelative, { keepExisting: true });
registry.register('grpo_batch_std', GroupRelativeBatchScale, { keepExisting: true });
registry.register('maxrl', MaximumLikelihood, { keepExisting: true });
registry.register('remax', ReMax, { keepExisting: true });
registry.register('opo', OptimalBaseline, { keepExisting: true });
registry.register('gpg', GroupPolicyGradient, { keepExisting: true });
registry.register('grpo_passk', PassAtK, { keepExisting: true });
registry.register('vapo_gae', DecoupledAdvantageEstimation, { keepExisting: true });
registry.register('raw_reward', RawReward, { keepExisting: true });
registry.register('optimal_token_baseline', OptimalTokenBaseline, { keepExisting: true });
registry.register('tir_optimal_token_baseline', AlignedOptimalTokenBaseline, { keepExisting: true });
registry.register('gdpo', DecoupledRewards, { keepExisting: true });
registry.register('distillation', Distillation, { keepExisting: true });
registry.register('turn_discount', TurnDiscount, { keepExisting: true });
registry.register('turn_level', TurnLevel, { keepExisting: true });
registry.register('gigpo', GroupInGroup, { keepExisting: true });
registry.register('bnpo', BetaNormalization, { keepExisting: true });
registry.register('pass_at_k', PassAtKPolicy, { aliases: ['pkpo'], keepExisting: true });
registry.register('spo', SingleStream, { keepExisting: true });
registry.register('td0', Td0, { keepExisting: true });
registry.register('td1', Td1, { keepExisting: true });
registry.register('td_lambda', TdLambda, { keepExisting: true });
registry.register('n_step', NStep, { keepExisting: true });
registry.register('discounted_return', DiscountedReturn, { aliases: ['reward_to_go'], keepExisting: true });
registry.register('truncated_gae', TruncatedGae, { keepExisting: true });
registry.register('vtrace', Vtrace, { aliases: ['v_trace'], keepExisting: true });
