/**
 * Says on stderr what a user's code did where the process ends in the middle of it; the exit code is 1 at least.
 * @returns ends the watch
 */
export function reportExit(what: () => string): () => void {
  const listener = (code: number): void => {
    process.stderr.write(`vantage: ${what()}\n`);
    if (code === 0) process.exitCode = 1;
  };
  process.once('exit', listener);
  return () => process.off('exit', listener);
}
