/** Colours of lines, the first the accent; told apart by those who do not see red and green apart. */
const LIGHT = ['#2456c9', '#c2570c', '#0b7f63', '#9b3fa0', '#8a6a00', '#50555c', '#c9335a', '#0a86b3'];
const DARK = ['#8ab0ff', '#ff9a4d', '#4fd0ac', '#d890dd', '#d9b73f', '#a9afb8', '#ff86a3', '#5cc6ee'];

/** How many colours there are. */
export const COLOURS = LIGHT.length;

const colours = (list: readonly string[]): string => list.map((colour, i) => `--c${i}: ${colour};`).join(' ');
const runs = LIGHT.map((_, i) => `.r${i} { --run: var(--c${i}); }`).join('\n');

/** The colours of pages and pictures, light and dark; advantages from orange (below 0) to blue (above). */
export const COLOUR_STYLE = `:root {
  --paper: #fcfbf9; --ink: #1d1c1a; --muted: #6f6b64; --rule: #e9e6e0; --wash: #f3f1ec; --accent: var(--c0); --goal: #2a7f50;
  --up: 36 96 222; --down: 224 106 0; ${colours(LIGHT)}
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131316; --ink: #eceae5; --muted: #98948d; --rule: #2a2a2f; --wash: #1d1d21; --goal: #6cc894;
    --up: 84 144 255; --down: 240 130 40; ${colours(DARK)}
  }
}
${runs}`;

