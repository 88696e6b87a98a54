/** Answers that stand beside a `console.log` in the documentation, and what was really printed. */

/** Behind each line `console.log(…); // ANSWER` a call of `check` with the answer. */
export function shownAs(check: string, code: string): string {
  return code.replace(/^(\s*console\.log\(.*\);) +\/\/ (.*)$/gm, (_, call: string, answer: string) => `${call} ${check}(${JSON.stringify(answer)});`);
}

const word = /'([^']*)'|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\b(?:true|false|null|NaN|undefined)\b|-?Infinity/g;

/** What is printed, as a list of numbers, texts and the like. */
function flat(value: unknown): unknown[] {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>).flatMap(flat);
  if (value instanceof Set) return [...value].flatMap(flat);
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(flat);
  return [value];
}

/**
 * An answer is what is printed, with numbers rounded to the digits shown, and perhaps, behind `: `, what it means. A single text may stand as it is.
 * @throws where they differ
 */
export function expectShown(printed: readonly unknown[], answer: string): void {
  const text = answer.replaceAll('−', '-');
  if (printed.length === 1 && typeof printed[0] === 'string' && !text.startsWith("'")) {
    expect(text).toBe(printed[0].replaceAll('−', '-'));
    return;
  }
  // An object's keys are not behind an explanation.
  const told = text.startsWith('{') ? text : text.split(': ')[0]!;
  const shown = [...told.matchAll(word)].map(([whole, quoted]) => quoted ?? whole);
  const got = flat(printed);
  const agrees = (value: unknown, as: string | undefined): boolean => {
    if (as === undefined) return false;
    if (typeof value !== 'number' || !Number.isFinite(value)) return String(value) === as;
    const digits = /\.(\d+)/.exec(as)?.[1]?.length ?? 0;
    const unit = 10 ** (Number(/e([+-]?\d+)/.exec(as)?.[1] ?? 0) - digits);
    // Whole numbers are exact; so is a number that all digits are shown of.
    return Math.abs(Number(as) - value) <= Math.max(digits === 0 ? 0 : 0.5 * unit, 1e-6 * Math.max(1, Math.abs(value)));
  };
  const differs = shown.length !== got.length || got.some((value, i) => !agrees(value, shown[i]));
  if (differs) throw new Error(`shown: ${answer}\nprinted: ${JSON.stringify(printed)}`);
}
