/** The rows as a table of text: ours, the floor, each peer with how many times as long it takes. */
import type { Row } from '../row';
import { duration, times } from './format';

const peersOf = (rows: readonly Row[]) => [...new Set(rows.flatMap((row) => Object.keys(row.peers)))];
const variantsOf = (rows: readonly Row[]) => [...new Set(rows.flatMap((row) => Object.keys(row.variants ?? {})))];

/** A column is there if a row has something in it. */
export function table(rows: readonly Row[]): string {
  const beside = (ours: number, other: number | undefined) => (other === undefined ? '' : `${duration(other)} (${times(other / ours)})`);
  const peers = peersOf(rows);
  const variants = variantsOf(rows);
  const native = rows.some((row) => row.native);
  const header = ['workload', 'ours', 'floor', '×floor', 'one call', ...(native ? ['native'] : []), ...variants, ...peers];
  const lines: string[][] = [header];
  for (const row of rows) {
    const ours = row.seconds.median;
    lines.push([
      row.workload, duration(ours), duration(row.floorSeconds), times(row.floorRatio), duration(row.call.median), ...(native ? [beside(ours, row.native?.median)] : []),
      ...variants.map((name) => beside(ours, row.variants?.[name])), ...peers.map((name) => beside(ours, row.peers[name])),
    ]);
    if (!row.hot) continue;
    const { hot } = row;
    lines.push([
      '  in the cache', duration(hot.seconds), duration(hot.floorSeconds), times(hot.floorRatio), '', ...(native ? [beside(hot.seconds, hot.native)] : []),
      ...variants.map((name) => beside(hot.seconds, hot.variants?.[name])), ...peers.map((name) => beside(hot.seconds, hot.peers[name])),
    ]);
  }
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const text = lines.map((line) => line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ').trimEnd());
  text.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '));
  return text.join('\n');
}
