import { registerEnvironment } from './environment';
import { Gsm8kEnvironment } from './gsm8k';
import { Max4Environment } from './max4';

export {
  checkStep,
  Environment,
  type EnvironmentClass,
  environments,
  type EnvironmentStep,
  getEnvironment,
  listEnvironments,
  registerEnvironment,
  unregisterEnvironment,
} from './environment';
export { gsm8kAnswer, Gsm8kEnvironment, gsm8kReward, type Gsm8kRewardOptions } from './gsm8k';
export { Max4Environment } from './max4';

registerEnvironment('gsm8k', Gsm8kEnvironment, { keepExisting: true });
// `gmax` is a generated task with GSM8K's rows and GSM8K's rule.
registerEnvironment('gmax', Gsm8kEnvironment, { keepExisting: true });
registerEnvironment('max4', Max4Environment, { keepExisting: true });
