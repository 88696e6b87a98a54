/** When each node of a graph is computed, and what is computed twice instead of stored. See schedule.ts. */
import { dtypes } from './dtype';
import { windowOf, type Node } from './graph';

/** Operations cheap enough to repeat wherever their result is used, if their operand is in memory. */
const cheap = new Set(['cast', 'add', 'sub', 'mul', 'neg', 'not_', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'square', 'where']);

/** An operand that is so many times smaller than the result (a mean, say) costs nothing to read again. */
const SMALL_OPERAND = 16;
/** Sums of so many partial results, and arithmetic on single numbers, cost a launch and no more: those of one level share it. */
export const SMALL = 65536;

export type Mode = 'none' | 'forward' | 'reverse' | `axes:${string}`;

/** The levels of a graph: settled once, by the scheduler. */
export class Levels {
  private readonly index = new Map<Node, number>();
  /** Level on which a node is computed (arithmetic), or from which it can be read (all others). */
  protected readonly level: number[];
  /** Levels before which a node is not computed. */
  private readonly floor: number[];
  protected readonly mode: Mode[];
  protected readonly mustStore: boolean[];
  protected readonly users: number[][];
  protected readonly inputs: number[][];
  private readonly arithmetic: boolean[];
  protected readonly inline: boolean[];

  constructor(
    protected readonly nodes: readonly Node[],
    private readonly roots: readonly Node[],
  ) {
    const count = nodes.length;
    nodes.forEach((node, i) => this.index.set(node, i));
    this.level = new Array<number>(count).fill(0);
    this.floor = new Array<number>(count).fill(0);
    this.mode = new Array<Mode>(count).fill('none');
    this.mustStore = new Array<boolean>(count).fill(false);
    this.arithmetic = new Array<boolean>(count).fill(false);
    this.inline = new Array<boolean>(count).fill(false);
    this.users = nodes.map(() => []);
    this.inputs = nodes.map((node) => node.inputs.map((input) => this.at(input)));
  }

  protected settle(): void {
    this.classify();
    this.assignLevels();
    if (this.defer()) this.assignLevels();
    this.sink();
    this.repeat();
    this.gatherNumbers();
  }

  protected at(node: Node): number {
    return this.index.get(node)!;
  }

  private classify(): void {
    // Arithmetic on constants alone is computed wherever it is used: on a level of its own it would tie together what has one factor, and cut programs by where inputs come from.
    const fixed = new Array<boolean>(this.nodes.length).fill(false);
    this.nodes.forEach((node, i) => {
      const ofLoop = node.op === 'output' && node.inputs[0]!.op === 'loop';
      this.arithmetic[i] = ofLoop || !['buffer', 'constant', 'view', 'reduce', 'assemble', 'kernel', 'output'].includes(node.op);
      for (const j of this.inputs[i]!) {
        this.users[j]!.push(i);
        if (node.op === 'view' || node.op === 'kernel') this.mustStore[j] = true;
      }
      const operands = this.inputs[i]!.filter((j) => this.nodes[j]!.op !== 'constant' && !fixed[j]);
      fixed[i] = this.arithmetic[i]! && !ofLoop && node.inputs.length > 0 && operands.length === 0 && this.ownMode(node) === 'none' && node.op !== 'loop';
      this.inline[i] = fixed[i]! || (cheap.has(node.op) && operands.length === 1 && this.inMemory(operands[0]!));
    });
    for (const root of this.roots) this.mustStore[this.at(root)] = true;
  }

  /** Whether readers take this node from memory, and not from a register of their own program. */
  protected inMemory(i: number): boolean {
    return !this.arithmetic[i] && this.nodes[i]!.op !== 'constant';
  }

  /** The level on which a node can be read from memory. */
  private available(i: number): number {
    return this.arithmetic[i] ? this.level[i]! + 1 : this.level[i]!;
  }

  /** Whether `user` can read `i` from a register, if both are on one level. */
  protected inFlight(i: number): boolean {
    return this.arithmetic[i]! && !this.inline[i];
  }

