/** All properties, in the order in which they are judged: one that explains others comes first. A new one goes into a file of this folder, and into this list. */
import type { Property } from '../property';
import { leaks, onDevices, repeated, resumed, uncached, untouched } from './calls';
import { inputsUsed, readsDeclared, requiredInputs } from './declared';
import { ends, response, returns } from './episodes';
import { holes, maskedInputs, maskedResults, packedRows, padding, shiftedRows } from './masks';
import { awkward, float32, offset, result, scale, shift } from './numbers';
import { emptyRows, groupNames, rowOrder, scope, turnNames } from './rows';
import { parallelScans, speed } from './speed';
import { causality, exactCritic } from './time';

export const properties: readonly Property[] = [
  result,
  requiredInputs,
  untouched,
  uncached,
  repeated,
  resumed,
  leaks,
  ends,
  maskedInputs,
  maskedResults,
  padding,
  shiftedRows,
  holes,
  packedRows,
  rowOrder,
  groupNames,
  turnNames,
  scope,
  emptyRows,
  inputsUsed,
  readsDeclared,
  awkward,
  shift,
  scale,
  float32,
  offset,
  exactCritic,
  returns,
  causality,
  response,
  onDevices,
  parallelScans,
  speed,
];
