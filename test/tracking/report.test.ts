import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { curveOf, type MetricsRecord, readRuns, reportPage, type RunData, type Sample, writeReport } from '../../src/tracking';

const folder = mkdtempSync(join(tmpdir(), 'vantage-report-'));
afterAll(() => rmSync(folder, { recursive: true }));

const records = (count: number, scale = 1): MetricsRecord[] =>
  Array.from({ length: count }, (_, i) => {
    return { step: i + 1, 'reward/avg_raw_reward': (scale * i) / count, 'policy/final_loss': i === 3 ? null : -i, 'timing/step': 10 ** (i % 3) } as MetricsRecord;
  });
const runOf = (own: Partial<RunData> = {}): RunData => ({ name: 'run', records: records(40), samples: [], config: {}, ...own });
const sampleOf = (own: Partial<Sample> = {}): Sample => {
  return { step: 1, group: 'a', prompt: '3 9 =', tokens: ['####', ' 9', ''], ids: [11, 9, 12], advantages: [1, -2, 0.5], reward: 1, length: 3, ...own };
};

/** The page's data, as its script reads it. */
const dataOf = (html: string) => JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]);
const panelsOf = (html: string) => [...html.matchAll(/<section class="panel[^"]*" aria-label="([^"]*)"/g)].map(([, title]) => title);
const pairsOf = (html: string) => [...html.matchAll(/<dt>([^<]*)<\/dt><dd>([^<]*)<\/dd>/g)].map((match) => match.slice(1, 3));
const scriptOf = (html: string) => html.slice(html.lastIndexOf('<script>') + '<script>'.length, html.lastIndexOf('</script>'));
const tokensOf = (html: string) =>
  [...html.matchAll(/<span class="t([^"]*)"(?: style="--a:([\d.]+)")? title="([^"]*)">(.*?)<\/span>/gs)].map(([, kind, share, title, text]) => [kind.trim(), Number(share), title, text]);

describe('the report of one run', () => {
  const trainer = { seed: 3, policy: { lr: 1e-3 }, path: null, betas: [0.9, 0.999] };
  const config = { trainer, note: '</script><script>alert(1)</script>' };
  const html = reportPage({ title: 'gmax <b>&"', subtitle: "it's done", runs: [runOf({ config })], target: 0.9 });

  it('needs nothing from a network, and is written where it is asked for', () => {
    expect(html).not.toMatch(/https?:|src=|href=|@import|url\(/);
    expect(html).toMatch(/prefers-color-scheme: dark/);
    const file = join(folder, 'pages', 'report.html');
    writeReport(file, { title: 'gmax <b>&"', subtitle: "it's done", runs: [runOf({ config })], target: 0.9 });
    expect(readFileSync(file, 'utf8')).toBe(html);
  });

  it('has the main metrics first and every other one by its group, and says how it went', () => {
    expect(panelsOf(html)).toEqual(['Reward', 'Loss', 'step']);
    expect(html).toContain('<summary>timing<small>1</small></summary>');
    expect(pairsOf(html).slice(0, 4)).toEqual([
      ['mean reward of the last 10 steps', '0.863'],
      ['best mean of 10', '0.863'],
      ['at the first step', '0'],
      ['steps', '40'],
    ]);
    expect(html).toContain('target 0.9');
    expect(html).not.toContain('class="legend"');
  });

  it('offers a logarithmic axis where it suits', () => {
    const panels = html.split('<section class="panel').slice(1);
    expect(panels.map((panel) => panel.includes('class="scale"'))).toEqual([false, false, true]);
    expect(dataOf(html).charts.map(({ log }: { log: unknown }) => log)).toEqual([null, null, [1, 100]]);
  });

  it('escapes what the user wrote', () => {
    expect(html).toContain('<h1>gmax &lt;b&gt;&amp;&quot;</h1>');
    expect(html).toContain('it&#39;s done');
    expect(html).not.toContain('alert(1)</script>');
    expect(html.match(/<script/g)).toHaveLength(2);
  });

  it('shows the configuration as dotted keys', () => {
    expect(pairsOf(html).slice(4, 8)).toEqual([
      ['trainer.seed', '3'],
      ['trainer.policy.lr', '0.001'],
      ['trainer.path', 'null'],
      ['trainer.betas', '[0.9,0.999]'],
    ]);
  });

  it('carries every step and a gap for what was not finite', () => {
    const [reward, loss] = dataOf(html).charts.map(({ lines }: { lines: unknown[] }) => lines[0]);
    expect(reward.steps).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(reward.raw[4]).toBe(4 / 40);
    expect(loss.raw.slice(2, 5)).toEqual([-2, null, -4]);
  });

  it.each<[string, Partial<RunData>]>([
    ['no records', { records: [] }],
    ['a single step', { records: records(1), samples: [sampleOf()] }],
    ['nothing finite', { records: [{ step: 1, 'reward/avg_raw_reward': null }, { step: 2, 'reward/avg_raw_reward': null }] as MetricsRecord[] }],
    ['a constant of its own', { records: [{ step: 1, 'own/metric': 1e9 }, { step: 2, 'own/metric': 1e9 }] as MetricsRecord[] }],
    ['an empty response', { samples: [sampleOf({ tokens: [], ids: [], advantages: [], length: 0 })] }],
  ])('stands with %s', (_, own) => {
    const html = reportPage({ title: 'edge', runs: [runOf(own)], target: 0.5 });
    expect(panelsOf(html)[0]).toBe('Reward');
    expect(html.replace(/<script>[\s\S]*?<\/script>/g, '')).not.toMatch(/NaN|Infinity|undefined/);
  });
});

describe('the report of several runs', () => {
  const config = (lr: number, extra = {}) => ({ trainer: { seed: 3, lr, ...extra } });
  const runs = [
    runOf({ name: 'one', config: config(0.1) }),
    runOf({ name: 'two <i>', records: records(20, 0.5), config: config(0.1) }),
    runOf({ name: 'three', records: [{ step: 1, 'own/metric': 4 } as MetricsRecord], config: config(0.2, { own: 1 }) }),
  ];
  const html = reportPage({ title: 'three runs', runs });

  it('draws their curves over each other, each in its colour', () => {
    expect(dataOf(html).names).toEqual(['one', 'two <i>', 'three']);
    const [reward, loss] = dataOf(html).charts;
    expect(reward.lines.map(({ run, steps }: { run: number; steps: number[] }) => [run, steps.length])).toEqual([[0, 40], [1, 20], [2, 0]]);
    expect(loss.lines.map(({ run }: { run: number }) => run)).toEqual([0, 1]);
    expect(dataOf(html).charts.at(-2).lines.map(({ run }: { run: number }) => run)).toEqual([2]);
    expect(html.match(/<path class="line r1"/g)?.length).toBeGreaterThanOrEqual(2);
    expect(html).toContain('two &lt;i&gt;</button>');
  });

  it('marks in the configuration what differs', () => {
    const rows = [...html.matchAll(/<tr><th scope="row">(trainer[^<]*)<\/th>(.*?)<\/tr>/g)].map(([, key, cells]) => [key, cells]);
    expect(rows).toEqual([
      ['trainer.lr', '<td>0.1</td><td>0.1</td><td class="mark">0.2</td>'],
      ['trainer.own', '<td>–</td><td>–</td><td class="mark">1</td>'],
    ]);
    expect(pairsOf(html)).toEqual([['trainer.seed', '3']]);
  });
});

describe('samples', () => {
  it('colours each token by its advantage, blue above 0, orange below, on one scale', () => {
    const samples = [sampleOf({ tokens: ['<b>', '\n', ''], advantages: [1, -4, null] }), sampleOf({ advantages: [0, 2, 4], reward: 0.25 })];
    const html = reportPage({ title: 'samples', runs: [runOf({ samples })] });
    expect(tokensOf(html)).toEqual([
      ['u', 0.277, '+1.00', '&lt;b&gt;'],
      ['d', 0.75, '−4.00', '<em>↵</em>\n'],
      ['off', NaN, 'left out of the loss', '<em>end</em>'],
      ['', NaN, '0', '####'],
      ['u', 0.435, '+2.00', ' 9'],
      ['u', 0.75, '+4.00', '<em>end</em>'],
    ]);
    expect(html).toContain('<b>0.250</b>reward');
    expect(html).toContain('<b>prompt</b>3 9 =');
    expect(html.match(/class="prompt"/g)).toHaveLength(1);
  });

  it('says where a response was cut, and shows a part of a character by its id', () => {
    const html = reportPage({ title: 'samples', runs: [runOf({ samples: [sampleOf({ tokens: ['', 'é'], ids: [195, 169], advantages: [1, 1], length: 700 })] })] });
    expect(tokensOf(html).map(([, , , text]) => text)).toEqual(['<em>⟨195⟩</em>', 'é']);
    expect(html).toContain(' … 698 more');
  });

  it('shows steps evenly spread, the first and the last among them, where there are many', () => {
    const samples = Array.from({ length: 500 }, (_, i) => sampleOf({ step: i + 1 }));
    const html = reportPage({ title: 'samples', runs: [runOf({ samples })] });
    const steps = [...html.matchAll(/data-step="(\d+)"/g)].map(([, step]) => Number(step));
    expect([steps.length, steps[0], steps.at(-1)]).toEqual([40, 1, 500]);
    expect(html).toContain('40 of 500 steps');
    const long = { tokens: Array(512).fill('word'), ids: Array(512).fill(1), advantages: Array(512).fill(1), length: 512 };
    const small = reportPage({ title: 'samples', runs: [runOf({ samples: samples.map((each) => ({ ...each, ...long })) })] });
    expect(small.match(/data-step=/g)).toHaveLength(39);
  });
});

describe('the script', () => {
  /** As much of a document as the script uses for charts. */
  function documentOf(html: string) {
    const listeners: Record<string, (event: { clientX: number }) => void> = {};
    const panels = panelsOf(html).map((_, i) => {
      const classes = new Set(i === 0 ? ['main'] : []);
      const plot = {
        addEventListener: (name: string, listener: () => void) => i === 0 && (listeners[name] = listener),
        getBoundingClientRect: () => ({ left: 100, width: 390 }),
      };
      const readout = { textContent: '', dataset: { rest: 'final' } };
      const dots = dataOf(html).charts[i].lines.map(() => ({ style: {} as Record<string, string> }));
      const parts: Record<string, object> = { '.plot': plot, '.readout': readout, '.cursor': { style: {} } };
      const classList = { add: (name: string) => classes.add(name), remove: (name: string) => classes.delete(name), contains: (name: string) => classes.has(name) };
      return { readout, dots, classList, querySelector: (name: string) => parts[name] ?? null, querySelectorAll: () => dots };
    });
    const document = { getElementById: () => ({ textContent: JSON.stringify(dataOf(html)) }), querySelectorAll: (name: string) => (name === '.panel' ? panels : []) };
    return { document, panels, listeners };
  }

  it('pointing at a step shows its values, leaving shows the final ones again', () => {
    const html = reportPage({ title: 'one', runs: [runOf()] });
    const { document, panels, listeners } = documentOf(html);
    runInNewContext(scriptOf(html), { document });
    listeners.pointermove({ clientX: 100 + 10 * 4.2 });
    expect(panels[0].readout.textContent).toBe('step 5   0.100   mean 0.0500');
    expect(panels[0].dots[0].style).toMatchObject({ left: `${100 * (4 / 39)}%`, top: '95%' });
    expect(panels[1].readout.textContent).toBe('−4.00');
    listeners.pointerleave({ clientX: 0 });
    expect(panels.map(({ readout }) => readout.textContent)).toEqual(['final', 'final', 'final']);
  });
});

describe('readRuns', () => {
  function write(name: string, config?: object, metrics = records(3)): string {
    const run = join(folder, name);
    mkdirSync(run, { recursive: true });
    writeFileSync(join(run, 'metrics.jsonl'), metrics.map((record) => `${JSON.stringify(record)}\n`).join(''));
    if (config) writeFileSync(join(run, 'config.json'), JSON.stringify(config));
    return run;
  }

  it('names runs by their run_name where it tells them apart, else by their own part of the path', () => {
    const config = (run_name: string) => ({ trainer: { run_name } });
    expect(readRuns([write('a/x/1', config('p')), write('a/y/1', config('q'))]).map(({ name }) => name)).toEqual(['p', 'q']);
    expect(readRuns([write('a/x/2', config('p')), write('a/y/2', config('p'))]).map(({ name }) => name)).toEqual(['x', 'y']);
    expect(readRuns([write('b/1'), join(write('b/2'), 'metrics.jsonl')]).map(({ name, records: { length } }) => [name, length])).toEqual([['1', 3], ['2/metrics.jsonl', 3]]);
  });

  it('says what is missing or malformed', () => {
    expect(() => readRuns([join(folder, 'none')])).toThrow(/none: no such file or folder/);
    mkdirSync(join(folder, 'empty'));
    expect(() => readRuns([join(folder, 'empty')])).toThrow(/empty: expected a run's folder \(it holds metrics\.jsonl/);
    writeFileSync(join(write('c'), 'config.json'), '[1');
    expect(() => readRuns([join(folder, 'c')])).toThrow(/config\.json: malformed JSON/);
    writeFileSync(join(folder, 'c', 'config.json'), '[1]');
    expect(() => readRuns([join(folder, 'c')])).toThrow(/config\.json: expected a JSON object/);
  });
});

it('curveOf merges the records of a step and sorts them', () => {
  const all = [{ step: 2, loss: 0.2 }, { step: 1, loss: 0.1 }, { step: 2, score: 0.9 }, { step: 2, loss: 0.3 }, { step: 3, loss: null }] as unknown as MetricsRecord[];
  expect(curveOf(all, 'loss')).toEqual({ steps: [1, 2, 3], values: [0.1, 0.3, NaN] });
});
