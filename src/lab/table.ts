/** What was measured, as texts of a table. */
import { formatNumber } from '../tracking/format';
import type { LabReport, LabResult } from './lab';
import type { Estimated } from './statistics';

/** `0.98 (0.95 … 1.01)`; a dash where there is no number. */
export function withInterval({ value, low, high }: Estimated): string {
  if (Number.isNaN(value)) return '–';
  return value === low && value === high ? formatNumber(value) : `${formatNumber(value)} (${formatNumber(low)} … ${formatNumber(high)})`;
}

/** The name of what a sweep varies, as the command line has it. */
export const snake = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/**
 * A row for each estimator and value of the sweep.
 *
 * @param narrow intervals of the cosine and of the number of samples alone, so that a terminal has room for the row
 */
export function labTable({ results, sweep, settings }: LabReport, { narrow = false }: { narrow?: boolean } = {}): { head: string[]; rows: string[][] } {
  const head = ['estimator', ...(sweep ? [snake(sweep.key)] : []), 'cosine', 'scale', 'bias', 'variance', 'signal/noise', `samples to ${settings.cosine}`, 'verdict'];
  // Of a sweep the values of an estimator stand below each other.
  const labels = [...new Set(results.map(({ label }) => label))];
  const sorted = labels.flatMap((label) => results.filter((result) => result.label === label));
  const alone = ({ value }: Estimated) => withInterval({ value, low: value, high: value });
  const other = narrow ? alone : withInterval;
  const rows = sorted.map(({ label, at, quality }) => {
    const start = [label, ...(at === null ? [] : [String(at)])];
    if (quality === null) return [...start, ...Array.from({ length: 6 }, () => '–'), 'refused'];
    const { cosine, scale, relativeBias, variance, signalToNoise, samplesToCosine, verdict } = quality;
    return [...start, withInterval(cosine), ...[scale, relativeBias, variance].map(other), alone(signalToNoise), withInterval(samplesToCosine), verdict];
  });
  return { head, rows };
}

/** What the estimators said that refused the batches, each once. */
export function refusals(results: readonly LabResult[]): string[] {
  return [...new Set(results.flatMap(({ error }) => error ?? []))];
}

/** Where it was measured, how, and how its intervals came about: a text for each. */
export function labFacts({ environment, settings, truth, sweep }: LabReport): string[] {
  const { name, prompts, vocabulary, length, sequences, seed } = environment;
  const of = (key: 'groupSize' | 'gamma' | 'lambda' | 'criticError', text: string) => (sweep?.key === key ? [] : [`${text} ${settings[key]}`]);
  const where = [`${prompts} ${prompts === 1 ? 'prompt' : 'prompts'}`, `${vocabulary} tokens, up to ${length} of them`, `${sequences} sequences (environment seed ${seed})`];
  const how = [
    ...of('groupSize', 'group size'),
    ...of('gamma', 'γ'),
    ...of('lambda', 'λ'),
    ...of('criticError', 'critic error'),
    `${settings.objective} return`,
    ...(settings.convention === 'vantage' ? [] : [`convention ${settings.convention}`]),
    ...(truth.length === 1 ? [`${truth[0].rows} sequences a batch`, `‖∇J‖ = ${formatNumber(truth[0].norm)}, ${truth[0].gradient.length} numbers`] : []),
    `${settings.batches} batches, seed ${settings.seed}`,
  ];
  const intervals = `Intervals: ${Number((100 * settings.confidence).toFixed(2))} %, bootstrap over batches (scale: Student's t)`;
  return [`${name}: ${where.join(', ')}`, how.join('; '), intervals];
}
