/** All references: one for every (library, function) that parity speaks of. */
import { references as classical } from './classical';
import { references as groups } from './group_estimators';
import { references as kl } from './kl';
import { references as offPolicy } from './off_policy';
import type { Reference } from './own';
import { references as policyLosses } from './policy_losses';
import { references as reductions } from './reductions';
import { references as shaping } from './shaping';
import { references as timeEstimators } from './time_estimators';
import { references as trlLosses } from './trl_losses';
import { references as valueLosses } from './value_losses';

export const references: readonly Reference[] = [
  ...groups,
  ...timeEstimators,
  ...classical,
  ...kl,
  ...policyLosses,
  ...trlLosses,
  ...valueLosses,
  ...offPolicy,
  ...reductions,
  ...shaping,
];
