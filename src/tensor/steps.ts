/** The steps of an evaluation, as the scheduler cuts them. Numbers are positions of nodes in the graph's order. */
import type { Region } from './graph';
import type { Shape } from './shape';

/** What a program leaves behind: a node stored to its own buffer or to a region of an assembled one, or a node folded into a reduction. */
export interface Sink {
  /** The node whose value leaves. */
  value: number;
  /** The node whose buffer receives it: the value itself, an `assemble`, or a `reduce`. */
  target: number;
  region?: Region;
  /** The axes of `value` that are folded, where they are not those of the target: a sum of sums, taken at once. */
  axes?: number[];
}

export interface ProgramStep {
  kind: 'program';
  shape: Shape;
  /** Axes that are folded, or null. */
  axes: number[] | null;
  scan: 'forward' | 'reverse' | null;
  /** Nodes to compute, each after its inputs. */
  nodes: number[];
  sinks: Sink[];
}

export type Step = ProgramStep | { kind: 'kernel'; node: number } | { kind: 'fill'; node: number };