/** The style of our pages: hairlines, figures of equal width. */
export const PAGE_STYLE = `
${COLOUR_STYLE}
:root {
  --text: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Source Serif Pro", Georgia, serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 var(--text); font-variant-numeric: tabular-nums; }
main { max-width: 1040px; margin: 0 auto; padding: 56px 32px 72px; }
.brand { margin: 0 0 10px; color: var(--muted); font-size: 12px; letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: 0; font: 400 34px/1.2 var(--serif); letter-spacing: -.01em; text-wrap: balance; overflow-wrap: anywhere; }
h2 { margin: 0 0 18px; font: 400 22px/1.3 var(--serif); }
h3 { display: flex; align-items: baseline; gap: 12px; margin: 0 0 12px; font-size: 14px; min-width: 0; }
h3 span:first-child { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.subtitle, .note { margin: 8px 0 0; color: var(--muted); max-width: 74ch; }
.note { margin: 0 0 16px; font-size: 13px; }
.plot + .note, .panel + .note { margin-top: 44px; }
.figures { display: flex; flex-wrap: wrap; gap: 12px 48px; margin: 32px 0 36px; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.figures dt { color: var(--muted); font-size: 13px; }
.figures dd { margin: 0; font: 400 30px/1.25 var(--serif); font-variant-numeric: lining-nums tabular-nums; }
.figures div:first-child dd { color: var(--accent); }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
button:focus-visible, input:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 3px; }
.legend { display: flex; flex-wrap: wrap; gap: 8px 24px; margin: 28px 0; font-size: 14px; }
.legend button[aria-pressed="false"] { color: var(--muted); text-decoration: line-through; }
.legend button[aria-pressed="false"] .swatch { opacity: .3; }
.swatch { display: inline-block; width: 18px; height: 3px; margin-right: 8px; vertical-align: middle; border-radius: 2px; background: var(--run); }
.readout { margin-left: auto; color: var(--muted); font-weight: 400; white-space: pre; }
.scale { padding: 0 7px; border: 1px solid var(--rule); border-radius: 9px; color: var(--muted); font-size: 11px; font-weight: 400; line-height: 16px; }
.scale[aria-pressed="true"] { border-color: var(--accent); color: var(--accent); }
.panel { min-width: 0; }
.plot { position: relative; height: 108px; margin: 0 0 28px 46px; cursor: crosshair; touch-action: pan-y; }
.main .plot { height: 320px; }
.panel.log .linear, .panel:not(.log) .logarithmic { display: none; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.rule { stroke: var(--rule); stroke-width: 1; }
.target { stroke: var(--goal); stroke-width: 1; stroke-dasharray: 2 5; }
.raw { stroke: var(--run); stroke-width: 1.25; opacity: .28; }
.line { stroke: var(--run); stroke-width: 1.75; }
.main .line { stroke-width: 2.25; }
.band { fill: var(--run); fill-opacity: .12; stroke: var(--run); stroke-opacity: .35; stroke-width: .75; }
.x, .y, .goal, .none { position: absolute; color: var(--muted); font-size: 12px; line-height: 1; white-space: nowrap; }
.y { right: calc(100% + 10px); transform: translateY(-50%); }
.x { top: calc(100% + 10px); transform: translateX(-50%); }
.goal { left: 0; transform: translateY(calc(-100% - 5px)); color: var(--goal); }
.none { left: 50%; top: 50%; transform: translate(-50%, -50%); background: var(--paper); padding: 4px 10px; }
.cursor, .dot { position: absolute; display: none; pointer-events: none; }
.cursor { top: 0; bottom: 0; width: 1px; background: var(--muted); opacity: .5; }
.dot { width: 9px; height: 9px; margin: -4.5px; border-radius: 50%; background: var(--run); border: 2px solid var(--paper); }
.pointed .cursor, .pointed .dot, .dot.alone { display: block; }
[hidden] { display: none !important; }
.tip { position: absolute; z-index: 1; top: 8px; padding: 8px 12px; border: 1px solid var(--rule); border-radius: 6px; background: var(--paper); font-size: 12px; line-height: 1.6; white-space: pre; pointer-events: none; box-shadow: 0 2px 12px rgb(0 0 0 / .08); }
.tip b { font-weight: 500; }
.tip .swatch { width: 12px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(272px, 100%), 1fr)); gap: 12px 40px; margin-top: 44px; }
.block { margin-top: 28px; padding-top: 28px; border-top: 1px solid var(--rule); }
details summary { cursor: pointer; padding: 10px 0; border-top: 1px solid var(--rule); font-size: 14px; }
details summary small { color: var(--muted); font-size: 13px; margin-left: 8px; }
details .grid { margin: 20px 0 12px; }
.configuration dl { columns: 2 380px; column-gap: 40px; margin: 0; font: 12px/1.9 var(--mono); }
.configuration dl div { display: flex; justify-content: space-between; gap: 16px; break-inside: avoid; }
.configuration dt { color: var(--muted); overflow-wrap: anywhere; }
.configuration dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 0 0 24px; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 24px 6px 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: baseline; }
thead th { color: var(--muted); font-weight: 400; font-size: 13px; }
tbody th { font-weight: 500; }
table.code { font: 12px/1.6 var(--mono); }
table.code tbody th { font-weight: 400; color: var(--muted); }
td.mark { color: var(--accent); font-weight: 600; }
.samples + .samples { margin-top: 36px; }
.samples > h3 { margin-bottom: 8px; }
.steps { display: flex; align-items: center; gap: 16px; margin: 0 0 16px; font-size: 14px; }
.steps input { flex: 1; min-width: 0; max-width: 420px; accent-color: var(--accent); }
.scale-bar { display: flex; align-items: center; gap: 10px; margin: 0 0 16px; color: var(--muted); font-size: 13px; }
.scale-bar i { width: 160px; height: 10px; border-radius: 5px; background: linear-gradient(90deg, rgb(var(--down) / .75), rgb(var(--down) / .12) 49%, transparent 49%, transparent 51%, rgb(var(--up) / .12) 51%, rgb(var(--up) / .75)); }
.prompt b { display: block; font: 13px/1.5 var(--text); }
.prompt { margin: 0 0 12px; color: var(--muted); font: 13px/1.7 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 12em; overflow-y: auto; }
.sample { display: grid; grid-template-columns: 160px 1fr; gap: 16px; margin: 0; padding: 10px 0; border-top: 1px solid var(--rule); }
.sample dt { color: var(--muted); font-size: 13px; line-height: 1.3; }
.sample dt b { margin-right: 6px; color: var(--ink); font: 400 20px/1.3 var(--serif); }
.sample dt span { display: block; }
.sample dd { margin: 0; min-width: 0; font: 14px/2 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
.t { padding: 3px 1px; border-radius: 3px; cursor: default; }
.t.u { background: rgb(var(--up) / var(--a)); }
.t.d { background: rgb(var(--down) / var(--a)); }
.t.off { color: var(--muted); text-decoration: line-through dotted; }
.t.at { outline: 1.5px solid var(--ink); outline-offset: 0; }
.t em { font: 11px/1 var(--text); font-style: normal; letter-spacing: .02em; opacity: .75; padding: 0 3px; }
.value { display: block; min-height: 1.6em; margin: 8px 0 0; color: var(--muted); font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 32px 18px 48px; }
  h1 { font-size: 27px; }
  .main .plot { height: 230px; }
  .figures { gap: 12px 32px; }
  .sample { grid-template-columns: 1fr; gap: 4px; }
  .sample dt span { display: inline; margin-left: 12px; }
}
@media print { main { padding: 0; } .panel { break-inside: avoid; } }
`;
