import { type Command, parseCommandLine, print, UsageError } from './command';

const SECONDS = 60;

export const doctor: Command = {
  summary: 'Says what this machine has for Vantage, and what is wrong',
  help: `Usage:
  vantage doctor [--json] [--timeout SECONDS]
      Versions, the native addon and where it was looked for, instruction set, threads, GPUs, a small test of each
      device, and what to do where something is wrong. The addon and the CUDA library are tried in processes of their
      own. Exit code 0 if the CPU works, 1 if not.

Options:
  --json                     the same as JSON; docs/doctor.md describes its fields
  --timeout SECONDS          how long a device may take to answer (${SECONDS})`,

  async run(argv) {
    const { values } = parseCommandLine({ args: argv, options: { json: { type: 'boolean' }, timeout: { type: 'string' } } });
    const seconds = Number(values.timeout ?? SECONDS);
    // A timer counts 2³¹ milliseconds at most.
    if (!(seconds > 0 && seconds <= 2e6)) throw new UsageError(`--timeout: expected a positive number of seconds, got '${values.timeout}'`);
    // Loaded here, so that no other command waits for it.
    const { examine } = require('./doctor/examine') as typeof import('./doctor/examine');
    const { render } = require('./doctor/render') as typeof import('./doctor/render');
    const findings = await examine({ seconds });
    print(values.json ? JSON.stringify(findings, null, 2) : render(findings, { coloured: Boolean(process.stdout.isTTY && !process.env.NO_COLOR) }));
    if (!findings.ok) process.exitCode = 1;
  },
};
