/** rl_games' advantages. Its arrays are [time, batch]; a flag tells that a state begins an episode, so that of the next row ends the step. */
import { concat, truncatedGae } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';

function discountValues(each: Case, inputs: Inputs): Answer {
  const begins = inputs.array('dones');
  const terminated = concat([begins.slice([1]), inputs.array('last_dones').expandDims(0)]).transpose();
  const { advantages, returns } = truncatedGae(
    { rewards: inputs.array('rewards').transpose(), values: inputs.array('values').transpose(), bootstrapValues: inputs.array('last_values'), terminated },
    { gamma: each.params.gamma, lambda: each.params.lambd },
  );
  return { advantages: advantages.transpose(), returns: returns.transpose() };
}

export const adapters: Adapter[] = [{ library: 'rl_games', function: 'discount_values -> _pytorch_gae', answer: discountValues }];
