/** docs/support.md says what operations do: with a GPU, or an emulated one, its CUDA column too. */
import { deviceInfo } from 'vantage-rl';
import { nativeDescription } from '../../src/native';
import { elementwiseOps } from '../../src/tensor/graph';
import { read } from './markdown';
import { renderSupport, supportPage } from './support_page';
import { sections } from './support_table';

test('the page is what `npm run docs:support` writes', () => {
  const page = read(supportPage);
  expect(page).toBe(renderSupport(page, deviceInfo('cuda').available));
  expect(page).not.toContain('not tried');
});

test('a page that says something else is not taken', () => {
  const page = read(supportPage);
  const wrong = page.replace('| `exp` | float32 | float64 |', '| `exp` | float32 | float32 |');
  expect(wrong).not.toBe(page);
  expect(renderSupport(wrong, false)).toBe(page);
});

test('every kernel and every instruction is tried', () => {
  const operations = sections.flatMap(({ operations: list }) => list);
  const kernels = new Set(operations.flatMap(({ kernels: names = [] }) => names));
  expect(nativeDescription().kernels.map(({ name }) => name).filter((name) => !kernels.has(name))).toEqual([]);
  // `fma` is what a product and a sum become; all others have a row of their own.
  expect(sections[0]!.operations.length).toBeGreaterThanOrEqual(elementwiseOps.length - 1);
});
