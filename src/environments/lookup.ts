import { isList, isText } from '../data/check';
import type { AnyRow } from '../data/rows';
import { EnvironmentError, showValue } from '../errors';
import { Environment, type EnvironmentSettings, type EnvironmentStep } from './environment';
import { groundTruth, gsm8kReward } from './gsm8k';

const call = /<tool>\s*(.*?)\s*(?:<\/tool>|$)/s;

/** Half of the reward is for asking for the right entry, half for the answer. */
const share = 0.5;

/**
 * A tool: `<tool> 9 </tool>` is answered with `<result> 5 </result>`, what the row's hidden table (`extra_info.table`) holds under 9; the closing word may be missing. The first
 * call for the row's key (`extra_info.key`) is rewarded with 0.5. Anything else is the answer, by the GSM8K rule: 0.5 where it is right; it ends the trajectory, as
 * does a call for what the table does not hold.
 */
export class LookupEnvironment extends Environment {
  private readonly groundTruth: string;
  private readonly table: readonly string[];
  private readonly key: string;
  private calls = 0;
  private found = false;

  constructor(row: AnyRow, settings?: EnvironmentSettings) {
    super(row, settings);
    this.groundTruth = groundTruth('lookup', row);
    const { table, key } = (row.extra_info ?? {}) as { table?: unknown; key?: unknown };
    if (!isList(table, isText)) {
      throw new EnvironmentError(`environment 'lookup': expected a list of texts as extra_info.table, got ${showValue(table)}`);
    }
    if (typeof key !== 'string') throw new EnvironmentError(`environment 'lookup': expected text as extra_info.key, got ${showValue(key)}`);
    this.table = table as string[];
    this.key = key;
  }

  step(action: string): EnvironmentStep {
    if (typeof action !== 'string') throw new EnvironmentError(`environment 'lookup': step: expected the action as text, got ${showValue(action)}`);
    const asked = call.exec(action)?.[1];
    if (asked === undefined) return { observations: [], reward: gsm8kReward(action, this.groundTruth, { score: share }), done: true };
    const result = /^\d{1,6}$/.test(asked) ? this.table[Number(asked)] : undefined;
    if (result === undefined) return { observations: [], reward: 0, done: true };
    this.calls++;
    const isFirst = asked === this.key && !this.found;
    this.found ||= isFirst;
    return { observations: [{ role: 'tool', content: `<result> ${result} </result>` }], reward: isFirst ? share : 0, done: false };
  }

  override metrics(): Record<string, number> {
    return { tool_calls: this.calls };
  }
}
