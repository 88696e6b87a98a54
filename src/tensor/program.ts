/** Writes the words of one fused program (native/core/program.h): its index space, views, instructions and outputs. */
import { nativeDescription } from '../native';
import { dtypes, registerCodes, type DType, type RegisterType } from './dtype';
import type { LoopBody, Node } from './graph';
import { contiguousStrides, sizeOf, type Shape } from './shape';
import type { ProgramStep } from './steps';

/** Where an operand of a program lies. Strides are over the node's shape. */
export interface Place {
  slot: number;
  dtype: DType;
  offset: number;
  strides: Shape;
}

/** What the writer asks of the plan it belongs to. */
export interface PlanContext {
  nodes: readonly Node[];
  indexOf(node: Node): number;
  /** Where a node that is in memory can be read. */
  place(node: Node): Place;
  /** The buffer that receives a node's value. */
  slotOf(index: number): number;
  /** The run-time scalar of a constant node. */
  scalarOf(node: Node): number;
  /** A scalar whose value belongs to the plan. */
  fixedScalar(value: number): number;
}

/** A program, ready to be written and to be shown. */
export interface WrittenProgram {
  words: number[];
  slotsRead: number[];
  slotsWritten: number[];
  text: string;
}

interface Instruction {
  op: number;
  type: RegisterType;
  operands: number[];
  /** Operands that are registers (the others are indices of views and scalars, or codes). */
  registers: number;
  name: string;
  note?: string;
}

const reductionCodes = { store: 0, sum: 1, product: 2, maximum: 3, minimum: 4, spread: 5 } as const;

const opcodes = new Map<string, number>();

function opcode(name: string): number {
  if (opcodes.size === 0) {
    const { ops, instructions, firstInstruction } = nativeDescription();
    for (const [op, code] of Object.entries(ops)) opcodes.set(op, code);
    instructions.forEach((row, i) => opcodes.set(row.name, firstInstruction + i));
  }
  return opcodes.get(name)!;
}

const compares = new Set(['eq', 'ne', 'lt', 'le', 'gt', 'ge', 'isnan', 'isfinite']);

export class ProgramWriter {
  private readonly views: Place[] = [];
  private readonly viewKeys = new Map<string, number>();
  private readonly instructions: Instruction[] = [];
  private readonly computed = new Map<Node, number>();
  private readonly loads = new Map<string, number>();
  private readonly outputs: { reduction: keyof typeof reductionCodes; type: RegisterType; register: number; view: number }[] = [];
  private readonly within: Set<number>;
  private readonly emitted = new Map<string, number>();
  private inLoop = false;
  /** For each instruction of a loop's block, the block's last one: what the block reads must stay until then. */
  private readonly blockEnd = new Map<number, number>();

  constructor(
    private readonly step: ProgramStep,
    private readonly context: PlanContext,
  ) {
    this.within = new Set(step.nodes);
  }

  write(): WrittenProgram {
    const { nodes } = this.context;
    for (const i of this.step.nodes) this.compute(nodes[i]!);
    for (const { value, target, region, axes } of this.step.sinks) {
      const node = nodes[value]!;
      const register = this.operand(node);
      const receiver = nodes[target]!;
      const reduction = receiver.op === 'reduce' ? receiver.attributes.reduction! : 'store';
      const own = receiver.op === 'reduce' ? foldedStrides(receiver.shape, axes ?? receiver.attributes.axes!) : contiguousStrides(node.shape);
      const place = { slot: this.context.slotOf(target), dtype: receiver.dtype, offset: region?.offset ?? 0, strides: region?.strides ?? own };
      this.outputs.push({ reduction, type: dtypes[node.dtype].register, register, view: this.view(place) });
    }
    return this.assemble();
  }

  /** Appends an instruction, or finds the one that does the same. What a loop's block computes stays in it. */
  private emit(name: string, type: RegisterType, operands: number[], registers = operands.length, note?: string): number {
    const key = `${name}|${type}|${operands.join()}`;
    const known = this.inLoop ? undefined : this.emitted.get(key);
    if (known !== undefined) return known;
    const register = this.instructions.push({ op: opcode(name), type, operands, registers, name, note }) - 1;
    if (!this.inLoop) this.emitted.set(key, register);
    return register;
  }

  private view(place: Place): number {
    const key = `${place.slot}|${place.dtype}|${place.offset}|${place.strides.join()}`;
    let index = this.viewKeys.get(key);
    if (index === undefined) {
      index = this.views.push(place) - 1;
      this.viewKeys.set(key, index);
    }
    return index;
  }

