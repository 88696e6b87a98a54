/** The pages in a real browser, where one is at hand: no error, and what pointing, pressing and sliding do. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MetricsRecord, reportPage, type RunData, type Sample } from '../../src/tracking';

const candidates = process.env.CHROME ? [process.env.CHROME] : ['chromium', 'chromium-browser', 'google-chrome'];
const browser = candidates.find((name) => spawnSync(name, ['--version']).status === 0);
if (browser === undefined) console.warn(`skipped: none of ${candidates.join(', ')} is there (CHROME names a browser)`);

const folder = mkdtempSync(join(tmpdir(), 'vantage-browser-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const runOf = (name: string, scale: number): RunData => {
  const steps = Array.from({ length: 21 }, (_, i) => i + 1);
  const sample = (step: number): Sample => {
    return { step, group: 'a', prompt: '3 9 =', tokens: ['####', ' 9'], ids: [11, 9], advantages: [step / 10, -step / 10], reward: 1, length: 2 };
  };
  return {
    name,
    records: steps.map((step) => ({ step, 'reward/avg_raw_reward': (scale * step) / 21, 'timing/step': 10 ** (step % 3) }) as MetricsRecord),
    samples: steps.slice(0, 5).map(sample),
    config: { trainer: { scale } },
  };
};

/** Runs `actions` in the page; what it returns comes back, with the errors of the page. */
function inBrowser(page: string, actions: string, width = 1200): { result: Record<string, unknown>; errors: string[] } {
  const file = join(folder, 'page.html');
  const before = '<script>window.errors = []; addEventListener("error", ({ message }) => errors.push(message));</script>';
  const after = `<script>addEventListener('load', () => {
    const at = (element, name, x = 0, y = 0) => element.dispatchEvent(new PointerEvent(name, { clientX: x, clientY: y, bubbles: true }));
    const result = (() => { ${actions} })();
    document.documentElement.dataset.result = encodeURIComponent(JSON.stringify({ result, errors }));
  });</script>`;
  const end = page.lastIndexOf('</body>');
  writeFileSync(file, `${page.slice(0, end).replace('<style>', `${before}<style>`)}${after}${page.slice(end)}`);
  const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=2000', `--user-data-dir=${join(folder, 'profile')}`, `--window-size=${width},1000`];
  const dom = execFileSync(browser as string, [...flags, '--dump-dom', `file://${file}`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 60_000 });
  return JSON.parse(decodeURIComponent(/data-result="([^"]*)"/.exec(dom)![1]));
}

(browser === undefined ? describe.skip : describe)('in a browser', () => {
  const page = reportPage({ title: 'two', runs: [runOf('one', 1), runOf('two', 0.5)] });

  it('pointing at a chart shows the step and the values of all runs', () => {
    const { result, errors } = inBrowser(
      page,
      `
      const plot = document.querySelector('.main .plot');
      const box = plot.getBoundingClientRect();
      at(plot, 'pointermove', box.left + box.width / 2, box.top + 20);
      const tip = document.querySelector('.tip').innerText;
      const dots = [...document.querySelectorAll('.main .dot')].map((dot) => [getComputedStyle(dot).display, dot.style.left]);
      at(plot, 'pointerleave');
      return { tip, dots, left: document.querySelectorAll('.tip').length };`,
    );
    expect(errors).toEqual([]);
    expect(result).toEqual({ tip: 'step 11\none   0.524   mean 0.310\ntwo   0.262   mean 0.155', dots: [['block', '50%'], ['block', '50%']], left: 0 });
  }, 90_000);

  it('the legend takes a run off, log changes the axis, the slider the step, a token shows its advantage', () => {
    const { result, errors } = inBrowser(
      page,
      `
      const shown = () => [...document.querySelectorAll('.main .linear .line')].map((line) => getComputedStyle(line).display);
      document.querySelectorAll('.legend button')[1].click();
      const lines = shown();
      document.querySelectorAll('.legend button')[1].click();
      const scale = document.querySelector('.scale');
      scale.closest('details').open = true;
      scale.click();
      const drawn = ['linear', 'logarithmic'].map((kind) => getComputedStyle(scale.closest('.panel').querySelector('.' + kind)).display);
      const section = document.querySelector('.samples');
      const slider = section.querySelector('input');
      const visible = () => [...section.querySelectorAll('.step')].filter((step) => !step.hidden).map((step) => step.dataset.step);
      const first = visible();
      slider.value = 1;
      slider.dispatchEvent(new Event('input'));
      const token = section.querySelectorAll('.step')[1].querySelectorAll('.t')[1];
      at(token, 'pointerover');
      const colour = getComputedStyle(token).backgroundColor;
      return { lines, again: shown(), drawn, first, second: visible(), value: section.querySelector('.value').textContent, colour };`,
    );
    expect(errors).toEqual([]);
    expect(result).toEqual({
      lines: ['inline', 'none'],
      again: ['inline', 'inline'],
      drawn: ['none', 'block'],
      first: ['5'],
      second: ['2'],
      value: 'token 2: advantage −0.200',
      colour: expect.stringMatching(/^rgba\(2(24, 106, 0|40, 130, 40), 0\.37/),
    });
  }, 90_000);

  it('is no wider than a phone', () => {
    // A window cannot be that narrow, a frame can.
    const inner = page.replace(/&/g, '&amp;').replace(/"/g, '&quot;');
    const frame = `<!doctype html><head><style></style></head><body><iframe style="width:360px;height:800px;border:0" srcdoc="${inner}"></iframe></body>`;
    const { result } = inBrowser(
      frame,
      `
      const { contentDocument } = document.querySelector('iframe');
      return { wide: contentDocument.documentElement.scrollWidth, title: contentDocument.title };`,
    );
    expect(result.wide).toBeLessThanOrEqual(360);
  }, 90_000);
});
