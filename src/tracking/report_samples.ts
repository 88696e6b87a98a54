import { describe, escape } from './page';
import { groupBy, type RunData } from './run_data';
import type { Sample } from './tracker';

/** What a page shows of a run: so many steps, evenly spread, and about so many tokens. */
const MAXIMUM_STEPS = 40;
const MAXIMUM_TOKENS = 20_000;
/** How strongly the smallest and the largest advantages are coloured: those are told from 0, and the text above these stays readable. */
const [FAINTEST, STRONGEST] = [0.12, 0.75];

/**
 * Responses of a run, step by step, each token's background from orange (the largest advantage below 0) to blue (above); the scale is one for
 * the run. Empty where the run left no samples.
 * @param isOneOfMany shows the run's name, in its colour
 */
export function samplesSection({ name, samples }: RunData, colour: number, isOneOfMany: boolean): string {
  if (samples.length === 0) return '';
  const byStep = groupBy(samples, ({ step }) => String(step));
  const steps = spread([...byStep.keys()].sort((a, b) => Number(a) - Number(b)), limit(samples, byStep.size));
  const shown = steps.flatMap((step) => byStep.get(step) ?? []);
  const largest = shown.flatMap(({ advantages }) => advantages).reduce<number>((most, a) => Math.max(most, Math.abs(a ?? 0)), 0);
  const some = steps.length < byStep.size ? ` ${steps.length} of ${byStep.size} steps.` : '';
  return `<div class="samples">
${isOneOfMany ? `<h3><span><i class="swatch r${colour}"></i>${escape(name)}</span></h3>` : ''}
<p class="note">Some responses to one prompt of each step, each token coloured by its advantage; point at one, or tap it, to read it.${some}</p>
<div class="scale-bar"><span>${signed(-largest)}</span><i></i><span>${signed(largest)}</span></div>
<label class="steps" hidden><output>step ${steps[0]}</output><input type="range" min="0" max="${steps.length - 1}" value="${steps.length - 1}" step="1" aria-label="Step"></label>
${steps.map((step) => stepBlock(step, byStep.get(step) ?? [], largest)).join('\n')}
<output class="value"></output>
</div>`;
}

/** How many steps are shown. */
function limit(samples: readonly Sample[], steps: number): number {
  const tokens = samples.reduce((sum, each) => sum + each.tokens.length, 0) / steps;
  return Math.min(MAXIMUM_STEPS, Math.max(2, Math.floor(MAXIMUM_TOKENS / Math.max(1, tokens))));
}

/** At most `count` of the items, evenly spread, the first and the last among them. */
function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.round((i * (items.length - 1)) / (count - 1))]);
}

function stepBlock(step: string, samples: readonly Sample[], largest: number): string {
  return `<div class="step" data-step="${step}">
${[...groupBy(samples, ({ group, prompt }) => `${group}\n${prompt}`).values()].map((group) => groupBlock(group, largest)).join('\n')}
</div>`;
}

function groupBlock(samples: readonly Sample[], largest: number): string {
  return `<p class="prompt"><b>prompt</b>${escape(samples[0].prompt)}</p>${samples.map((sample) => row(sample, largest)).join('\n')}`;
}

function row({ tokens, ids, advantages, reward, length }: Sample, largest: number): string {
  const isWhole = length === tokens.length;
  const spans = tokens.map((text, i) => token(text, ids[i], advantages[i], largest, isWhole && i === tokens.length - 1));
  const counted = advantages.filter((a) => a !== null);
  const [low, high] = counted.reduce(([least, most], a) => [Math.min(least, a), Math.max(most, a)], [Infinity, -Infinity]);
  const range = counted.length === 0 ? 'left out' : low === high ? `advantage ${signed(low)}` : `${signed(low)} … ${signed(high)}`;
  const rest = isWhole ? '' : ` … ${length - tokens.length} more`;
  return `<dl class="sample"><dt><b>${describe(reward)}</b>reward<span>${range}</span></dt><dd>${spans.join('')}${rest}</dd></dl>`;
}

function token(text: string, id: number, advantage: number | null, largest: number, isLast: boolean): string {
  // A token without text of its own: the one that ends the response, or a part of a character.
  const shown = text === '' ? `<em>${isLast ? 'end' : `⟨${id}⟩`}</em>` : escape(text).replace(/\n/g, '<em>↵</em>\n');
  if (advantage === null) return `<span class="t off" title="left out of the loss">${shown}</span>`;
  if (advantage === 0) return `<span class="t" title="0">${shown}</span>`;
  const share = FAINTEST + ((STRONGEST - FAINTEST) * Math.abs(advantage)) / largest;
  return `<span class="t ${advantage < 0 ? 'd' : 'u'}" style="--a:${share.toFixed(3)}" title="${signed(advantage)}">${shown}</span>`;
}

const signed = (value: number): string => (value > 0 ? `+${describe(value)}` : describe(value));
