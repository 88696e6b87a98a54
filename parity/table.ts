/** (library, function) → our call. */
import type { Adapter } from './adapter';
import { adapters as kl } from './adapters/kl';
import { adapters as ligerLosses } from './adapters/liger_losses';
import { adapters as openrlhfLosses } from './adapters/openrlhf_losses';
import { adapters as reductions } from './adapters/reductions';
import { adapters as controllers } from './adapters/controllers';
import { adapters as filters } from './adapters/filters';
import { adapters as offPolicy } from './adapters/off_policy';
import { adapters as rewards } from './adapters/rewards';
import { adapters as shaping } from './adapters/shaping';
import { adapters as skyrlAdvantages } from './adapters/skyrl_advantages';
import { adapters as skyrlLosses } from './adapters/skyrl_losses';
import { adapters as trlLosses } from './adapters/trl_losses';
import { adapters as valueLosses } from './adapters/value_losses';
import { adapters as verlLosses } from './adapters/verl_losses';
import type { Case } from './case';

export const adapters: readonly Adapter[] = [
  ...skyrlAdvantages,
  ...offPolicy, ...controllers, ...shaping, ...filters, ...rewards,
  ...skyrlLosses, ...verlLosses, ...trlLosses, ...ligerLosses, ...openrlhfLosses, ...valueLosses, ...kl, ...reductions,
];

/** The entry for a case: that for its very name before one for the function. */
export function adapterOf({ library, function: called, name }: Case): Adapter | undefined {
  const found = adapters.filter((each) => each.library === library && each.function === called);
  return found.find((each) => each.name === name) ?? found.find((each) => each.name === undefined);
}
