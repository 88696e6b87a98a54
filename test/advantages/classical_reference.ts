/** Classical returns as sums over what lies ahead, in plain float64 loops: each row is first cut down to its valid steps. */
import { generator } from './reference';

export interface Steps {
  rewards: number[][];
  values: number[][];
  /** V of the state behind truncated steps and behind the row. */
  bootstrap: number[][];
  terminated: number[][];
  truncated: number[][];
  gammas: number[][];
  lambdas: number[][];
  ratios: number[][];
  actionValues: number[][];
  traces: number[][];
  masks: number[][];
}

/** Ragged rows with holes, one of them fully masked, ends of episodes inside. */
export function randomSteps(seed: number, { offset = 0 } = {}): Steps {
  const random = generator(seed);
  const [batch, time] = [5 + Math.floor(random() * 5), 1 + Math.floor(random() * 25)];
  const grid = (f: () => number) => Array.from({ length: batch }, () => Array.from({ length: time }, f));
  const number = (from: number, to: number) => () => Math.round((from + random() * (to - from)) * 256) / 256;
  const flag = (p: number) => () => (random() < p ? 1 : 0);
  const masks = grid(flag(0.75)).map((row, b) => (b === 3 ? row.map(() => 0) : row));
  return {
    rewards: grid(number(-2, 2)).map((row) => row.map((x) => x + offset)),
    values: grid(number(-1, 1)).map((row) => row.map((x) => x + offset)),
    bootstrap: grid(number(-1, 1)).map((row) => row.map((x) => x + offset)),
    terminated: grid(flag(0.1)),
    truncated: grid(flag(0.1)),
    gammas: grid(number(0.5, 1)),
    lambdas: grid(number(0, 1)),
    ratios: grid(number(0.2, 3)),
    actionValues: grid(number(-1, 1)),
    traces: grid(number(0, 1)),
    masks,
  };
}

/** One step of an episode; `next` is the value behind it, `goesOn` whether a step of the same episode comes after it. */
interface Step {
  r: number;
  v: number;
  next: number;
  goesOn: boolean;
  gamma: number;
  lambda: number;
  rho: number;
  q: number;
  c: number;
}

/** Calls `answer(steps, t)` for each valid position of each row, steps being the valid ones of the row; 0 at masked positions. */
function rows(all: Steps, answer: (steps: Step[], t: number) => number): number[][] {
  return all.masks.map((mask, b) => {
    const at = mask.flatMap((m, t) => (m ? [t] : []));
    const steps = at.map((t, i): Step => {
      const last = i === at.length - 1;
      const [ended, cut] = [all.terminated[b]![t]!, all.truncated[b]![t]!];
      return {
        r: all.rewards[b]![t]!,
        v: all.values[b]![t]!,
        next: ended ? 0 : cut || last ? all.bootstrap[b]![t]! : all.values[b]![at[i + 1]!]!,
        goesOn: !(ended || cut || last),
        gamma: all.gammas[b]![t]!,
        lambda: all.lambdas[b]![t]!,
        rho: all.ratios[b]![t]!,
        q: all.actionValues[b]![t]!,
        c: all.traces[b]![t]!,
      };
    });
    return mask.map((m, t) => (m ? answer(steps, at.indexOf(t)) : 0));
  });
}

/** Σ_k x_{t+k}·Π_{i<k} factor(step i, step i+1), to the end of the episode. */
function ahead(steps: Step[], t: number, x: (s: Step) => number, factor: (s: Step, after: Step) => number): number {
  let [sum, weight] = [0, 1];
  for (let k = t;; k++) {
    sum += weight * x(steps[k]!);
    if (!steps[k]!.goesOn) return sum;
    weight *= factor(steps[k]!, steps[k + 1]!);
  }
}

const delta = (s: Step) => s.r + s.gamma * s.next - s.v;

export const td0 = (all: Steps) => rows(all, (steps, t) => steps[t]!.r + steps[t]!.gamma * steps[t]!.next);

/** Rewards to the end of the episode, and the value behind it. */
export const td1 = (all: Steps) => rows(all, (steps, t) => ahead(steps, t, (s) => s.r + (s.goesOn ? 0 : s.gamma * s.next), (s) => s.gamma));

