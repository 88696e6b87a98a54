import { run } from '../../src/cli/main';

/** Runs a command line in this process. @returns what a shell would see: its exit code, and what it printed */
export async function vantage(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const spies = [
    jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((out += String(text)), true)),
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((err += String(text)), true)),
  ];
  process.exitCode = undefined;
  try {
    const code = await run(argv);
    return { code: code || Number(process.exitCode ?? 0), out, err };
  } finally {
    process.exitCode = undefined;
    for (const spy of spies) spy.mockRestore();
  }
}
