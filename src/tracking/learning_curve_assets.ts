import { formatNumber } from './format';

/** The style of the learning-curve page: one accent, hairlines, figures of equal width; light and dark. */
export const PAGE_STYLE = `
:root {
  --paper: #fcfbf9; --ink: #1d1c1a; --muted: #7a766f; --rule: #e9e6e0; --accent: #2456c9; --goal: #2f8f5b;
  --text: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Source Serif Pro", Georgia, serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #131316; --ink: #eceae5; --muted: #918d86; --rule: #28282d; --accent: #8ab0ff; --goal: #6cc894; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 var(--text); font-variant-numeric: tabular-nums; }
main { max-width: 1040px; margin: 0 auto; padding: 56px 32px 72px; }
.brand { margin: 0 0 10px; color: var(--muted); font-size: 12px; letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: 0; font: 400 34px/1.2 var(--serif); letter-spacing: -.01em; text-wrap: balance; }
.subtitle { margin: 8px 0 0; color: var(--muted); max-width: 70ch; }
.figures { display: flex; flex-wrap: wrap; gap: 12px 48px; margin: 32px 0 36px; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.figures dt { color: var(--muted); font-size: 13px; }
.figures dd { margin: 0; font: 400 30px/1.25 var(--serif); font-variant-numeric: lining-nums tabular-nums; }
.figures div:first-child dd { color: var(--accent); }
h2 { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; margin: 0 0 12px; font-size: 14px; }
h2 span { white-space: nowrap; }
.readout { color: var(--muted); font-weight: 400; }
h2 .readout { white-space: pre; }
.panel.main h2 .readout { visibility: hidden; }
.panel.main.pointed h2 .readout { visibility: visible; }
.plot { position: relative; height: 108px; margin: 0 0 28px 46px; cursor: crosshair; touch-action: pan-y; }
.main .plot { height: 320px; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.rule { stroke: var(--rule); stroke-width: 1; }
.target { stroke: var(--goal); stroke-width: 1; stroke-dasharray: 2 5; }
.raw { stroke: var(--accent); stroke-width: 1.25; opacity: .32; }
.smooth { stroke: var(--accent); stroke-width: 1.75; }
.main .smooth { stroke-width: 2.25; }
.x, .y, .goal, .none { position: absolute; color: var(--muted); font-size: 12px; line-height: 1; white-space: nowrap; }
.y { right: calc(100% + 10px); transform: translateY(-50%); }
.x { top: calc(100% + 10px); transform: translateX(-50%); }
.goal { left: 0; transform: translateY(calc(-100% - 5px)); color: var(--goal); }
.none { left: 50%; top: 50%; transform: translate(-50%, -50%); background: var(--paper); padding: 4px 10px; }
.cursor, .dot { position: absolute; display: none; pointer-events: none; }
.cursor { top: 0; bottom: 0; width: 1px; background: var(--muted); opacity: .5; }
.dot { width: 9px; height: 9px; margin: -4.5px; border-radius: 50%; background: var(--accent); border: 2px solid var(--paper); }
.pointed .cursor, .pointed .dot, .dot.alone { display: block; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(272px, 1fr)); gap: 12px 40px; margin-top: 44px; }
.configuration { margin-top: 28px; padding-top: 28px; border-top: 1px solid var(--rule); }
.configuration dl { columns: 2 380px; column-gap: 40px; margin: 0; font: 12px/1.9 var(--mono); }
.configuration dl div { display: flex; justify-content: space-between; gap: 16px; break-inside: avoid; }
.configuration dt { color: var(--muted); overflow-wrap: anywhere; }
.configuration dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  main { padding: 32px 18px 48px; }
  h1 { font-size: 27px; }
  .main .plot { height: 230px; }
  .figures { gap: 12px 32px; }
}
@media print { main { padding: 0; } .panel { break-inside: avoid; } }
`;

/** Pointing at one panel shows that step in all of them: the nearest step that each has, its value, and in the large one the mean. */
export const PAGE_SCRIPT = `
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const panels = [...document.querySelectorAll('.panel')].map((element, i) => ({
    ...data[i], element, plot: element.querySelector('.plot'), readout: element.querySelector('.readout'),
    cursor: element.querySelector('.cursor'), dot: element.querySelector('.dot'),
  }));
  const format = ${formatNumber};
  const show = (value) => (value === null ? '–' : format(value));
  const nearest = (steps, step) => {
    let [low, high] = [0, steps.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle; else high = middle;
    }
    return Math.abs(steps[low] - step) <= Math.abs(steps[high] - step) ? low : high;
  };
  const point = (step) => {
    for (const { steps, raw, smooth, x, y, element, readout, cursor, dot } of panels) {
      if (steps.length === 0) continue;
      const i = nearest(steps, step);
      const left = 100 * (steps[i] - x[0]) / (x[1] - x[0]) + '%';
      element.classList.add('pointed');
      cursor.style.left = dot.style.left = left;
      dot.style.top = 100 * (1 - (smooth[i] - y[0]) / (y[1] - y[0])) + '%';
      dot.style.visibility = smooth[i] === null ? 'hidden' : '';
      const isMain = element.classList.contains('main');
      readout.textContent = isMain ? 'step ' + steps[i] + '   ' + show(raw[i]) + '   mean ' + show(smooth[i]) : show(raw[i]);
    }
  };
  const leave = () => {
    for (const { element, readout } of panels) {
      element.classList.remove('pointed');
      readout.textContent = readout.dataset.rest;
    }
  };
  for (const { plot, x } of panels) {
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      point(x[0] + share * (x[1] - x[0]));
    };
    plot.addEventListener('pointermove', follow);
    plot.addEventListener('pointerdown', follow);
    plot.addEventListener('pointerleave', leave);
  }
})();
`;
