/** All properties, in the order in which they are judged: one that explains others comes first. A new one goes into a file of this folder, and into this list. */
import type { Property } from '../property';
import { leaks, onDevices, repeated, resumed, untouched } from './calls';
import { holes, maskedInputs, maskedResults, packedRows, padding, shiftedRows } from './masks';
import { awkward, float32, offset, result, scale, shift } from './numbers';
import { emptyRows, groupNames, rowOrder, scope } from './rows';
import { parallelScans, speed } from './speed';
import { causality, exactCritic } from './time';

export const properties: readonly Property[] = [
  result,
  untouched,
  repeated,
  resumed,
  leaks,
  maskedInputs,
  maskedResults,
  padding,
  shiftedRows,
  holes,
  packedRows,
  rowOrder,
  groupNames,
  scope,
  emptyRows,
  awkward,
  shift,
  scale,
  float32,
  offset,
  exactCritic,
  causality,
  onDevices,
  parallelScans,
  speed,
];
