/** Files of what was trained on and of what evaluations saw, for people and their tools: a row a response. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../folders';
import type { Metrics } from '../tracking';
import type { TrainingBatch } from './batch';
import type { Trajectory } from './trajectory';

/**
 * Writes `{folder}/dumped_data/global_step_N.jsonl`: of each response its prompt, tokens, reward, and, token by token, log-probs, values, advantages, returns and mask.
 * @returns the file
 */
export function dumpBatch(folder: string, step: number, batch: TrainingBatch, trajectories: readonly Trajectory[], decode: (ids: readonly number[]) => string): string {
  const width = batch.shape.responseWidth;
  const rows = trajectories.map(({ groupId, dataSource, promptIds, responseIds, text, stopReason, reward, metrics }, row) => {
    const of = (array: ArrayLike<number> | null) => array && Array.from(responseIds, (_, t) => array[row * width + t]);
    return {
      group: groupId,
      data_source: dataSource,
      prompt: decode(promptIds),
      response: text,
      stop_reason: stopReason,
      reward,
      metrics,
      prompt_ids: promptIds,
      response_ids: responseIds,
      mask: of(batch.masks),
      rewards: of(batch.rewards),
      rollout_log_probs: of(batch.rolloutLogProbs),
      old_log_probs: of(batch.oldLogProbs),
      ref_log_probs: of(batch.refLogProbs),
      values: of(batch.values),
      advantages: of(batch.advantages),
      returns: of(batch.returns),
    };
  });
  return write(join(folder, 'dumped_data'), `global_step_${step}.jsonl`, rows);
}

/** Writes `{folder}/dumped_evals/global_step_N/{data_source}.jsonl`, a row a response, and `aggregated_results.json`. @returns the folder */
export function dumpEvaluation(folder: string, step: number, trajectories: readonly Trajectory[], metrics: Metrics, decode: (ids: readonly number[]) => string): string {
  const place = join(folder, 'dumped_evals', `global_step_${step}`);
  for (const source of new Set(trajectories.map(({ dataSource }) => dataSource))) {
    const rows = trajectories
      .filter(({ dataSource }) => dataSource === source)
      .map(({ groupId, promptIds, text, stopReason, reward, metrics: own }) => ({ group: groupId, prompt: decode(promptIds), response: text, stop_reason: stopReason, reward, metrics: own }));
    write(place, `${source.replaceAll('/', '_')}.jsonl`, rows);
  }
  writeFileSync(join(place, 'aggregated_results.json'), `${JSON.stringify(metrics, null, 2)}\n`);
  return place;
}

function write(folder: string, name: string, rows: readonly object[]): string {
  makeFolder(folder);
  const file = join(folder, name);
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}
