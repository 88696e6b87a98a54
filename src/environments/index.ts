import { registerEnvironment } from './environment';
import { Max4Environment, Sort3Environment } from './exact';
import { Gsm8kEnvironment, Gsm8kMultiTurnEnvironment } from './gsm8k';
import { LookupEnvironment } from './lookup';

export {
  checkMessages,
  checkMetrics,
  checkStep,
  Environment,
  type EnvironmentClass,
  environments,
  type EnvironmentSettings,
  type EnvironmentStep,
  getEnvironment,
  listEnvironments,
  registerEnvironment,
  unregisterEnvironment,
} from './environment';
export { Max4Environment, Sort3Environment } from './exact';
export { gsm8kAnswer, Gsm8kEnvironment, Gsm8kMultiTurnEnvironment, gsm8kReward, type Gsm8kRewardOptions } from './gsm8k';
export { LookupEnvironment } from './lookup';

registerEnvironment('gsm8k', Gsm8kEnvironment, { keepExisting: true });
// `gmax` is a generated task with GSM8K's rows and GSM8K's rule.
registerEnvironment('gmax', Gsm8kEnvironment, { keepExisting: true });
registerEnvironment('gsm8k_multi_turn', Gsm8kMultiTurnEnvironment, { keepExisting: true });
registerEnvironment('lookup', LookupEnvironment, { keepExisting: true });
registerEnvironment('max4', Max4Environment, { keepExisting: true });
registerEnvironment('sort3', Sort3Environment, { keepExisting: true });
