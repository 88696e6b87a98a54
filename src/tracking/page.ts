/** What every page of ours shares: the frame, and how texts and numbers stand in it. */
import { formatNumber } from './format';
import type { ChartData } from './chart';
import { PAGE_SCRIPT } from './page_script';
import { COLOURS, PAGE_STYLE } from './page_style';

export interface PageOptions {
  /** What kind of page it is. */
  kind: string;
  title: string;
  subtitle?: string;
  /** What the lines of charts stand for, by `Line.run`. */
  names: readonly string[];
  /** HTML. */
  body: string;
  /** Of the charts, in the order of the body. */
  charts: readonly ChartData[];
}

/** One self-contained HTML page: style, script and pictures are in it, and it asks nothing of a network. */
export function page({ kind, title, subtitle, names, body, charts }: PageOptions): string {
  // `<` is written so that no text can end the script element.
  const data = JSON.stringify({ names, charts }).replace(/</g, '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">Vantage · ${escape(kind)}</p>
<h1>${escape(title)}</h1>
${subtitle === undefined ? '' : `<p class="subtitle">${escape(subtitle)}</p>`}
</header>
${body}
</main>
<script type="application/json" id="data">${data}</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}

/** The colour of a line; after the last one they begin anew. */
export const colourOf = (run: number): number => run % COLOURS;

/** The names of several lines with their colours; pressing one takes its line off the charts and puts it back. */
export function legend(names: readonly string[]): string {
  const items = names.map((name, run) => `<button type="button" aria-pressed="true" data-run="${run}"><i class="swatch r${colourOf(run)}"></i>${escape(name)}</button>`);
  return `<div class="legend" role="group" aria-label="Lines shown">${items.join('')}</div>`;
}

export interface Cell {
  text: string;
  /** Set apart. */
  mark?: boolean;
}

/** A table that scrolls sideways where it is too wide; the first cell of a row is its heading. */
export function table(head: readonly string[], rows: readonly (readonly (string | Cell)[])[], className = ''): string {
  const cell = (value: string | Cell) => (typeof value === 'string' ? { text: value } : value);
  const row = (cells: readonly (string | Cell)[]) =>
    cells.map(cell).map(({ text, mark }, i) => (i === 0 ? `<th scope="row">${escape(text)}</th>` : `<td${mark ? ' class="mark"' : ''}>${escape(text)}</td>`));
  return `<div class="scroll"><table class="${className}">
<thead><tr>${head.map((text) => `<th scope="col">${escape(text)}</th>`).join('')}</tr></thead>
<tbody>${rows.map((cells) => `<tr>${row(cells).join('')}</tr>`).join('\n')}</tbody>
</table></div>`;
}

/** A number for a reader; a dash where there is none. */
export const describe = (value: number | null | undefined): string => (value === null || value === undefined || Number.isNaN(value) ? '–' : formatNumber(value));

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
