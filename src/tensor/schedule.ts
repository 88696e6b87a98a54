/**
 * Cuts a graph into steps: fused programs, tuned kernels, fills.
 *
 * Every node gets a level. Arithmetic stays on the level of its inputs, where it can run in the same pass; whatever has to be in memory first
 * (a reduction, a kernel, the base of a view) puts its readers on the next one. Nodes of one level that share an index space and
 * an input become one program. Programs of one level never depend on each other, and levels run in order.
 */
import { DisjointSets } from './disjoint_sets';
import { windowOf } from './graph';
import { Levels, SMALL, type Mode } from './levels';
import { sizeOf, type Shape } from './shape';
import { split, type Numbered } from './split';
import type { ProgramStep, Sink, Step } from './steps';

export class Scheduler extends Levels {
  run(): Step[] {
    this.settle();
    return this.steps();
  }

  private steps(): Step[] {
    const byLevel: Step[][] = [];
    const put = (level: number, step: Step) => (byLevel[level] ??= []).push(step);
    const last: Step[] = [];
    const groups = new DisjointSets();
    const sinks: (Sink & { level: number; group: number })[] = [];

    // Joins a value with all that is computed for it on its level, and with what reads the same memory. No node is walked twice on one level.
    const walked = new Set<number>();
    const join = (level: number, shape: Shape, value: number): number => {
      const group = groups.of(`${level}|n${value}`);
      const stack = [value];
      while (stack.length > 0) {
        const i = stack.pop()!;
        const node = this.nodes[i]!;
        const computed = (this.inFlight(i) && this.level[i] === level) || this.inline[i];
        if (!computed) {
          if (node.op !== 'constant') groups.union(group, groups.of(`${level}|${shape.join()}|b${this.at(windowOf(node).base)}`));
          continue;
        }
        groups.union(group, groups.of(`${level}|n${i}`));
        const key = level * this.nodes.length + i;
        if (walked.has(key)) continue;
        walked.add(key);
        stack.push(...this.inputs[i]!);
      }
      return groups.find(group);
    };

    const addSink = (level: number, sink: Sink) => {
      const { shape } = this.nodes[sink.value]!;
      const group = join(level, shape, sink.value);
      const size = sizeOf(shape);
      if (size === 1 || (size <= SMALL && this.inMemory(sink.value) && this.nodes[sink.target]!.op === 'reduce')) groups.union(group, groups.of(`${level}|${shape.join()}|small`));
      sinks.push({ ...sink, level, group });
    };

    this.nodes.forEach((node, i) => {
      if (node.op === 'kernel') {
        if (node.attributes.kernel!.last) last.push({ kind: 'kernel', node: i });
        else put(this.level[i]!, { kind: 'kernel', node: i });
      } else if (node.op === 'reduce') {
        addSink(this.level[i]! - 1, { value: this.at(node.inputs[0]!), target: i });
      } else if (node.op === 'assemble') {
        let first = this.level[i]!;
        node.inputs.forEach((part, k) => {
          const value = this.at(part);
          const level = this.partLevel(value);
          first = Math.min(first, level);
          addSink(level, { value, target: i, region: node.attributes.regions![k]! });
        });
        if (node.attributes.fill) put(first, { kind: 'fill', node: i });
      } else if (this.inline[i]) {
        if (this.mustStore[i]) addSink(this.level[i]!, { value: i, target: i });
      } else if (this.inFlight(i) && node.op !== 'loop') {
        const elsewhere = this.users[i]!.some((user) => this.useLevel(user, i) !== this.level[i]);
        if (this.mustStore[i] || elsewhere) addSink(this.level[i]!, { value: i, target: i });
      } else if (node.op === 'constant' && this.mustStore[i]) {
        addSink(0, { value: i, target: i });
      }
    });

    const collected = new Map<number, typeof sinks>();
    for (const sink of sinks) {
      const group = groups.find(sink.group);
      const list = collected.get(group);
      if (list) list.push(sink);
      else collected.set(group, [sink]);
    }
    const absorbed = new Set<number>();
    for (const list of collected.values()) this.foldAtOnce(list, absorbed);
    for (const [group, list] of collected) collected.set(group, list.filter(({ target, axes }) => axes !== undefined || !absorbed.has(target)));
    for (const list of collected.values()) if (list.length > 0) { for (const step of this.programs(list[0]!.level, list)) put(list[0]!.level, step); }
    const order = { fill: 0, program: 1, kernel: 2 };
    for (const steps of byLevel) steps?.sort((a, b) => order[a.kind] - order[b.kind]);
    return [...byLevel.flatMap((steps) => steps ?? []), ...last];
  }

