/** (library, function) → our call. */
import type { Adapter } from './adapter';
import { adapters as controllers } from './adapters/controllers';
import { adapters as filters } from './adapters/filters';
import { adapters as offPolicy } from './adapters/off_policy';
import { adapters as rewards } from './adapters/rewards';
import { adapters as shaping } from './adapters/shaping';
import { adapters as skyrlAdvantages } from './adapters/skyrl_advantages';
import type { Case } from './case';

export const adapters: readonly Adapter[] = [...skyrlAdvantages, ...offPolicy, ...controllers, ...shaping, ...filters, ...rewards];

/** The entry for a case: that for its very name before one for the function. */
export function adapterOf({ library, function: called, name }: Case): Adapter | undefined {
  const found = adapters.filter((each) => each.library === library && each.function === called);
  return found.find((each) => each.name === name) ?? found.find((each) => each.name === undefined);
}
