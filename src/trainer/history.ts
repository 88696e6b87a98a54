/** The metrics of a run in its checkpoint: a line a step, as in metrics.jsonl, but with every number kept as it is. */
import { DataError, showValue } from '../errors';
import type { MetricsRecord } from '../tracking';

/** JSON has no NaN and no infinities, and drops the sign of −0: these become text. */
export function historyText(history: readonly MetricsRecord[]): string {
  const replacer = (_: string, value: unknown) => {
    if (typeof value !== 'number' || (Number.isFinite(value) && !Object.is(value, -0))) return value;
    return Object.is(value, -0) ? '-0' : String(value);
  };
  return history.map((record) => `${JSON.stringify(record, replacer)}\n`).join('');
}

/** @throws DataError that names file and line where a line is no record */
export function parseHistory(file: string, text: string): MetricsRecord[] {
  return text.split('\n').slice(0, -1).map((line, index) => {
    try {
      const record = JSON.parse(line, (_, value: unknown) => (typeof value === 'string' ? Number(value) : value)) as MetricsRecord | null;
      if (typeof record?.step === 'number') return record;
    } catch {
      // Said below.
    }
    throw new DataError(`${file}:${index + 1}: expected an object with a numeric "step", got ${showValue(line)}`);
  });
}
