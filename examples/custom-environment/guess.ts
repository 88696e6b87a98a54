import { type AnyRow, Environment, type EnvironmentStep, WordTokenizer } from 'vantage-rl';

/** A number from 0 to 6 is hidden; a wrong guess is answered with whether it is greater or less. 1 for a hit, which ends the game. */
export class Guess extends Environment {
  private guesses = 0;

  step(action: string): EnvironmentStep {
    this.guesses++;
    const { hidden } = this.row as AnyRow & { hidden: number };
    if (!/^[0-6]$/.test(action)) return { observations: [], reward: 0, done: true };
    const guess = Number(action);
    if (guess === hidden) return { observations: [], reward: 1, done: true };
    return { observations: [{ role: 'user', content: guess < hidden ? 'greater' : 'less' }], reward: 0, done: false };
  }

  override metrics() {
    return { guesses: this.guesses };
  }
}

export class GuessTokenizer extends WordTokenizer {
  constructor() {
    super(['0', '1', '2', '3', '4', '5', '6', 'guess', 'greater', 'less']);
  }
}

/** Rows of the game: the same prompt, and a number that the policy does not see. */
export function guessRows(count: number): AnyRow[] {
  return Array.from({ length: count }, (_, i) => ({
    data_source: 'guess',
    prompt: [{ role: 'user', content: 'guess' }],
    env_class: 'guess',
    hidden: i % 7,
  }));
}
