/** docs/workbench.md: its commands run, print what it shows, and draw its pictures. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { read, root, story } from './pages';
import { distance, live, notPrinted, pictures, type Told } from './workbench_story';

const page = read(story);
let lived: { folder: string; told: Told[] };

beforeAll(() => (lived = live(page)), 300_000);
afterAll(() => rmSync(lived.folder, { recursive: true, force: true }));

test('the page shows what its commands print (npm run docs:workbench shows it anew)', () => {
  const { told } = lived;
  expect(told.flatMap(({ commands }) => commands).length).toBeGreaterThan(10);
  expect(told.filter(({ shown }) => shown.length > 0).length).toBeGreaterThan(7);
  expect(told.flatMap((each) => notPrinted(each).map((line) => `line ${each.line}: ${line}`))).toEqual([]);
});

test.each(Object.entries(pictures))('%s is %s, which the page has', (drawn, kept) => {
  expect(page).toContain(`](${kept.replace('docs/', '')})`);
  expect(existsSync(join(root, kept))).toBe(true);
  // Of a plot of 1000 × 1000, or of pixels.
  expect(distance(read(join(lived.folder, drawn)), read(join(root, kept)))).toBeLessThanOrEqual(1);
});

test('what is not printed is seen, and so are pictures of other numbers', () => {
  const told = (shown: string[]): Told => ({ line: 1, commands: [], out: 'one 1\ntwo 2.5\nthree\n', shown });
  expect(notPrinted(told(['one 1', '…', 'three']))).toEqual([]);
  expect(notPrinted(told(['one …', 'two 2.5', '…']))).toEqual([]);
  expect(notPrinted(told(['one 1', 'three']))).toEqual(['three']);
  expect(notPrinted(told(['…', 'two 2.4', '…']))).toEqual(['two 2.4']);
  expect(notPrinted(told(['one 1', 'two 2.5']))).toEqual(['(the end)']);
  expect([distance('M1.5 2h0', 'M1.5 4h0'), distance('M1 2', 'L1 2'), distance('M1 2', 'M1 2')]).toEqual([2, Infinity, 0]);
});
