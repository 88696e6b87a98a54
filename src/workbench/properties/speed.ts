/** What is reported of speed: the time beside that of a copy, and scans that run as loops. */
import { computeAdvantages } from '../../advantages';
import { observingLoops } from '../../tensor/scan';
import { tidy } from '../../tensor';
import { mapTokens, takeRows } from '../batch';
import { range, type Property } from '../property';
import { tensorsOf } from '../subject';

const [ROWS, COLUMNS, TRIES, SLOW] = [64, 512, 5, 300];

export const speed: Property = {
  id: 'speed',
  title: `Time beside that of a copy of the rewards and masks, at ${ROWS}×${COLUMNS} (reported; warned of above ${SLOW})`,
  once: true,
  single: true,
  shape: { masks: 'none', emptyRows: false, outcome: true },
  judge(subject, batch) {
    const wide = mapTokens(
      takeRows(batch, range(ROWS).map((row) => row % batch.groupIds.length)),
      (grid, name) => grid.map((row) => range(COLUMNS).map((t) => (name === 'rewards' ? (t < COLUMNS - 1 ? 0 : row.at(-1)!) : row[t % row.length]))),
    );
    const times = tidy(() => {
      const inputs = tensorsOf(wide, { dtype: 'float32' });
      const instance = subject.create();
      const once = (body: () => void) => {
        const start = performance.now();
        body();
        return performance.now() - start;
      };
      const call = () => tidy(() => void computeAdvantages(instance, inputs, { gamma: wide.gamma, lambda: wide.lambda }));
      const source = new Float32Array(ROWS * COLUMNS);
      const copy = () => void source.slice();
      try {
        call();
        return { call: Math.min(...range(TRIES).map(() => once(call))), copy: Math.max(1e-3, Math.min(...range(20).map(() => once(copy)))) };
      } catch {
        return null;
      }
    });
    if (times === null) return null;
    const ratio = times.call / (2 * times.copy);
    const seen = `${times.call.toFixed(2)} ms, ${ratio.toPrecision(2)} copies`;
    return { cause: 'slow', seen, severity: ratio > SLOW ? 'warning' : 'note' };
  },
};

export const parallelScans: Property = {
  id: 'parallel-scans',
  title: 'Every scan is affine in its state, and runs in parallel (reported)',
  once: true,
  single: true,
  shape: { emptyRows: false },
  judge(subject, batch) {
    const reasons = new Set<string>();
    observingLoops((reason) => reasons.add(reason), () => subject.compute(batch));
    return reasons.size === 0 ? null : { cause: 'sequential-scan', seen: [...reasons].join('; '), severity: 'note' };
  },
};
