/** (library, function) → our call. */
import type { Adapter } from './adapter';
import { adapters as arealAdvantages } from './adapters/areal_advantages';
import { adapters as controllers } from './adapters/controllers';
import { adapters as filters } from './adapters/filters';
import { adapters as kl } from './adapters/kl';
import { adapters as ligerLosses } from './adapters/liger_losses';
import { adapters as nemoAdvantages } from './adapters/nemo_advantages';
import { adapters as offPolicy } from './adapters/off_policy';
import { adapters as openrlhfAdvantages } from './adapters/openrlhf_advantages';
import { adapters as openrlhfLosses } from './adapters/openrlhf_losses';
import { adapters as reductions } from './adapters/reductions';
import { adapters as rewards } from './adapters/rewards';
import { adapters as rlGames } from './adapters/rl_games';
import { adapters as rlax } from './adapters/rlax';
import { adapters as shaping } from './adapters/shaping';
import { adapters as skyrlAdvantages } from './adapters/skyrl_advantages';
import { adapters as skyrlLosses } from './adapters/skyrl_losses';
import { adapters as torchrl } from './adapters/torchrl';
import { adapters as trlAdvantages } from './adapters/trl_advantages';
import { adapters as trlLosses } from './adapters/trl_losses';
import { adapters as valueLosses } from './adapters/value_losses';
import { adapters as verlAdvantages } from './adapters/verl_advantages';
import { adapters as verlLosses } from './adapters/verl_losses';
import type { Case } from './case';

export const adapters: readonly Adapter[] = [
  ...arealAdvantages,
  ...controllers,
  ...filters,
  ...kl,
  ...ligerLosses,
  ...nemoAdvantages,
  ...offPolicy,
  ...openrlhfAdvantages,
  ...openrlhfLosses,
  ...reductions,
  ...rewards,
  ...rlGames,
  ...rlax,
  ...shaping,
  ...skyrlAdvantages,
  ...skyrlLosses,
  ...torchrl,
  ...trlAdvantages,
  ...trlLosses,
  ...valueLosses,
  ...verlAdvantages,
  ...verlLosses,
];

/** The entry for a case: that for its very name before one for the function. */
export function adapterOf({ library, function: called, name }: Case): Adapter | undefined {
  const found = adapters.filter((each) => each.library === library && each.function === called);
  return found.find((each) => each.name === name) ?? found.find((each) => each.name === undefined);
}
