import type { AnyRow } from '../data/rows';
import { Environment, type EnvironmentStep } from './environment';
import { groundTruth } from './gsm8k';

/** The largest of four digits: 1 where the response is that digit and nothing else, 0 otherwise. */
export class Max4Environment extends Environment {
  private readonly groundTruth: string;

  constructor(row: AnyRow) {
    super(row);
    this.groundTruth = groundTruth('max4', row);
  }

  step(action: string): EnvironmentStep {
    return { observations: [], reward: action.trim() === this.groundTruth ? 1 : 0, done: true };
  }
}