  private assignLevels(): void {
    for (let i = 0; i < this.nodes.length; i++) this.assignLevel(i);
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
    let level = this.floor[i]!;
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

  protected partLevel(j: number): number {
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

  protected foldsTime(reduceNode: Node): boolean {
    const axes = reduceNode.attributes.axes!;
    return axes.length === 1 && axes[0] === reduceNode.shape.length - 1;
  }

  /**
   * Puts off sums that nothing waits for (what a loss reports beside its gradient) and the arithmetic before them, until what they have in common with a later
   * pass is computed there anyway, where that stores fewer bytes. Whether a level changed.
   */
  private defer(): boolean {
    const small = (i: number) => this.nodes[i]!.size <= SMALL;
    const free = new Array<boolean>(this.nodes.length).fill(true);
    const movable = new Array<boolean>(this.nodes.length).fill(false);
    for (let i = this.nodes.length - 1; i >= 0; i--) {
      free[i] = this.users[i]!.every((user) => free[user]! && small(user));
      if (!this.inFlight(i) || this.mustStore[i] || this.mode[i] !== 'none' || this.users[i]!.length === 0 || small(i)) continue;
      movable[i] = this.users[i]!.every((user) => {
        if (this.nodes[user]!.op === 'reduce' && this.useLevel(user, i) === this.level[i]) return free[user]! && small(user);
        return this.useLevel(user, i) > this.level[i]! || (movable[user]! && this.level[user] === this.level[i]);
      });
    }
    let changed = false;
    const seen = new Set<number>();
    for (let start = 0; start < this.nodes.length; start++) {
      if (!movable[start] || seen.has(start)) continue;
      const level = this.level[start]!;
      const component = this.connected(start, seen, (j) => movable[j]! && this.level[j] === level);
      const later = component.flatMap((i) => this.users[i]!.map((user) => this.useLevel(user, i)).filter((use) => use > level));
      const folds = component.some((i) => this.users[i]!.some((user) => this.useLevel(user, i) === level && this.nodes[user]!.op === 'reduce'));
      if (!folds || later.length === 0 || !this.gains(component, level)) continue;
      const target = Math.min(...later);
      for (const i of component) this.floor[i] = target;
      changed = true;
    }
    return changed;
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
        if (this.gains(component, level)) { for (const i of component.sort((a, b) => b - a)) this.level[i] = Math.min(...this.users[i]!.map((user) => this.useLevel(user, i))); }
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
   * and the mean. No more than one operand may be of the result's size: reading that one is reading what would have been stored. Others may be there where reading them
   * moves fewer bytes than storing the result: the mask beside an array.
   */
  private repeat(): void {
    const bytes = (i: number) => dtypes[this.nodes[i]!.dtype].bytes;
    this.nodes.forEach((node, i) => {
      if (!cheap.has(node.op) || !this.inFlight(i) || this.mustStore[i] || this.mode[i] !== 'none') return;
      if (this.users[i]!.every((user) => this.useLevel(user, i) === this.level[i])) return;
      const operands = this.inputs[i]!.filter((j) => this.nodes[j]!.op !== 'constant');
      const inRegisters = operands.some((j) => this.inFlight(j) && this.level[j] === this.level[i]);
      const large = operands.filter((j) => windowOf(this.nodes[j]!).base.size * SMALL_OPERAND > node.size);
      const read = large.reduce((sum, j) => sum + bytes(j), 0);
      if (!inRegisters && (large.length <= 1 || read < 2 * bytes(i))) this.inline[i] = true;
    });
  }

  /** Puts arithmetic on single numbers that nothing waits for on the last level that has any: one launch for all that a step reports. */
  private gatherNumbers(): void {
    const isNumber = (i: number) => this.inFlight(i) && this.nodes[i]!.size === 1 && this.mode[i] === 'none';
    let last = 0;
    this.nodes.forEach((_, i) => {
      if (isNumber(i)) last = Math.max(last, this.level[i]!);
    });
    // Other numbers take it from a register; whatever is larger reads it from memory, in a later launch.
    const waits = (user: number, i: number) => (isNumber(user) ? this.useLevel(user, i) >= last : this.useLevel(user, i) > last);
    for (let i = this.nodes.length - 1; i >= 0; i--) if (isNumber(i) && this.users[i]!.every((user) => waits(user, i))) this.level[i] = last;
  }

  protected useLevel(user: number, value: number): number {
    const node = this.nodes[user]!;
    if (node.op === 'reduce') return this.level[user]! - 1;
    if (node.op === 'assemble') return this.level[value]!;
    return this.level[user]!;
  }
}
