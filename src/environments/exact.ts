import type { AnyRow } from '../data/rows';
import { EnvironmentError, showValue } from '../errors';
import { Environment, type EnvironmentSettings, type EnvironmentStep } from './environment';
import { groundTruth } from './gsm8k';

/** 1 where the response is the row's truth and nothing else, white space around it aside; 0 otherwise. */
abstract class ExactAnswer extends Environment {
  private readonly groundTruth: string;

  constructor(name: string, row: AnyRow, settings?: EnvironmentSettings) {
    super(row, settings);
    this.groundTruth = groundTruth(name, row);
  }

  step(action: string): EnvironmentStep {
    if (typeof action !== 'string') throw new EnvironmentError(`environment: step: expected the action as text, got ${showValue(action)}`);
    return { observations: [], reward: action.trim() === this.groundTruth ? 1 : 0, done: true };
  }
}

/** The largest of four digits. */
export class Max4Environment extends ExactAnswer {
  constructor(row: AnyRow, settings?: EnvironmentSettings) {
    super('max4', row, settings);
  }
}

/** Three digits in ascending order, separated by single spaces. */
export class Sort3Environment extends ExactAnswer {
  constructor(row: AnyRow, settings?: EnvironmentSettings) {
    super('sort3', row, settings);
  }
}
