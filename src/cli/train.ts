import { type Command, UsageError } from './command';

export const train: Command = {
  summary: 'Trains a policy',
  help: `Usage:
  vantage train -c FILE [--print-config] [key=value …]
      Runs the configuration of a YAML file; dotted keys change it: trainer.algorithm.advantage_estimator=rloo trainer.seed=3

Options:
  --print-config             shows what would run, and where each value came from, and runs nothing`,

  async run(argv) {
    if (argv.length === 0) throw new UsageError('train: expected -c FILE and key=value …');
    // Loaded here, so that no other command waits for the trainer and the native addon.
    const { main } = require('../trainer/experiment') as typeof import('../trainer/experiment');
    await main(argv);
  },
};