  /** The register that holds a node's value. */
  private operand(node: Node): number {
    const known = this.computed.get(node);
    if (known !== undefined) return known;
    const type = dtypes[node.dtype].register;
    let register: number;
    if (node.op === 'constant') {
      register = this.emit('constant', type, [this.context.scalarOf(node)], 0, `${node.attributes.value}`);
    } else {
      register = this.load(this.context.place(node), type);
    }
    this.computed.set(node, register);
    return register;
  }

  private load(place: Place, type: RegisterType): number {
    const view = this.view(place);
    const key = `${view}|${type}`;
    let register = this.loads.get(key);
    if (register === undefined) {
      register = this.emit('load', type, [view], 0);
      this.loads.set(key, register);
    }
    return register;
  }

  private compute(node: Node): void {
    if (this.computed.has(node)) return;
    if (node.op === 'output') {
      this.computed.set(node, this.loopRegisters.get(node.inputs[0]!)![node.attributes.index!]!);
    } else if (node.op === 'loop') {
      this.computeLoop(node);
    } else if (node.op === 'cast' && !this.within.has(this.context.indexOf(node.inputs[0]!)) && node.inputs[0]!.op !== 'constant') {
      // A load converts on its way.
      const place = this.context.place(node.inputs[0]!);
      const type = dtypes[node.dtype].register;
      const direct = node.dtype !== 'bool' && node.dtype !== 'uint8';
      this.computed.set(node, direct || place.dtype === node.dtype || place.dtype === 'bool' ? this.load(place, type) : this.convert(this.operand(node.inputs[0]!), node.inputs[0]!.dtype, node.dtype));
    } else {
      const operands = node.inputs.map((input) => this.operand(input));
      this.computed.set(node, this.arithmetic(node, operands));
    }
  }

  private arithmetic(node: Node, operands: number[]): number {
    if (node.op === 'cast') return this.convert(operands[0]!, node.inputs[0]!.dtype, node.dtype);
    const type = dtypes[compares.has(node.op) ? node.inputs[0]!.dtype : node.dtype].register;
    if ((node.op === 'and_' || node.op === 'or_') && operands[0] === operands[1]) return operands[0]!;
    if (node.op !== 'where') return this.emit(node.op, type, operands);
    // Of a choice between choices by the same condition only one side of each counts: masked values are masked again.
    const [test, ...sides] = operands as [number, number, number];
    const chosen = sides.map((side, k) => {
      const { name, operands } = this.instructions[side]!;
      return name === 'where' && operands[0] === test ? operands[1 + k]! : side;
    });
    const [, value, otherwise] = node.inputs as [Node, Node, Node];
    const truth = value.dtype === 'bool' || (value.op === 'cast' && value.dtype === 'int32' && value.inputs[0]!.dtype === 'bool');
    if (truth && otherwise.op === 'constant' && otherwise.attributes.value === 0) return this.emit('and_', type, [test, chosen[0]!]);
    return chosen[0] === chosen[1] ? chosen[0]! : this.emit('where', type, [test, ...chosen]);
  }

  private convert(register: number, from: DType, to: DType): number {
    const source = dtypes[from].register;
    const target = dtypes[to].register;
    if (to === 'bool') {
      if (from === 'bool') return register;
      return this.emit('ne', source, [register, this.emit('constant', source, [this.context.fixedScalar(0)], 0)]);
    }
    const converted = source === target ? register : this.emit('cast', target, [register, registerCodes[source]], 1);
    if (to !== 'uint8' || from === 'uint8' || from === 'bool') return converted;
    const zero = this.emit('constant', target, [this.context.fixedScalar(0)], 0);
    const most = this.emit('constant', target, [this.context.fixedScalar(255)], 0);
    return this.emit('minimum', target, [this.emit('maximum', target, [converted, zero]), most]);
  }

  /** For each loop node: the registers of its states after a step, then before it. */
  private readonly loopRegisters = new Map<Node, number[]>();

