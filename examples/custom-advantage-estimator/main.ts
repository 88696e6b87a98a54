import { join } from 'node:path';
import { main, registerAdvantageEstimator } from 'vantage-rl';
import { MyCustomAdvantageEstimator } from './my_estimator';

// Before `main` checks the configuration, which names it.
registerAdvantageEstimator('my_custom', MyCustomAdvantageEstimator);

void main(process.argv.slice(2), { config: join(__dirname, 'config.yaml') });
