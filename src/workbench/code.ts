/** A batch as JavaScript to paste. */
import type { Batch, Grid } from './batch';
import type { Violation } from './property';
import type { Subject } from './subject';

const numbers = (list: readonly (number | string)[]): string => `[${list.map((x) => (typeof x === 'string' ? `'${x}'` : Object.is(x, -0) ? '0' : String(x))).join(', ')}]`;
const grid = (rows: Grid): string => `[${rows.map(numbers).join(', ')}]`;

/** What makes an estimator: the module to import, and the expression of an instance. */
export interface Origin {
  /** The module that exports or registers the class; null: it is registered already, or the reader's own. */
  module: string | null;
  /** The name under which the module exports the class, where it is not registered. */
  exported: string | null;
}

/** A script that shows the violation. */
export function codeFor(subject: Subject, { batches, how }: Violation, batch: Batch, { module, exported }: Origin): string {
  const list = batches ?? [batch];
  const wide = how !== 'float32';
  const registered = typeof subject.estimator === 'string';
  const given = Object.keys(subject.given).length > 0 ? `, ${JSON.stringify(subject.given)}` : '';
  const name = exported === 'default' ? 'Estimator' : (exported ?? subject.name);
  const imports = registered
    ? [`import { computeAdvantages, createAdvantageEstimator, tensor } from 'vantage-rl';`, ...(module ? [`import '${module}';`] : [])]
    : [`import { computeAdvantages, tensor } from 'vantage-rl';`, module ? `import ${exported === 'default' ? name : `{ ${name} }`} from '${module}';` : `// ${name}: the class that was checked`];
  const make = registered ? `createAdvantageEstimator('${subject.name}'${given})` : `new ${name}({ ...${name}.options${given ? `, ...${JSON.stringify(subject.given)}` : ''} })`;
  const shape = list.map((each, i) => `const batch${i + 1} = ${inputsOf(each, how === 'packed')};`);
  const call = (i: number, dtype: string, instance: string) =>
    `console.log(computeAdvantages(${instance}, batch${i + 1}('${dtype}'), { gamma: ${list[i].gamma}, lambda: ${list[i].lambda} }).advantages.toArray());`;
  const calls = list.flatMap((_, i) => {
    if (how === 'float32-and-float64') return [call(i, 'float64', make), call(i, 'float32', make)];
    return [call(i, wide ? 'float64' : 'float32', how === 'same-instance' ? 'estimator' : make)];
  });
  return [...imports, '', ...(how === 'same-instance' ? [`const estimator = ${make};`] : []), ...shape, ...calls].join('\n');
}

/** A function of the dtype that gives the inputs. */
function inputsOf(batch: Batch, packed: boolean): string {
  const ends = batch.tokens.masks.map((row) => row.lastIndexOf(1) + 1);
  const flat = (rows: Grid) => numbers(rows.flatMap((row, b) => row.slice(0, ends[b])));
  const isExact = (name: string) => name === 'masks' || name === 'terminated' || name === 'truncated' || name.endsWith('Ids');
  const { omitted = [] } = batch;
  const entries = Object.entries(batch.tokens).filter(([name]) => !omitted.includes(name)).map(([name, rows]) => {
    const data = packed ? flat(rows) : grid(rows);
    return `  ${name}: ${name.endsWith('Ids') ? `tensor(${data}, { dtype: 'int32' })` : isExact(name) ? data : `tensor(${data}, { dtype })`},`;
  });
  for (const [name, list] of Object.entries(batch.rows)) if (!omitted.includes(name)) entries.push(`  ${name}: tensor(${numbers(list)}, { dtype }),`);
  if (batch.components && !omitted.includes('rewardComponents')) entries.push(`  rewardComponents: tensor(${grid(batch.components)}, { dtype }),`);
  if (!omitted.includes('groupIds')) entries.push(`  groupIds: ${numbers(batch.groupIds)},`);
  if (packed) entries.push(`  rowOffsets: ${numbers(ends.reduce((all, n) => [...all, all.at(-1)! + n], [0]))},`);
  return `(dtype) => ({\n${entries.join('\n')}\n})`;
}