  private computeLoop(node: Node): void {
    const body: LoopBody = node.attributes.loop!;
    const external = node.inputs.map((input) => this.operand(input));
    const registers = new Map<Node, number>();
    body.inputs.forEach((symbol, k) => registers.set(symbol, external[k]!));
    const order = bodyOrder(body);
    for (const inner of order) {
      if (inner.op === 'constant') {
        registers.set(inner, this.emit('constant', dtypes[inner.dtype].register, [this.context.fixedScalar(inner.attributes.value!)], 0));
      }
    }
    this.inLoop = true;
    const start = this.emit('loop', 'float32', [0, 0], 0);
    const states = body.states.map((symbol, k) => {
      const register = this.emit('state', dtypes[symbol.dtype].register, [-1, -1, external[body.inputs.length + k]!], 0);
      registers.set(symbol, register);
      return register;
    });
    for (const inner of order) {
      if (registers.has(inner)) continue;
      registers.set(inner, this.arithmetic(inner, inner.inputs.map((input) => registers.get(input)!)));
    }
    // A next state that is an input or another state becomes an instruction of the block.
    const next = body.next.map((inner) => {
      const register = registers.get(inner)!;
      return register > states[states.length - 1]! ? register : this.emit('cast', dtypes[inner.dtype].register, [register, registerCodes[dtypes[inner.dtype].register]], 1);
    });
    states.forEach((register, k) => (this.instructions[register]!.operands = [next[k]!, 0, external[body.inputs.length + k]!]));
    const end = this.instructions.length - 1;
    for (let at = start + 1; at <= end; at++) this.blockEnd.set(at, end);
    this.instructions[start]!.operands = [0, end - start];
    this.inLoop = false;
    this.loopRegisters.set(node, [...next, ...states]);
  }

  /** Registers an instruction reads. */
  private reads(at: number): number[] {
    const { name, operands, registers } = this.instructions[at]!;
    return name === 'state' ? [operands[0]!, operands[2]!] : operands.slice(0, registers);
  }

  /** Leaves out what nothing reads. The blocks of loops stay as they are. */
  private removeUnused(): void {
    const wanted = new Set(this.outputs.map(({ register }) => register));
    for (let at = this.instructions.length - 1; at >= 0; at--) {
      const { name } = this.instructions[at]!;
      if (name === 'loop' || this.blockEnd.has(at)) wanted.add(at);
      if (wanted.has(at)) { for (const register of this.reads(at)) wanted.add(register); }
    }
    const kept = this.instructions.map((_, at) => at).filter((at) => wanted.has(at));
    const moved = new Map(kept.map((at, k) => [at, k]));
    const ends = [...this.blockEnd].map(([at, end]) => [moved.get(at)!, moved.get(end)!] as const);
    this.blockEnd.clear();
    for (const [at, end] of ends) this.blockEnd.set(at, end);
    const rows = kept.map((at) => this.instructions[at]!);
    this.instructions.splice(0, this.instructions.length, ...rows);
    for (const row of rows) {
      if (row.name === 'state') row.operands = [moved.get(row.operands[0]!)!, row.operands[1]!, moved.get(row.operands[2]!)!];
      else row.operands = row.operands.map((operand, k) => (k < row.registers ? moved.get(operand)! : operand));
    }
    for (const output of this.outputs) output.register = moved.get(output.register)!;
  }

  /** Gives each value a register of the machine, used again once its last reader has run. */
  private allocate(): { physical: number[]; count: number } {
    const count = this.instructions.length;
    const lastUse = new Array<number>(count).fill(-1);
    for (let at = 0; at < count; at++) {
      for (const register of this.reads(at)) lastUse[register] = Math.max(lastUse[register]!, this.blockEnd.get(at) ?? at);
    }
    for (const output of this.outputs) lastUse[output.register] = count;
    const physical = new Array<number>(count).fill(0);
    const free: number[] = [];
    const ending = Array.from({ length: count + 1 }, (): number[] => []);
    let used = 0;
    for (let at = 0; at < count; at++) {
      if (this.instructions[at]!.name !== 'loop') {
        physical[at] = free.pop() ?? used++;
        ending[Math.max(lastUse[at]!, this.blockEnd.get(at) ?? at)]!.push(at);
      }
      for (const done of ending[at]!) free.push(physical[done]!);
    }
    return { physical, count: Math.max(1, used) };
  }

  private assemble(): WrittenProgram {
    this.removeUnused();
    const space = indexSpace(this.step, this.views);
    const { physical, count } = this.allocate();
    const { shape, outer, reduced, strides } = space;
    const words: number[] = [shape.length, ...shape, outer, reduced, this.step.scan ? 1 : 0, this.step.scan === 'reverse' ? 1 : 0, count, this.views.length];
    this.views.forEach((view, v) => words.push(view.slot, dtypes[view.dtype].code, view.offset, ...strides[v]!));
    words.push(this.instructions.length);
    this.instructions.forEach((row, at) => {
      const operands = [0, 0, 0];
      row.operands.forEach((operand, k) => (operands[k] = k < row.registers ? physical[operand]! : operand));
      if (row.name === 'state') { for (const k of [0, 2]) operands[k] = physical[row.operands[k]!]!; }
      words.push(row.op, registerCodes[row.type], physical[at]!, ...operands);
    });
    words.push(this.outputs.length);
    for (const output of this.outputs) {
      words.push(reductionCodes[output.reduction], registerCodes[output.type], physical[output.register]!, output.view);
    }
    const written = new Set(this.outputs.map((output) => output.view));
    return {
      words,
      slotsRead: [...new Set(this.views.filter((_, v) => !written.has(v)).map((view) => view.slot))],
      slotsWritten: [...new Set([...written].map((v) => this.views[v]!.slot))],
      text: this.text(space),
    };
  }

