/** The rows as a picture: each contender's time over the floor, on a logarithmic axis. No scripts; light and dark as the reader has it. */
import type { Row } from '../row';
import { times } from './format';

const STYLE = `
  svg { --paper: #fcfbf9; --ink: #1d1c1a; --muted: #6f6b64; --rule: #e3dfd8; --ours: #2456c9; --peer0: #b5540b; --peer1: #2f7f56; --peer2: #8a3fa0; --peer3: #a8325a; --peer4: #6b6b12; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #131316; --ink: #eceae5; --muted: #a09c95; --rule: #2d2d33; --ours: #8ab0ff; --peer0: #f0a35e; --peer1: #6cc894; --peer2: #cf94e6; --peer3: #f28bab; --peer4: #cfcf6a; }
  }
  .paper { fill: var(--paper); }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
  .title { font-size: 18px; }
  .muted { fill: var(--muted); font-size: 12px; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  line { stroke: var(--rule); }
  .floor { stroke: var(--ink); stroke-dasharray: 3 3; }
  .span { stroke: var(--rule); stroke-width: 2; }
  .ours { fill: var(--ours); }
${[0, 1, 2, 3, 4].map((k) => `  .peer${k} { fill: var(--peer${k}); }`).join('\n')}
`;

const ROW = 24;
const TOP = 96;
const LEFT = 290;
const PLOT = 560;
const RIGHT = 90;
const PEER_COLOURS = 5;

export const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character]!);

/** A shape for each contender, so that colour is not all that tells them apart: 0 circle (ours), then diamond, square, triangle. */
function mark(kind: number, x: number, y: number, name: string): string {
  const colour = kind === 0 ? 'ours' : `peer${(kind - 1) % PEER_COLOURS}`;
  const [px, py] = [x.toFixed(1), y.toFixed(1)];
  const title = `<title>${escaped(name)}</title>`;
  if (kind === 0) return `<circle class="${colour}" cx="${px}" cy="${py}" r="6">${title}</circle>`;
  const paths = ['M0 -6L6 0L0 6L-6 0Z', 'M-4.5 -4.5H4.5V4.5H-4.5Z', 'M0 -6L5.5 4.5H-5.5Z'];
  return `<path class="${colour}" transform="translate(${px} ${py})" d="${paths[(kind - 1) % paths.length]}">${title}</path>`;
}

/** @param caption where and when the rows were measured */
export function svg(rows: readonly Row[], caption: string): string {
  const others = (row: Row): Record<string, number> => ({ ...(row.onDevice?.seconds && { 'on the GPU': row.onDevice.seconds }), ...row.variants, ...row.peers });
  const names = [...new Set(rows.flatMap((row) => Object.keys(others(row))))];
  const ratios = rows.flatMap((row) => [row.floorRatio, ...Object.values(others(row)).map((seconds) => seconds / row.floorSeconds)]);
  const low = Math.min(0, Math.floor(Math.log10(Math.min(1, ...ratios))));
  const high = Math.max(1, Math.ceil(Math.log10(Math.max(1, ...ratios))));
  const x = (ratio: number) => LEFT + (PLOT * (Math.log10(ratio) - low)) / (high - low);
  const bottom = TOP + ROW * rows.length;
  const [width, height] = [LEFT + PLOT + RIGHT, bottom + 64];

  const parts: string[] = [
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="title" x="24" y="34">Time over the memory floor</text>`,
    `<text class="muted" x="24" y="54">${escaped(caption)}</text>`,
  ];
  let at = 24;
  for (const [kind, name] of ['vantage', ...names].entries()) {
    parts.push(mark(kind, at + 6, 74, name), `<text x="${at + 18}" y="78.5">${escaped(name)}</text>`);
    at += 44 + 7.2 * name.length;
  }
  for (let power = low; power <= high; power++) {
    const position = x(10 ** power).toFixed(1);
    parts.push(
      `<line class="${power === 0 ? 'floor' : 'grid'}" x1="${position}" y1="${TOP}" x2="${position}" y2="${bottom}"/>`,
      `<text class="muted middle" x="${position}" y="${bottom + 20}">${power === 0 ? 'floor' : `${10 ** power}×`}</text>`,
    );
  }
  for (const [i, row] of rows.entries()) {
    const y = TOP + ROW * (i + 0.5);
    const points = [row.floorRatio, ...Object.values(others(row)).map((seconds) => seconds / row.floorSeconds)];
    parts.push(
      `<text class="end" x="${LEFT - 14}" y="${y + 4.5}">${escaped(row.workload)}</text>`,
      `<line class="span" x1="${x(Math.min(...points)).toFixed(1)}" y1="${y}" x2="${x(Math.max(...points)).toFixed(1)}" y2="${y}"/>`,
    );
    for (const [name, seconds] of Object.entries(others(row))) {
      const ratio = seconds / row.floorSeconds;
      parts.push(mark(1 + names.indexOf(name), x(ratio), y, `${name}: ${times(ratio)} the floor, ${times(seconds / row.seconds.median)} ours`));
    }
    parts.push(mark(0, x(row.floorRatio), y, `vantage: ${times(row.floorRatio)} the floor`));
    parts.push(`<text class="end" x="${width - 24}" y="${y + 4.5}">${times(row.floorRatio)}</text>`);
  }
  parts.push(
    `<text class="muted" x="24" y="${
      bottom + 46
    }">Logarithmic; further left is faster. The floor is the bytes that must move at the speed of a parallel copy. The numbers on the right are ours.</text>`,
  );
  const open = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Time of each workload over the memory floor">`;
  return `${open}\n<style>${STYLE}</style>\n${parts.join('\n')}\n</svg>\n`;
}
