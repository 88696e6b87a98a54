/** The rows as a table of text: ours, the floor, each peer with how many times as long it takes. */
import type { OnDevice, Row } from '../row';
import { duration, times } from './format';

const peersOf = (rows: readonly Row[]) => [...new Set(rows.flatMap((row) => Object.keys(row.peers)))];
const variantsOf = (rows: readonly Row[]) => [...new Set(rows.flatMap((row) => Object.keys(row.variants ?? {})))];

/** A time and how many times `base` it is. */
const over = (base: number, seconds: number | undefined) => (seconds === undefined ? '' : `${duration(seconds)} (${times(seconds / base)})`);

/** A column is there if a row has something in it. Those of a GPU's own time are over the floor, all others over ours. */
export function table(rows: readonly Row[]): string {
  const peers = peersOf(rows);
  const variants = variantsOf(rows);
  const native = rows.some((row) => row.native);
  const gpu = rows.some((row) => row.onDevice);
  const kernels = rows.some((row) => row.onDevice?.native);
  const header = ['workload', 'ours', 'floor', '×floor', 'one call', ...(gpu ? ['on the GPU'] : []), ...(kernels ? ['kernels there'] : []), ...(native ? ['native'] : []), ...variants, ...peers];
  const there = (floor: number, onDevice: OnDevice | undefined) => [...(gpu ? [over(floor, onDevice?.seconds)] : []), ...(kernels ? [over(floor, onDevice?.native)] : [])];
  const lines: string[][] = [header];
  for (const row of rows) {
    const ours = row.seconds.median;
    lines.push([
      row.workload,
      duration(ours),
      duration(row.floorSeconds),
      times(row.floorRatio),
      duration(row.call.median),
      ...there(row.floorSeconds, row.onDevice),
      ...(native ? [over(ours, row.native?.median)] : []),
      ...variants.map((name) => over(ours, row.variants?.[name])),
      ...peers.map((name) => over(ours, row.peers[name])),
    ]);
    if (!row.hot) continue;
    const { hot } = row;
    lines.push([
      '  in the cache',
      duration(hot.seconds),
      duration(hot.floorSeconds),
      times(hot.floorRatio),
      '',
      ...there(hot.floorSeconds, hot.onDevice),
      ...(native ? [over(hot.seconds, hot.native)] : []),
      ...variants.map((name) => over(hot.seconds, hot.variants?.[name])),
      ...peers.map((name) => over(hot.seconds, hot.peers[name])),
    ]);
  }
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const text = lines.map((line) => line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ').trimEnd());
  text.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '));
  return text.join('\n');
}