  private text(space: { shape: number[] }): string {
    const kinds = [this.step.scan ? `scan ${this.step.scan}` : '', this.step.axes ? `reduce over ${this.step.axes.join()}` : ''].filter(Boolean);
    const loads = this.instructions.filter((row) => row.name === 'load').length;
    const lines = [
      `program over [${this.step.shape.join()}]${kinds.length ? ` (${kinds.join(', ')})` : ''}, ${loads} loads, ${this.instructions.length - loads} instructions, ${this.outputs.length} outputs`,
    ];
    this.instructions.forEach((row, at) => {
      const operands = row.name === 'load' ? this.viewText(row.operands[0]!) : (row.note ?? row.operands.slice(0, row.registers).map((r) => `%${r}`).join(' '));
      lines.push(`  %${at} = ${row.name}${row.type === 'float32' ? '' : `.${row.type}`} ${operands}`.trimEnd());
    });
    for (const output of this.outputs) lines.push(`  ${output.reduction} %${output.register} -> ${this.viewText(output.view)}`);
    return sizeOf(space.shape) === 0 ? `${lines[0]} (empty)` : lines.join('\n');
  }

  private viewText(view: number): string {
    const { slot, dtype, offset, strides } = this.views[view]!;
    return `buffer ${slot} ${dtype}${offset ? ` + ${offset}` : ''} strides [${strides.join()}]`;
  }
}

function foldedStrides(shape: Shape, axes: readonly number[]): number[] {
  return contiguousStrides(shape).map((stride, d) => (axes.includes(d) ? 0 : stride));
}

/** The nodes of a loop's body, each after its inputs. */
function bodyOrder(body: LoopBody): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack = [...body.next].reverse();
  while (stack.length > 0) {
    const node = stack[stack.length - 1]!;
    const waiting = seen.has(node) ? [] : node.inputs.filter((input) => !seen.has(input));
    if (waiting.length > 0) {
      stack.push(...waiting);
      continue;
    }
    stack.pop();
    if (!seen.has(node)) order.push(node);
    seen.add(node);
  }
  return order;
}

/** The program's dimensions: folded axes between or after the kept ones, extents of 1 left out, neighbours merged where every view allows it. */
function indexSpace(step: ProgramStep, views: readonly Place[]): { shape: number[]; outer: number; reduced: number; strides: number[][] } {
  const { shape, axes, scan } = step;
  const time = shape.length - 1;
  const folded = scan ? [time] : (axes ?? []);
  // Kept dimensions stay inside the folded ones only where the last dimension is kept: then it runs along memory.
  const lastFolded = folded.length ? Math.max(...folded) : -1;
  const innerKept = lastFolded < time && folded.length > 0;
  type Dimension = { extent: number; from: number; role: 0 | 1 | 2 };
  const dimensions: Dimension[] = [];
  shape.forEach((extent, from) => {
    const role = folded.includes(from) ? 1 : innerKept && from > lastFolded ? 2 : 0;
    if (extent !== 1 || (scan && from === time)) dimensions.push({ extent, from, role });
  });
  // A fold over extents of 1 still is one.
  if (folded.length > 0 && !dimensions.some(({ role }) => role === 1)) dimensions.push({ extent: 1, from: folded[0]!, role: 1 });
  dimensions.sort((a, b) => a.role - b.role || a.from - b.from);
  let rows = views.map((view) => dimensions.map(({ from }) => view.strides[from]!));
  const merged: Dimension[] = [];
  const mergedRows: number[][] = views.map(() => []);
  dimensions.forEach((dimension, d) => {
    const last = merged[merged.length - 1];
    const joins = last && last.role === dimension.role && rows.every((row, v) => mergedRows[v]![merged.length - 1] === row[d]! * dimension.extent);
    if (joins) {
      last.extent *= dimension.extent;
      rows.forEach((row, v) => (mergedRows[v]![merged.length - 1] = row[d]!));
    } else {
      merged.push({ ...dimension });
      rows.forEach((row, v) => mergedRows[v]!.push(row[d]!));
    }
  });
  rows = mergedRows;
  if (merged.length === 0) {
    merged.push({ extent: 1, from: 0, role: 0 });
    rows.forEach((row) => row.push(0));
  }
  return {
    shape: merged.map(({ extent }) => extent),
    outer: merged.filter(({ role }) => role === 0).length,
    reduced: merged.filter(({ role }) => role === 1).length,
    strides: rows,
  };
}