export const lambdaReturn = (all: Steps) => rows(all, (steps, t) => ahead(steps, t, (s) => s.r + s.gamma * s.next * (s.goesOn ? 1 - s.lambda : 1), (s) => s.gamma * s.lambda));

/** With λ = 1: n rewards, then the value. */
export const nStep = (all: Steps, n: number) =>
  rows(all, (steps, t) => {
    let [sum, weight] = [0, 1];
    for (let k = t;; k++) {
      const s = steps[k]!;
      sum += weight * s.r;
      weight *= s.gamma;
      if (!s.goesOn || k === t + n - 1) return sum + weight * s.next;
    }
  });

export const gae = (all: Steps) => rows(all, (steps, t) => ahead(steps, t, delta, (s) => s.gamma * s.lambda));

export const offPolicy = (all: Steps) => rows(all, (steps, t) => steps[t]!.q + ahead(steps, t, (s) => s.r + s.gamma * s.next - s.q, (s, after) => s.gamma * after.c));

export const retrace = (all: Steps) => rows(all, (steps, t) => steps[t]!.q + ahead(steps, t, (s) => s.r + s.gamma * s.next - s.q, (s, after) => s.gamma * after.lambda * Math.min(1, after.rho)));

export const importanceCorrected = (all: Steps) => rows(all, (steps, t) => steps[t]!.rho * ahead(steps, t, delta, (s, after) => s.gamma * s.lambda * after.rho));

export interface Clips {
  clipRho: number;
  clipC: number;
  clipPgRho: number;
  alpha: number;
}

export function vtrace(all: Steps, { clipRho, clipC, clipPgRho, alpha }: Clips) {
  const clip = (rho: number, bound: number) => (1 - alpha) * rho + alpha * Math.min(bound, rho);
  const errorAt = (steps: Step[], t: number) => ahead(steps, t, (s) => clip(s.rho, clipRho) * delta(s), (s) => s.gamma * s.lambda * clip(s.rho, clipC));
  const q = (steps: Step[], t: number) => {
    const s = steps[t]!;
    return s.r + s.gamma * (s.goesOn ? s.next + s.lambda * errorAt(steps, t + 1) : s.next);
  };
  return {
    errors: rows(all, errorAt),
    targets: rows(all, (steps, t) => steps[t]!.v + errorAt(steps, t)),
    qEstimates: rows(all, q),
    advantages: rows(all, (steps, t) => clip(steps[t]!.rho, clipPgRho) * (q(steps, t) - steps[t]!.v)),
  };
}

export interface Normalization {
  meanLevel: 'batch' | 'group' | 'none';
  stdLevel: 'batch' | 'group' | 'none';
  leaveOneOut: boolean;
  ddof: 0 | 1;
  epsilon: number;
}

export function normalized(x: number[][], masks: number[][], groups: (string | number)[], { meanLevel, stdLevel, leaveOneOut, ddof, epsilon }: Normalization): number[][] {
  const places = masks.flatMap((row, b) => row.flatMap((m, t) => (m ? [[b, t] as const] : [])));
  const peers = (level: string, b: number) => places.filter(([other]) => level === 'batch' || groups[other] === groups[b]);
  const alone = (level: string, b: number) => level === 'group' && groups.filter((id) => id === groups[b]).length === 1;
  const centred = x.map((row) => row.map(() => 0));
  for (const [b, t] of places) {
    let mean = 0;
    if (meanLevel !== 'none') {
      const among = peers(meanLevel, b).filter(([i, j]) => !leaveOneOut || i !== b || j !== t);
      const none = among.length === 0 || (leaveOneOut && alone(meanLevel, b));
      mean = none ? 0 : among.reduce((sum, [i, j]) => sum + x[i]![j]!, 0) / among.length;
    }
    centred[b]![t] = x[b]![t]! - mean;
  }
  const result = x.map((row) => row.map(() => 0));
  for (const [b, t] of places) {
    const among = peers(stdLevel, b);
    const square = among.reduce((sum, [i, j]) => sum + centred[i]![j]! ** 2, 0);
    const std = ddof === 1 && (among.length <= 1 || alone(stdLevel, b)) ? 1 : Math.sqrt(square / (among.length - ddof));
    result[b]![t] = stdLevel === 'none' ? centred[b]![t]! : centred[b]![t]! / (std + epsilon);
  }
  return result;
}
