/** The built-in estimators against what SkyRL answered (fixtures beside the repository, where they are). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { computeAdvantages, tensor, type AdvantageOptions } from 'vantage-rl';

const folder = join(__dirname, '../../../shared/fixtures/advantages');
const present = existsSync(folder);
if (!present) console.warn('SkyRL advantage fixtures: skipped, ../shared/fixtures is not here');

interface Case {
  id: string;
  params: Record<string, number | boolean>;
  inputs: { rewards: number[][]; values?: number[][]; mask: number[][]; group_ids?: string[] };
  expected: { advantages: number[][]; returns: number[][]; throws?: string };
  note: string;
}

const revive = (key: string, value: unknown) => (value === 'NaN' ? NaN : value === 'Infinity' ? Infinity : value === '-Infinity' ? -Infinity : value);
const read = (file: string) => (present ? (JSON.parse(readFileSync(join(folder, `${file}.json`), 'utf8'), revive) as Case[]) : []);

const files = [
  ['skyrl-gae', 'gae'],
  ['skyrl-grpo', 'grpo'],
  ['skyrl-rloo', 'rloo'],
  ['skyrl-reinforce-plus-plus', 'reinforce++'],
] as const;

/** Largest difference on valid tokens, relative to max(1, |expected|). */
function difference({ params, inputs, expected }: Case, name: string, dtype: 'float32' | 'float64', convention: 'vantage' | 'skyrl'): number {
  const options: AdvantageOptions = { convention, gamma: (params.gamma as number) ?? 1, lambda: (params.lambd as number) ?? 1 };
  if (name === 'grpo') Object.assign(options, { normByStd: params.norm_by_std, epsilon: params.epsilon });
  const { advantages, returns } = computeAdvantages(
    name,
    {
      rewards: tensor(inputs.rewards, { dtype }),
      values: inputs.values && tensor(inputs.values, { dtype }),
      masks: tensor(inputs.mask, { dtype: 'uint8' }),
      groupIds: inputs.group_ids,
    },
    options,
  );
  let worst = 0;
  for (const [got, wanted] of [[advantages, expected.advantages], [returns, expected.returns]] as const) {
    const rows = got.toArray() as number[][];
    inputs.mask.forEach((row, b) =>
      row.forEach((m, t) => {
        if (m) worst = Math.max(worst, Math.abs(rows[b]![t]! - wanted[b]![t]!) / Math.max(1, Math.abs(wanted[b]![t]!)));
      })
    );
  }
  return worst;
}

/** Why the default differs from SkyRL on purpose, or null where it must agree. */
function deliberate({ inputs, note }: Case, name: string): string | null {
  const { rewards, values, mask } = inputs;
  const masked = (array: number[][] | undefined) => array !== undefined && array.some((row, b) => row.some((x, t) => !mask[b]![t] && x !== 0));
  const hole = mask.some((row) => row.join('').replace(/^0+|0+$/g, '').includes('0'));
  if (hole && name !== 'grpo' && name !== 'rloo') return 'holes are passed through';
  if (masked(rewards)) return 'rewards at masked positions do not count';
  if (name === 'gae' && masked(values)) return 'values at masked positions do not count';
  const sizes = new Map<string, number>();
  inputs.group_ids?.forEach((id) => sizes.set(id, (sizes.get(id) ?? 0) + 1));
  if (name === 'grpo' && [...sizes.values()].includes(1)) return `a row alone in its group gets 0 (${note})`;
  return null;
}

(present ? describe : describe.skip)('SkyRL fixtures', () => {
  for (const [file, name] of files) {
    const cases = read(file);
    const regular = cases.filter((c) => !c.expected.throws);

    test(`${name}: the skyrl convention gives SkyRL's numbers in all ${regular.length} cases`, () => {
      for (const c of regular) {
        expect([c.id, difference(c, name, 'float64', 'skyrl')]).toEqual([c.id, expect.closeTo(0, 8)]);
        expect(difference(c, name, 'float32', 'skyrl')).toBeLessThan(c.note.includes('offset') ? 1e-3 : 1e-5);
      }
    });

    test(`${name}: the default agrees wherever it does not differ on purpose`, () => {
      const same = regular.filter((c) => deliberate(c, name) === null);
      expect(same.length).toBeGreaterThanOrEqual(6);
      for (const c of same) expect([c.id, difference(c, name, 'float64', 'vantage')]).toEqual([c.id, expect.closeTo(0, 8)]);
    });

    test(`${name}: where SkyRL raises for too few valid tokens, ours is finite`, () => {
      for (const c of cases.filter((each) => each.expected.throws)) {
        const { advantages } = computeAdvantages(name, { rewards: c.inputs.rewards, values: c.inputs.values, masks: c.inputs.mask });
        expect(advantages.isFinite().logicalNot().sum().item()).toBe(0);
      }
    });
  }
});
