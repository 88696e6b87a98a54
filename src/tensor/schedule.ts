/**
 * Cuts a graph into steps: fused programs, tuned kernels, fills.
 *
 * Every node gets a level. Arithmetic stays on the level of its inputs, where it can run in the same pass; whatever has to be in memory first
 * (a reduction, a kernel, the base of a view) puts its readers on the next one. Nodes of one level that share an index space and
 * an input become one program. Programs of one level never depend on each other, and levels run in order.
 */
import { DisjointSets } from './disjoint_sets';
import { dtypes } from './dtype';
import { windowOf, type Node } from './graph';
import { sizeOf, type Shape } from './shape';
import { split, type Numbered } from './split';
import type { ProgramStep, Sink, Step } from './steps';

/** Operations cheap enough to repeat wherever their result is used, if their operand is in memory. */
const cheap = new Set(['cast', 'add', 'sub', 'mul', 'neg', 'not_', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'square']);

/** An operand that is so many times smaller than the result (a mean, say) costs nothing to read again. */
const SMALL_OPERAND = 16;
/** Sums of so many partial results, and arithmetic on single numbers, cost a launch and no more: those of one level share it. */
const SMALL = 65536;

type Mode = 'none' | 'forward' | 'reverse' | `axes:${string}`;

export class Scheduler {
  private readonly index = new Map<Node, number>();
  /** Level on which a node is computed (arithmetic), or from which it can be read (all others). */
  private readonly level: number[];
  private readonly mode: Mode[];
  private readonly mustStore: boolean[];
  private readonly users: number[][];
  private readonly inputs: number[][];
  private readonly arithmetic: boolean[];
  private readonly inline: boolean[];

  constructor(
    private readonly nodes: readonly Node[],
    private readonly roots: readonly Node[],
  ) {
    const count = nodes.length;
    nodes.forEach((node, i) => this.index.set(node, i));
    this.level = new Array<number>(count).fill(0);
    this.mode = new Array<Mode>(count).fill('none');
    this.mustStore = new Array<boolean>(count).fill(false);
    this.arithmetic = new Array<boolean>(count).fill(false);
    this.inline = new Array<boolean>(count).fill(false);
    this.users = nodes.map(() => []);
    this.inputs = nodes.map((node) => node.inputs.map((input) => this.at(input)));
  }

  run(): Step[] {
    this.classify();
    for (let i = 0; i < this.nodes.length; i++) this.assignLevel(i);
    this.sink();
    this.repeat();
    return this.steps();
  }

  private at(node: Node): number {
    return this.index.get(node)!;
  }

  private classify(): void {
    this.nodes.forEach((node, i) => {
      const ofLoop = node.op === 'output' && node.inputs[0]!.op === 'loop';
      this.arithmetic[i] = ofLoop || !['buffer', 'constant', 'view', 'reduce', 'assemble', 'kernel', 'output'].includes(node.op);
      for (const j of this.inputs[i]!) {
        this.users[j]!.push(i);
        if (node.op === 'view' || node.op === 'kernel') this.mustStore[j] = true;
      }
      const operands = node.inputs.filter((input) => input.op !== 'constant');
      this.inline[i] = cheap.has(node.op) && operands.length === 1 && this.inMemory(this.at(operands[0]!));
    });
    for (const root of this.roots) this.mustStore[this.at(root)] = true;
  }

  /** Whether readers take this node from memory, and not from a register of their own program. */
  private inMemory(i: number): boolean {
    return !this.arithmetic[i] && this.nodes[i]!.op !== 'constant';
  }

  /** The level on which a node can be read from memory. */
  private available(i: number): number {
    return this.arithmetic[i] ? this.level[i]! + 1 : this.level[i]!;
  }

  /** Whether `user` can read `i` from a register, if both are on one level. */
  private inFlight(i: number): boolean {
    return this.arithmetic[i]! && !this.inline[i];
  }

  private assignLevel(i: number): void {
    const node = this.nodes[i]!;
    const inputs = this.inputs[i]!;
    switch (node.op) {
      case 'buffer':
      case 'constant':
        return;
      case 'view':
      case 'kernel':
        this.level[i] = Math.max(0, ...inputs.map((j) => this.available(j)));
        return;
      case 'assemble':
        // Parts are stored by the programs that compute them; readers wait for the last one.
        this.level[i] = Math.max(0, ...inputs.map((j) => this.partLevel(j))) + 1;
        return;
      case 'output':
        if (!this.arithmetic[i]) {
          this.level[i] = this.level[inputs[0]!]! + 1;
          return;
        }
    }
    if (this.inline[i]) {
      this.level[i] = Math.max(0, ...inputs.map((j) => this.available(j)));
      return;
    }
    const own = this.ownMode(node);
    let level = 0;
    for (const j of inputs) level = Math.max(level, this.inFlight(j) ? this.level[j]! : this.readLevel(j));
    const joined = this.joinModes(own, inputs.filter((j) => this.inFlight(j) && this.level[j] === level), node);
    if (joined === null) level += 1;
    this.mode[i] = joined ?? own;
    // A reduction is read from memory, one level after it is computed.
    this.level[i] = node.op === 'reduce' ? level + 1 : level;
  }

  /** The level on which a node that is not in flight can be used as an operand. */
  private readLevel(j: number): number {
    return this.inline[j] ? this.level[j]! : this.available(j);
  }

