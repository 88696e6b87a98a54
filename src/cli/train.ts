import { type Command, parseCommandLine, UsageError } from './command';
import { expectConfig, loadHelp, loadModules, loadOption } from './load';

export const train: Command = {
  summary: 'Trains a policy',
  help: `Usage:
  vantage train -c FILE [--load FILE …] [--print-config] [key=value …]
      Runs the configuration of a YAML file; dotted keys change it: trainer.algorithm.advantage_estimator=rloo trainer.seed=3

Options:
  -c, --config FILE          the configuration
  --print-config             shows what would run, and where each value came from, and runs nothing
${loadHelp}`,

  async run(argv) {
    if (argv.length === 0) throw new UsageError('train: expected -c FILE and key=value …');
    const options = { config: { type: 'string', short: 'c' }, 'print-config': { type: 'boolean' }, ...loadOption } as const;
    const { values, positionals } = parseCommandLine({ args: argv, options, allowPositionals: true });
    if (values.config !== undefined) expectConfig('train', values.config);
    await loadModules(values.load);
    // Loaded here, so that no other command waits for the trainer and the native addon.
    const { main } = require('../trainer/experiment') as typeof import('../trainer/experiment');
    await main([...(values.config === undefined ? [] : ['-c', values.config]), ...(values['print-config'] ? ['--print-config'] : []), ...positionals]);
  },
};