  /**
   * Takes sums of sums (see `sum` in operations.ts) in one step, where no sum of the group is wanted for each row by itself and none goes with a
   * scan: then everything that is folded over all axes is one program. What is taken along is recorded in `absorbed`.
   */
  private foldAtOnce(sinks: Sink[], absorbed: Set<number>): void {
    const { shape } = this.nodes[sinks[0]!.value]!;
    const partial = sinks.filter((sink) => this.nodes[sink.target]!.op === 'reduce' && this.foldsTime(this.nodes[sink.target]!));
    const whole = partial.map((sink) => this.sumOf(sink.target, shape));
    const recurs = sinks.some((sink) => ['forward', 'reverse'].includes(this.sinkMode(sink)));
    if (recurs || whole.includes(null)) return;
    partial.forEach((sink, k) => {
      const { target, axes } = whole[k]!;
      absorbed.add(target);
      Object.assign(sink, { target, axes });
    });
  }

  /** The one fold that a sum over the last axis is made for, of its dtype or float64, if together they fold the trailing axes of `shape`; and these axes. */
  private sumOf(partial: number, shape: Shape): { target: number; axes: number[] } | null {
    const users = this.users[partial]!;
    if (users.length !== 1 || this.mustStore[partial]) return null;
    const user = this.nodes[users[0]!]!;
    const part = this.nodes[partial]!;
    if (user.op !== 'reduce' || user.attributes.reduction !== part.attributes.reduction || (user.dtype !== part.dtype && part.dtype !== 'float64')) return null;
    const axes = [...user.attributes.axes!, ...part.attributes.axes!];
    const trailing = axes.every((axis, k) => axis === shape.length - axes.length + k);
    return trailing ? { target: users[0]!, axes } : null;
  }

  /** The programs of one group: one for each way of walking its index space. */
  private programs(level: number, sinks: Sink[]): ProgramStep[] {
    const byMode = new Map<Mode, Sink[]>();
    for (const sink of sinks) {
      const mode = this.sinkMode(sink);
      const list = byMode.get(mode);
      if (list) list.push(sink);
      else byMode.set(mode, [sink]);
    }
    const scans = [...byMode.keys()].filter((mode) => mode === 'forward' || mode === 'reverse');
    const shape = this.nodes[sinks[0]!.value]!.shape;
    const overTime: Mode = `axes:${shape.length - 1}`;
    if (scans.length === 1 && byMode.has(overTime)) {
      byMode.get(scans[0]!)!.push(...byMode.get(overTime)!);
      byMode.delete(overTime);
    }
    const plain = byMode.get('none') ?? [];
    byMode.delete('none');
    const steps: ProgramStep[] = [];
    for (const [mode, own] of byMode) steps.push(this.program(level, shape, mode, own));
    // Plain stores go with the program that computes the most of what they need anyway.
    const rest: Sink[] = [];
    const computed = steps.map((step) => new Set(step.nodes));
    for (const sink of plain) {
      const needed = steps.length > 1 ? this.closure(level, [sink]) : [];
      const shared = computed.map((nodes) => needed.filter((i) => nodes.has(i)).length);
      const home = steps.length > 1 && Math.max(...shared) === 0 ? undefined : steps[shared.indexOf(Math.max(...shared))];
      if (home) home.sinks.push(sink);
      else rest.push(sink);
    }
    for (const step of steps) step.nodes = this.closure(level, step.sinks);
    if (rest.length > 0) steps.push(this.program(level, shape, 'none', rest));
    const graph: Numbered = { nodes: this.nodes, inputs: this.inputs, users: this.users };
    return steps.flatMap((step) => split(step, graph));
  }

  private sinkMode(sink: Sink): Mode {
    const target = this.nodes[sink.target]!;
    if (sink.axes) return `axes:${sink.axes.join()}`;
    if (target.op === 'reduce') return this.mode[sink.target]!;
    return this.inFlight(sink.value) ? this.mode[sink.value]! : 'none';
  }

  private program(level: number, shape: Shape, mode: Mode, sinks: Sink[]): ProgramStep {
    const scan = mode === 'forward' || mode === 'reverse' ? mode : null;
    const axes = mode.startsWith('axes:') ? mode.slice(5).split(',').map(Number) : null;
    return { kind: 'program', shape, axes, scan, nodes: this.closure(level, sinks), sinks };
  }

  /** The nodes that a program computes for its sinks, in order. */
  private closure(level: number, sinks: readonly Sink[]): number[] {
    const wanted = new Set<number>();
    const stack = sinks.map((sink) => sink.value);
    while (stack.length > 0) {
      const i = stack.pop()!;
      if (wanted.has(i) || !(this.inline[i] || (this.inFlight(i) && this.level[i] === level))) continue;
      wanted.add(i);
      stack.push(...this.inputs[i]!);
    }
    return [...wanted].sort((a, b) => a - b);
  }
}
