import { join } from 'node:path';
import { type Command, parseCommandLine, print, UsageError } from './command';

export const report: Command = {
  summary: 'Shows one or several runs on a page: curves, samples, configuration',
  help: `Usage:
  vantage report RUN [RUN …] [--output FILE] [--title TEXT] [--window 10]
      Writes one HTML page that needs no network: the curves of the runs over each other, sampled responses with each token
      coloured by its advantage, the configuration with what differs between the runs. RUN is the folder of a run with the jsonl logger.

Options:
  --output FILE              the page (report.html in the run's folder for one run, in the working directory for several)
  --title TEXT               its title (the runs' names)
  --window N                 how many steps the smooth lines average over (10)`,

  async run(argv) {
    const options = { output: { type: 'string' }, title: { type: 'string' }, window: { type: 'string' } } as const;
    const { values, positionals } = parseCommandLine({ args: argv, options, allowPositionals: true });
    if (positionals.length === 0) throw new UsageError('report: expected the folder of a run, or several: vantage report runs/a runs/b');
    const window = values.window === undefined ? undefined : Number(values.window);
    if (window !== undefined && !(Number.isInteger(window) && window > 0)) {
      throw new UsageError(`--window: expected a positive integer, got '${values.window}'`);
    }
    const { readRuns, writeReport } = require('../tracking') as typeof import('../tracking');
    const runs = readRuns(positionals);
    const file = values.output ?? (runs.length === 1 && !positionals[0].endsWith('.jsonl') ? join(positionals[0], 'report.html') : 'report.html');
    writeReport(file, { title: values.title ?? runs.map(({ name }) => name).join(', '), runs, window });
    print(`report of ${runs.length === 1 ? runs[0].name : `${runs.length} runs`}: ${file}`);
  },
};