  private partLevel(j: number): number {
    return this.inFlight(j) ? this.level[j]! : this.readLevel(j);
  }

  private ownMode(node: Node): Mode {
    if (node.op === 'scan' || node.op === 'scan_prev' || node.op === 'loop') return node.attributes.reverse ? 'reverse' : 'forward';
    if (node.op === 'reduce') return `axes:${node.attributes.axes!.join()}`;
    return 'none';
  }

  /** One mode for a node and the inputs it is fused with, or null where they cannot run in one pass. */
  private joinModes(own: Mode, fused: number[], node: Node): Mode | null {
    let mode: Mode = own;
    for (const j of fused) {
      const other = this.mode[j]!;
      if (other === 'none' || other === mode) continue;
      if (mode === 'none') mode = other;
      else if (node.op === 'reduce' && mode === own && this.foldsTime(node) && !other.startsWith('axes')) mode = other;
      else return null;
    }
    return mode;
  }

  private foldsTime(reduceNode: Node): boolean {
    const axes = reduceNode.attributes.axes!;
    return axes.length === 1 && axes[0] === reduceNode.shape.length - 1;
  }

  /**
   * Moves arithmetic whose results are only used later to where they are used, where that stores fewer bytes: connected nodes of one level
   * together, for what they read from registers against what they leave behind.
   */
  private sink(): void {
    const byLevel: number[][] = [];
    const movable = new Array<boolean>(this.nodes.length).fill(false);
    for (let i = this.nodes.length - 1; i >= 0; i--) {
      if (!this.inFlight(i) || this.mustStore[i] || this.mode[i] !== 'none' || this.users[i]!.length === 0) continue;
      movable[i] = this.users[i]!.every((user) => this.useLevel(user, i) > this.level[i]! || (movable[user]! && this.level[user] === this.level[i]));
      if (movable[i]) (byLevel[this.level[i]!] ??= []).push(i);
    }
    // The last level first: what moves there may be what an earlier level's nodes are used by.
    for (const [level, members] of [...byLevel.entries()].reverse()) {
      const seen = new Set<number>();
      for (const start of members ?? []) {
        const component = this.connected(start, seen, (j) => movable[j]! && this.level[j] === level);
        if (this.gains(component, level)) for (const i of component.sort((a, b) => b - a)) this.level[i] = Math.min(...this.users[i]!.map((user) => this.useLevel(user, i)));
      }
    }
  }

  /** The nodes that hang together with `start` by operands and users that qualify. */
  private connected(start: number, seen: Set<number>, qualifies: (i: number) => boolean): number[] {
    const found: number[] = [];
    const stack = [start];
    while (stack.length > 0) {
      const i = stack.pop()!;
      if (seen.has(i) || !qualifies(i)) continue;
      seen.add(i);
      found.push(i);
      stack.push(...this.inputs[i]!, ...this.users[i]!);
    }
    return found;
  }

  /** Whether a component read later stores no more than the same component computed now. */
  private gains(component: readonly number[], level: number): boolean {
    const inside = new Set(component);
    const elsewhere = (i: number) => this.users[i]!.some((user) => !inside.has(user) && this.useLevel(user, i) > level);
    const bytes = (i: number) => dtypes[this.nodes[i]!.dtype].bytes;
    const operands = new Set(component.flatMap((i) => this.inputs[i]!));
    let stored = 0;
    for (const j of operands) if (!inside.has(j) && this.inFlight(j) && !this.mustStore[j] && !elsewhere(j)) stored += bytes(j);
    for (const i of component) if (elsewhere(i)) stored -= bytes(i);
    return stored <= 0;
  }

  /**
   * Repeats cheap arithmetic on later levels instead of storing it, where what it reads is in memory: a difference to a mean, say, from the array
   * and the mean. No more than one operand may be of the result's size: reading that one is reading what would have been stored.
   */
  private repeat(): void {
    this.nodes.forEach((node, i) => {
      if (!cheap.has(node.op) || !this.inFlight(i) || this.mustStore[i] || this.mode[i] !== 'none') return;
      if (this.users[i]!.every((user) => this.useLevel(user, i) === this.level[i])) return;
      const operands = this.inputs[i]!.filter((j) => this.nodes[j]!.op !== 'constant');
      const inRegisters = operands.some((j) => this.inFlight(j) && this.level[j] === this.level[i]);
      const large = operands.filter((j) => windowOf(this.nodes[j]!).base.size * SMALL_OPERAND > node.size);
      if (!inRegisters && large.length <= 1) this.inline[i] = true;
    });
  }

  private useLevel(user: number, value: number): number {
    const node = this.nodes[user]!;
    if (node.op === 'reduce') return this.level[user]! - 1;
    if (node.op === 'assemble') return this.level[value]!;
    return this.level[user]!;
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
    for (const list of collected.values()) if (list.length > 0) for (const step of this.programs(list[0]!.level, list)) put(list[0]!.level, step);
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

  /** The one fold that a sum over the last axis is made for, if together they fold the trailing axes of `shape`; and these axes. */
  private sumOf(partial: number, shape: Shape): { target: number; axes: number[] } | null {
    const users = this.users[partial]!;
    if (users.length !== 1 || this.mustStore[partial]) return null;
    const user = this.nodes[users[0]!]!;
    const part = this.nodes[partial]!;
    if (user.op !== 'reduce' || user.attributes.reduction !== part.attributes.reduction || user.dtype !== part.dtype) return null;
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
