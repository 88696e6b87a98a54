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

/** A script that shows the violation: what is different stands in two lines of what it prints, or in one and the next. */
export function codeFor(subject: Subject, violation: Violation, batch: Batch, { module, exported }: Origin): string {
  const { batches, how, beside, seen } = violation;
  const list = batches ?? [batch];
  const registered = typeof subject.estimator === 'string';
  const given = Object.keys(subject.given).length > 0 ? JSON.stringify(subject.given) : null;
  const name = exported === 'default' ? 'Estimator' : (exported ?? subject.name);
  const make = registered ? `createAdvantageEstimator('${subject.name}'${given ? `, ${given}` : ''})` : `new ${name}({ ...${name}.options${given ? `, ...${given}` : ''} })`;
  const part = seen.includes('returns[') && !seen.includes('advantages[') ? 'returns' : 'advantages';
  const discounts = ({ gamma, lambda }: Batch, more = '') => `{ gamma: ${gamma}, lambda: ${lambda}${more} }`;
  const result = (i: number, instance: string, inputs = `batch${i + 1}('float64')`) => `computeAdvantages(${instance}, ${inputs}, ${discounts(list[i])}).${part}`;
  const print = (i: number, instance: string, inputs?: string) => `console.log(${result(i, instance, inputs)}.toArray());`;
  const body = (): string[] => {
    switch (how) {
      case 'float32':
        return list.map((_, i) => print(i, make, `batch${i + 1}('float32')`));
      case 'float32-and-float64':
        return list.flatMap((_, i) => ['float64', 'float32'].map((dtype) => print(i, make, `batch${i + 1}('${dtype}')`)));
      case 'devices':
        return ['cpu', 'cuda'].map((device) => print(0, make, `batch1('float32', '${device}')`));
      case 'packed':
        return [`const packed = ${inputsOf(list[0], { packed: true })};`, print(0, make), `console.log(Array.from(${result(0, make, "packed('float64')")}.dataSync()));`];
      case 'same-instance':
        return ['// By itself, then behind the others.', print(list.length - 1, make), `const estimator = ${make};`, ...list.map((_, i) => print(i, 'estimator'))];
      case 'leak':
        return [`const estimator = ${make};`, `for (let call = 0; call < 6; call++) {`, `  ${result(0, 'estimator')};`, '  console.log(memory().tensors);', '}'];
      case 'resumed':
        return [
          `const [whole, later] = [${make}, ${make}];`,
          print(0, 'whole'),
          'const state = whole.saveState();',
          'console.log(JSON.stringify(state));',
          'later.restoreState(JSON.parse(JSON.stringify(state)));',
          ...list.slice(1).flatMap((_, i) => ['whole', 'later'].map((each) => print(i + 1, each))),
          'console.log(JSON.stringify(state));',
        ];
      case 'same-inputs':
        return [
          `const [estimator, inputs] = [${make}, batch1('float64')];`,
          'const numbers = () => JSON.stringify(Object.values(inputs).map((x) => (x instanceof Tensor ? (x.isDisposed ? null : x.toArray()) : x)));',
          'const inner = estimator.computeAdvantages.bind(estimator);',
          'estimator.computeAdvantages = (rewards, values, masks, context) => {',
          '  const [before, ids] = [{ ...context }, [...(context.groups?.ids ?? [])]];',
          '  const given = inner(rewards, values, masks, context);',
          '  console.log(Object.keys(context).filter((key) => context[key] !== before[key]), ids, context.groups?.ids);',
          '  return given;',
          '};',
          'console.log(numbers());',
          `${result(0, 'estimator', 'inputs')};`,
          'console.log(numbers());',
        ];
      default:
        return list.map((_, i) => print(i, make));
    }
  };
  const lines = [
    ...list.map((each, i) => `const batch${i + 1} = ${inputsOf(each, { device: how === 'devices' })};`),
    ...(beside ? [`console.log(computeAdvantages('${beside.name}', batch1('float64'), ${discounts(list[0], beside.options && `, ...${JSON.stringify(beside.options)}`)}).advantages.toArray());`] : []),
    ...body(),
  ];
  const used = ['computeAdvantages', 'createAdvantageEstimator', 'memory', 'tensor', 'Tensor'].filter((each) => lines.some((line) => new RegExp(`\\b${each}\\b`).test(line)));
  const from = registered ? (module ? [`import '${module}';`] : []) : [module ? `import ${exported === 'default' ? name : `{ ${name} }`} from '${module}';` : `// ${name}: the class that was checked`];
  return [`import { ${used.join(', ')} } from 'vantage-rl';`, ...from, '', ...lines].join('\n');
}

/** A function of the dtype (and device) that gives the inputs. */
function inputsOf(batch: Batch, { packed = false, device = false }: { packed?: boolean; device?: boolean }): string {
  const ends = batch.tokens.masks.map((row) => row.lastIndexOf(1) + 1);
  const flat = (rows: Grid) => numbers(rows.flatMap((row, b) => row.slice(0, ends[b])));
  const isExact = (name: string) => name === 'masks' || name === 'terminated' || name === 'truncated';
  const { omitted = [] } = batch;
  const where = device ? ', device' : '';
  const entries = Object.entries(batch.tokens).filter(([name]) => !omitted.includes(name)).map(([name, rows]) => {
    const data = packed ? flat(rows) : grid(rows);
    if (name.endsWith('Ids')) return `  ${name}: tensor(${data}, { dtype: 'int32'${where} }),`;
    if (isExact(name)) return `  ${name}: ${device ? `tensor(${data}, { dtype: 'uint8'${where} })` : data},`;
    return `  ${name}: tensor(${data}, { dtype${where} }),`;
  });
  for (const [name, list] of Object.entries(batch.rows)) if (!omitted.includes(name)) entries.push(`  ${name}: tensor(${numbers(list)}, { dtype${where} }),`);
  if (batch.components && !omitted.includes('rewardComponents')) entries.push(`  rewardComponents: tensor(${grid(batch.components)}, { dtype${where} }),`);
  if (!omitted.includes('groupIds')) entries.push(`  groupIds: ${numbers(batch.groupIds)},`);
  if (packed) entries.push(`  rowOffsets: ${numbers(ends.reduce((all, n) => [...all, all.at(-1)! + n], [0]))},`);
  return `(dtype${where}) => ({\n${entries.join('\n')}\n})`;
}
