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

/** A row for each estimator and value of the sweep; rows that say why there are no figures come with `error`. */
export function labTable({ results, sweep, settings }: LabReport): { head: string[]; rows: string[][] } {
  const head = ['estimator', ...(sweep ? [snake(sweep.key)] : []), 'cosine', 'scale', 'bias', 'variance', 'signal/noise', `samples to ${settings.cosine}`, 'verdict'];
  // Of a sweep the values of an estimator stand below each other.
  const labels = [...new Set(results.map(({ label }) => label))];
  const sorted = labels.flatMap((label) => results.filter((result) => result.label === label));
  const rows = sorted.map(({ label, at, quality }) => {
    const start = [label, ...(at === null ? [] : [String(at)])];
    if (quality === null) return [...start, ...Array.from({ length: 6 }, () => '–'), 'refused'];
    const { cosine, scale, relativeBias, variance, signalToNoise, samplesToCosine, verdict } = quality;
    return [...start, ...[cosine, scale, relativeBias, variance].map(withInterval), formatNumber(signalToNoise.value), withInterval(samplesToCosine), verdict];
  });
  return { head, rows };
}

/** What the estimators said that refused the batches, each once. */
export function refusals(results: readonly LabResult[]): string[] {
  return [...new Set(results.flatMap(({ error }) => error ?? []))];
}

/** One line on what was measured. */
export function labSubtitle({ environment, settings, truth, sweep }: LabReport): string {
  const { name, prompts, vocabulary, length, sequences, seed } = environment;
  const of = (key: 'groupSize' | 'gamma' | 'lambda' | 'criticError', text: string) => (sweep?.key === key ? [] : [`${text} ${settings[key]}`]);
  const parts = [
    `${prompts} ${prompts === 1 ? 'prompt' : 'prompts'}, ${vocabulary} tokens, up to ${length} of them, ${sequences} sequences (environment seed ${seed})`,
    ...of('groupSize', 'group size'),
    ...of('gamma', 'γ'),
    ...of('lambda', 'λ'),
    ...of('criticError', 'critic error'),
    `${settings.objective} return`,
    ...(settings.convention === 'vantage' ? [] : [`convention ${settings.convention}`]),
    ...(truth.length === 1 ? [`${truth[0].rows} sequences a batch`, `‖∇J‖ = ${formatNumber(truth[0].norm)}, ${truth[0].gradient.length} numbers`] : []),
    `${settings.batches} batches, seed ${settings.seed}`,
  ];
  return `${name}: ${parts.join('; ')}. Intervals: ${Number((100 * settings.confidence).toFixed(2))} %, bootstrap over batches (scale: Student's t).`;
}
