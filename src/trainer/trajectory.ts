/** What a rollout gives to the training: the tokens of a conversation, which of them are the policy's, and what those were worth. */
import { DataError, showValue } from '../errors';

/** One answer of the policy: tokens [start, end) of `responseIds`. Between two turns stand observations, which are no actions. */
export interface Turn {
  /** The first token of the turn. */
  start: number;
  /** The token behind its last one. */
  end: number;
  /** What the environment gave for it; it stands at the turn's last token. */
  reward: number;
}

/** How a trajectory ended. */
export type TrajectoryStop = 'stop' | 'length' | 'error' | 'timeout';

/** One conversation about one prompt. */
export interface Trajectory {
  /** The prompt's id: trajectories of one prompt are a group. */
  groupId: string;
  /** Where its row comes from. */
  dataSource: string;
  /** At most the longest prompt of the dataset. */
  promptIds: readonly number[];
  /** What follows the prompt: the sampled tokens, end tokens included, and between the turns those of the observations. Empty where the environment failed before the first. */
  responseIds: readonly number[];
  /** The sampler's log-probability of each response token, under the distribution that it was drawn from; 0 for tokens of observations. */
  rolloutLogProbs: readonly number[];
  /** The policy's answers, in order. Without it all response tokens are one turn. */
  turns?: readonly Turn[];
  /** The response as text; of one turn, what the environment saw. */
  text: string;
  /**
   * `stop`: the last answer ended by itself, with the end token or a text of `sampling_params.stop`; `length`: it was cut off at `max_generate_length`, or the conversation
   * outgrew `max_input_length`; `error`, `timeout`: the environment failed, and the trajectory counts in no loss and no statistic of its group.
   */
  stopReason: TrajectoryStop;
  /** What the environment failed with, also while it was closed. */
  error?: string;
  /** The sum of the turns' rewards. What an override changes here changes the reward of the last turn. */
  reward: number;
  /** What the environment measured. */
  metrics: Record<string, number>;
}

/** Whether the environment failed in the middle: the reward says nothing about the policy. */
export function isFailed({ stopReason }: Trajectory): boolean {
  return stopReason === 'error' || stopReason === 'timeout';
}

/** The turns, with what `reward` has beyond their rewards in the last. @throws DataError for turns that overlap or leave the response */
export function turnsOf({ turns, responseIds, reward }: Trajectory): readonly Turn[] {
  if (turns === undefined) return responseIds.length === 0 ? [] : [{ start: 0, end: responseIds.length, reward }];
  let free = 0;
  let before = 0;
  return turns.map((turn, i) => {
    const { start, end } = turn;
    if (!Number.isInteger(start) || !Number.isInteger(end) || start < free || end <= start || end > responseIds.length) {
      throw new DataError(`trajectory: turns[${i}]: expected {start, end} with ${free} ≤ start < end ≤ ${responseIds.length}, got ${showValue(turn)}`);
    }
    free = end;
    if (i === turns.length - 1) return { start, end, reward: reward - before };
    before += turn.reward;
    return turn;
  });
}

/** Tokens that the policy wrote. */
export function actionCount(trajectory: Trajectory): number {
  return turnsOf(trajectory).reduce((sum, { start, end }) => sum + end - start, 0);
}
