import { formatNumber } from './format';
import { COLOURS } from './page_style';

/**
 * Pointing at a chart shows that step in all charts of the page: the nearest step that each has; a single line's value beside the title, several
 * lines' values in a box. The legend takes lines off, `log` changes the axis, the slider shows the samples of a step, pointing at a token its
 * advantage.
 */
export const PAGE_SCRIPT = `
(() => {
  const { names, charts } = JSON.parse(document.getElementById('data').textContent);
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const panels = all(document, '.panel').map((element, i) => ({
    ...charts[i], element, plot: element.querySelector('.plot'), readout: element.querySelector('.readout'),
    cursor: element.querySelector('.cursor'), dots: all(element, '.dot'), scale: element.querySelector('.scale'),
  }));
  const off = new Set();
  const format = ${formatNumber};
  const show = (value) => (value === null || value === undefined ? '–' : format(value));
  const nearest = (steps, step) => {
    let [low, high] = [0, steps.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle; else high = middle;
    }
    return Math.abs(steps[low] - step) <= Math.abs(steps[high] - step) ? low : high;
  };
  const share = (value, [low, high], log) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const words = ({ raw, low, high, values }, i) => {
    if (raw) return show(raw[i]) + '   mean ' + show(values[i]);
    return show(values[i]) + (low ? '   ' + show(low[i]) + ' … ' + show(high[i]) : '');
  };

  const named = ({ labels }, step) => (labels ? labels[step] : 'step ' + step);
  const point = (step) => {
    for (const panel of panels) {
      const { lines, x, y, log, element, readout, cursor, dots } = panel;
      const isLog = log && element.classList.contains('log');
      lines.forEach((line, k) => {
        if (line.steps.length === 0) return;
        const i = nearest(line.steps, step);
        // A run that is not there at that step has no value to show.
        const isFar = lines.length > 1 && (step > line.steps[line.steps.length - 1] + 0.5 || step < line.steps[0] - 0.5);
        const left = 100 * share(line.steps[i], x) + '%';
        dots[k].style.left = left;
        dots[k].style.top = 100 * (1 - share(line.values[i], isLog ? log : y, isLog)) + '%';
        dots[k].style.visibility = line.values[i] === null || isFar ? 'hidden' : '';
        if (lines.length === 1) {
          cursor.style.left = left;
          readout.textContent = element.classList.contains('main') ? named(panel, line.steps[i]) + '   ' + words(line, i) : show((line.raw || line.values)[i]);
        } else cursor.style.left = 100 * share(Math.round(step), x) + '%';
      });
      element.classList.add('pointed');
    }
  };
  let tip = null;
  const put = (tag, parent, text, className) => {
    const element = parent.appendChild(document.createElement(tag));
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const describe = (panel, step, fraction) => {
    const { lines, plot } = panel;
    if (tip) tip.remove();
    tip = null;
    if (lines.length < 2) return;
    tip = put('div', plot, undefined, 'tip');
    put('b', tip, named(panel, Math.round(step)));
    for (const line of lines) {
      if (off.has(line.run) || line.steps.length === 0 || step > line.steps[line.steps.length - 1] + 0.5 || step < line.steps[0] - 0.5) continue;
      const row = put('div', tip);
      put('i', row, undefined, 'swatch r' + (line.run % ${COLOURS}));
      row.append(names[line.run] + '   ' + words(line, nearest(line.steps, step)));
    }
    tip.style[fraction < 0.5 ? 'left' : 'right'] = 100 * (fraction < 0.5 ? fraction : 1 - fraction) + 3 + '%';
  };
  const leave = () => {
    if (tip) tip.remove();
    tip = null;
    for (const { element, readout } of panels) {
      element.classList.remove('pointed');
      readout.textContent = readout.dataset.rest;
    }
  };
  for (const panel of panels) {
    const { plot, x, scale, element } = panel;
    const follow = (event) => {
      const box = plot.getBoundingClientRect();
      const fraction = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const step = x[0] + fraction * (x[1] - x[0]);
      point(step);
      describe(panel, step, fraction);
    };
    plot.addEventListener('pointermove', follow);
    plot.addEventListener('pointerdown', follow);
    plot.addEventListener('pointerleave', leave);
    if (scale) scale.addEventListener('click', () => scale.setAttribute('aria-pressed', String(element.classList.toggle('log'))));
  }

  for (const button of all(document, '.legend button')) {
    button.addEventListener('click', () => {
      const run = Number(button.dataset.run);
      const isOff = !off.has(run);
      if (isOff) off.add(run); else off.delete(run);
      button.setAttribute('aria-pressed', String(!isOff));
      panels.forEach(({ element, lines }) => lines.forEach((line, k) => {
        if (line.run !== run) return;
        for (const kind of ['linear', 'logarithmic']) {
          for (const shape of ['band', 'raw', 'line']) {
            const drawn = all(element, '.' + kind + ' .' + shape)[k];
            if (drawn) drawn.style.display = isOff ? 'none' : '';
          }
        }
        all(element, '.dot')[k].style.opacity = isOff ? 0 : '';
      }));
    });
  }

  for (const section of all(document, '.samples')) {
    const steps = all(section, '.step');
    const [slider, label, value] = ['.steps input', '.steps output', '.value'].map((selector) => section.querySelector(selector));
    const select = () => {
      steps.forEach((step, i) => { step.hidden = i !== Number(slider.value); });
      label.textContent = 'step ' + steps[Number(slider.value)].dataset.step;
    };
    if (slider) {
      slider.parentNode.hidden = false;
      slider.addEventListener('input', select);
      select();
    }
    let at = null;
    const read = (event) => {
      const token = event.target.closest('.t');
      if (at) at.classList.remove('at');
      at = token;
      if (!token) return;
      token.classList.add('at');
      const place = all(token.parentNode, '.t').indexOf(token) + 1;
      value.textContent = 'token ' + place + ': ' + (token.classList.contains('off') ? token.title : 'advantage ' + token.title);
    };
    section.addEventListener('pointerover', read);
    section.addEventListener('pointerdown', read);
  }
})();
`;
