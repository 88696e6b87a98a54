/** The code that a report says to paste runs as it is, and shows what the report says. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkEstimator, type AdvantageEstimatorClass, type CauseId, type CheckOptions } from 'vantage-rl';
import { root } from '../docs/markdown';

const folder = mkdtempSync(join(tmpdir(), 'vantage-paste-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const source = `const { AdvantageEstimator, keep, tensor, where } = require('vantage-rl');
const perToken = (scores, masks) => scores.expandDims(1).mul(masks);
class Own extends AdvantageEstimator {
  count = 0;
  kept = [];
}
exports.Width = class Width extends Own {
  computeAdvantages(rewards, values, masks) { return perToken(rewards.sum(1).div(rewards.shape[1]), masks); }
};
exports.Returns = class Returns extends Own {
  computeAdvantages(rewards, values, masks) { return { advantages: rewards, returns: rewards.sub(rewards.mean()) }; }
};
exports.Neighbours = class Neighbours extends Own {
  static requires = ['groupIds'];
  static options = { scale: 2 };
  computeAdvantages(rewards, values, masks) {
    const scores = rewards.sum(1).dataSync();
    return perToken(tensor(Float64Array.from(scores, (x, b) => this.options.scale * (x - (scores[b - 1] ?? 0)))).cast(rewards.dtype), masks);
  }
};
exports.Batch = class Batch extends Own {
  static requires = ['groupIds'];
  static declares = { scope: 'group', emptyRows: 'count' };
  computeAdvantages(rewards, values, masks, { groups }) { return perToken(groups.centre(rewards.sum(1)).add(rewards.sum(1).max()), masks); }
};
exports.Counter = class Counter extends Own {
  computeAdvantages(rewards, values, masks) { return perToken(rewards.sum(1).add(++this.count), masks); }
};
exports.Unsaved = class Unsaved extends Counter {
  saveState() { return { count: 1 }; }
  restoreState() {}
};
exports.Leaky = class Leaky extends Own {
  computeAdvantages(rewards, values, masks) {
    this.kept.push(keep(rewards.sum().realize()));
    return perToken(rewards.sum(1), masks);
  }
};
exports.Disposing = class Disposing extends Own {
  takesRawInputs = true;
  computeAdvantages(rewards, values, masks) {
    const scores = where(masks, rewards, 0).sum(1).realize();
    rewards.dispose();
    return perToken(scores, masks);
  }
};
exports.Squares = class Squares extends Own {
  computeAdvantages(rewards, values, masks) {
    const scores = rewards.sum(1);
    return perToken(scores.div(scores.square().mean().sub(scores.mean().square()).maximum(0).sqrt().add(1e-2)), masks);
  }
};
exports.Throwing = class Throwing extends Own {
  computeAdvantages(rewards) {
    if (rewards.shape[0] > 1) throw new Error('one row, please');
    return rewards;
  }
};
exports.Cold = class Cold extends Own {
  static requires = ['groupIds'];
  computeAdvantages(rewards, values, masks, { groups }) { return perToken(groups.centre(rewards.sum(1)).mul(0.5), masks); }
};
`.replace('class Unsaved extends Counter', 'class Unsaved extends exports.Counter');

/** Its class, the property, the cause; what the output must hold, where it is not the two numbers that were seen. */
const cases: readonly (readonly [name: string, property: string, cause: CauseId, shows?: RegExp, options?: CheckOptions])[] = [
  ['Width', 'padding', 'padding-counted'],
  ['Width', 'packed', 'packed-differs'],
  ['Returns', 'padding', 'padding-counted'],
  ['Neighbours', 'row-order', 'row-order', undefined, { options: { scale: 3 } }],
  ['Batch', 'scope', 'batch-statistics'],
  ['Counter', 'repeated', 'state-carried'],
  ['Unsaved', 'resumed', 'state-not-restored'],
  ['Leaky', 'memory', 'tensors-leaked', /^(\d+)\n(?!\1)/],
  ['Disposing', 'inputs-untouched', 'inputs-changed', /^\[\[\[.*\n.*\n\[null,/],
  ['Squares', 'offset', 'cancellation'],
  ['Throwing', 'result', 'throws', /one row, please/],
  ['Cold', 'reference', 'factor', undefined, { reference: { name: 'grpo', options: { normByStd: false } } }],
];

/** Everything that a script prints, on both streams. */
async function output(file: string): Promise<string> {
  const child = spawn(process.execPath, [file], { cwd: folder, env: { ...process.env, VANTAGE_NUM_THREADS: '1', NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += String(data)));
  await new Promise((resolve) => child.once('close', resolve));
  return text;
}

test('it shows what was seen', async () => {
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/vantage-rl'));
  const file = join(folder, 'mine.cjs');
  writeFileSync(file, source);
  const classes = require(file) as Record<string, AdvantageEstimatorClass>;
  const shown = await Promise.all(cases.map(async ([name, property, cause, shows, options], k) => {
    const { properties } = checkEstimator(classes[name]!, { only: [property], module: './mine.cjs', exportedAs: name, ...options });
    const finding = properties[0]!.finding!;
    expect([name, finding?.cause]).toEqual([name, cause]);
    writeFileSync(join(folder, `${k}.mjs`), finding.code);
    return { name, shows, finding, text: await output(`${k}.mjs`) };
  }));
  for (const { name, shows, finding, text } of shown) {
    const printed = (text.match(/-?\d+(\.\d+)?(e[+-]?\d+)?/g) ?? []).map(Number);
    const pair = / is (-?[\d.e+-]+), then (-?[\d.e+-]+)/.exec(finding.seen)?.slice(1).map(Number) ?? [];
    const missing = shows ? (shows.test(text) ? [] : [String(shows)]) : pair.filter((x) => !printed.some((y) => Math.abs(x - y) <= 1e-5 * Math.max(1, Math.abs(x))));
    expect({ name, missing, pair: shows ? 2 : pair.length, text: missing.length > 0 ? text : '', seen: missing.length > 0 ? finding.seen : '' }).toEqual({
      name,
      missing: [],
      pair: 2,
      text: '',
      seen: '',
    });
  }
}, 60_000);
