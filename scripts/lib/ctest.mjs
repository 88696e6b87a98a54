const RESULT = /^\s*\d+\/\d+ Test\s+#(\d+): .* sec\s*$/gm;

/** CTest's result lines, one for each executable or script: `1/2 Test #1: program ....   Passed    1.03 sec`. */
export const resultLines = (output) => output.match(RESULT) ?? [];

/**
 * Counts the tests in what `ctest --verbose` prints. An executable of native/test/test.h tells each of its tests by a line `ok name` or
 * `FAILED name` and counts for those; anything else counts for one. One that ends badly without a failed test (a crash) adds a failure.
 */
export function countCtest(output) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [line, number] of output.matchAll(RESULT)) {
    const count = (word) => output.match(new RegExp(`^${number}: ${word} +\\w+$`, 'gm'))?.length ?? 0;
    const [ok, failed] = [count('ok'), count('FAILED')];
    if (/\*\*\*(Skipped|Not Run \(Disabled\))/.test(line)) {
      total.skipped += 1;
    } else if (/\sPassed\s+[\d.]+ sec/.test(line)) {
      total.passed += Math.max(1, ok);
    } else {
      total.passed += ok;
      total.failed += Math.max(1, failed);
    }
  }
  return total;
}
