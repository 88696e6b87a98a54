/**
 * Cuts programs that are too large, for the cache or for a device, into programs that run one after the other. What crosses a cut is stored.
 */
import type { Node } from './graph';
import type { ProgramStep, Sink } from './steps';

/** Element-wise programs with more nodes than this are cut: their registers would not stay in the cache. */
const MAX_NODES = 128;
/** Programs that fold or scan are cut later: their passes over memory cost more than their registers. */
const MAX_NODES_OF_PASS = 128;
/** Limits on one program (native/core/program.h). */
const MAX_VIEWS = 128;
const MAX_OUTPUTS = 64;
/** A value that leaves in more ways than this is stored once and read again for them. */
const MAX_SINKS_OF_VALUE = 8;

/** The graph as the scheduler numbers it. */
export interface Numbered {
  nodes: readonly Node[];
  inputs: readonly number[][];
  users: readonly number[][];
}

/** The step itself where it is small enough, or its pieces in order. */
export function split(step: ProgramStep, graph: Numbered): ProgramStep[] {
  if (fits(step, graph, step.scan || step.axes ? MAX_NODES_OF_PASS : MAX_NODES)) return [step];
  for (let length = MAX_NODES;; length = Math.ceil(length / 2)) {
    const pieces = cut(step, graph, length);
    if (length === 1 || pieces.every((piece) => fits(piece, graph, MAX_NODES_OF_PASS))) return pieces;
  }
}

function fits({ nodes, sinks }: ProgramStep, graph: Numbered, limit: number): boolean {
  if (nodes.length > limit || sinks.length > MAX_OUTPUTS) return false;
  const computed = new Set(nodes);
  const loaded = new Set<number>();
  for (const i of nodes) for (const j of graph.inputs[i]!) if (!computed.has(j) && graph.nodes[j]!.op !== 'constant') loaded.add(j);
  for (const { value } of sinks) if (!computed.has(value)) loaded.add(value);
  return loaded.size + sinks.length <= MAX_VIEWS;
}

/** Pieces of at most `length` nodes each (a loop's results stay with it), and pieces that copy or fold what is in memory. */
function cut(step: ProgramStep, graph: Numbered, length: number): ProgramStep[] {
  const pieceOf = new Map<number, number>();
  step.nodes.forEach((i, position) => {
    const ofLoop = graph.nodes[i]!.op === 'output' ? pieceOf.get(graph.inputs[i]![0]!) : undefined;
    pieceOf.set(i, ofLoop ?? Math.floor(position / length));
  });
  const pieces = Array.from({ length: Math.ceil(step.nodes.length / length) }, (): { nodes: number[]; sinks: Sink[] } => ({ nodes: [], sinks: [] }));
  for (const i of step.nodes) pieces[pieceOf.get(i)!]!.nodes.push(i);

  const stored = new Set<number>();
  const store = (i: number) => {
    if (!stored.has(i)) pieces[pieceOf.get(i)!]!.sinks.push({ value: i, target: i });
    stored.add(i);
  };
  const sinksOf = new Map<number, Sink[]>();
  for (const sink of step.sinks) sinksOf.set(sink.value, [...(sinksOf.get(sink.value) ?? []), sink]);
  const fromMemory: Sink[] = [];
  for (const [value, sinks] of sinksOf) {
    const others = sinks.filter((sink) => sink.target !== value);
    const computed = pieceOf.has(value);
    if (computed && (others.length < sinks.length || sinks.length > MAX_SINKS_OF_VALUE)) store(value);
    if (computed && sinks.length <= MAX_SINKS_OF_VALUE) pieces[pieceOf.get(value)!]!.sinks.push(...others);
    else fromMemory.push(...(computed ? others : sinks));
  }
  for (const [i, at] of pieceOf) {
    const crosses = graph.nodes[i]!.op !== 'loop' && graph.users[i]!.some((user) => pieceOf.has(user) && pieceOf.get(user) !== at);
    if (crosses) store(i);
  }
  for (let at = 0; at < fromMemory.length; at += MAX_OUTPUTS) pieces.push({ nodes: [], sinks: fromMemory.slice(at, at + MAX_OUTPUTS) });
  return pieces.filter((piece) => piece.sinks.length > 0).map((piece) => ({ ...step, ...piece, ...passOf(step, piece, graph) }));
}

/** How a piece walks its index space: along time only where it holds a recurrence, folding only where something is folded. */
function passOf(step: ProgramStep, { nodes, sinks }: { nodes: number[]; sinks: Sink[] }, graph: Numbered): Pick<ProgramStep, 'axes' | 'scan'> {
  const recurs = step.scan !== null && nodes.some((i) => ['scan', 'scan_prev', 'loop'].includes(graph.nodes[i]!.op));
  const folded = sinks.find((sink) => graph.nodes[sink.target]!.op === 'reduce');
  return { scan: recurs ? step.scan : null, axes: recurs || !folded ? null : (folded.axes ?? graph.nodes[folded.target]!.attributes.axes!) };
}
