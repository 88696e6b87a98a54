/** (library, function) → our call. */
import type { Adapter } from './adapter';
import { adapters as arealAdvantages } from './adapters/areal_advantages';
import { adapters as controllers } from './adapters/controllers';
import { adapters as filters } from './adapters/filters';
import { adapters as offPolicy } from './adapters/off_policy';
import { adapters as rewards } from './adapters/rewards';
import { adapters as rlGames } from './adapters/rl_games';
import { adapters as rlax } from './adapters/rlax';
import { adapters as shaping } from './adapters/shaping';
import { adapters as skyrlAdvantages } from './adapters/skyrl_advantages';
import { adapters as torchrl } from './adapters/torchrl';
import type { Case } from './case';

export const adapters: readonly Adapter[] = [
  ...arealAdvantages,
  ...controllers,
  ...filters,
  ...offPolicy,
  ...rewards,
  ...rlGames,
  ...rlax,
  ...shaping,
  ...skyrlAdvantages,
  ...torchrl,
];

/** The entry for a case: that for its very name before one for the function. */
export function adapterOf({ library, function: called, name }: Case): Adapter | undefined {
  const found = adapters.filter((each) => each.library === library && each.function === called);
  return found.find((each) => each.name === name) ?? found.find((each) => each.name === undefined);
}
