import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { packageFolder } from '../package';
import { type Command, parseCommandLine } from './command';

export const build: Command = {
  summary: 'Builds the native addon where no prebuilt one fits',
  help: `Usage:
  vantage build [--cuda]
      Compiles the native addon from the sources in this package, and leaves it where it is found before a prebuilt one. Needs a C++20 compiler
      (g++ 11 or newer, clang++ 14 or newer; CXX names one), CMake 3.20 or newer, and make or ninja. It takes some minutes.

Options:
  --cuda   the CUDA library too, for the GPU in this machine; needs nvcc`,

  async run(argv) {
    const { values } = parseCommandLine({ args: argv, options: { cuda: { type: 'boolean' } } });
    const script = join(packageFolder, 'scripts/build_from_source.mjs');
    const child = spawn(process.execPath, [script, ...(values.cuda ? ['--cuda'] : [])], { stdio: 'inherit' });
    const [code] = (await once(child, 'close')) as [number | null];
    process.exitCode = code ?? 1;
  },
};
