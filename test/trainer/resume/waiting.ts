/** A run, in a process of its own, whose environment never answers: `waiting.ts FOLDER`. */
import { join } from 'node:path';
import { Environment, type EnvironmentStep } from '../../../src/environments';
import { Experiment, main } from '../../../src/trainer';

class Silent extends Environment {
  step(): Promise<EnvironmentStep> {
    process.stdout.write('asked\n');
    return new Promise(() => undefined);
  }
}

class Waiting extends Experiment {
  override environment() {
    return Silent;
  }
}

const [folder] = process.argv.slice(2) as [string];
void main([], { config: join(folder, 'config.yaml'), experiment: Waiting });
