/** What a batch of trajectories says about the policy, by the names of SkyRL. */
import type { Metrics } from '../tracking';
import { Averages } from './averages';
import { actionCount, turnsOf, type Trajectory } from './trajectory';

/** A response with at least this reward passes. */
const passReward = 1;

/** Mean reward, mean of max(reward, 0), and the share of prompts of which at least one response passes. */
export function scores(trajectories: readonly Trajectory[]): { mean: number; meanPositive: number; passAtN: number } {
  const passed = new Map<string, boolean>();
  for (const { groupId, reward } of trajectories) passed.set(groupId, passed.get(groupId) === true || reward >= passReward);
  return {
    mean: mean(trajectories.map(({ reward }) => reward)),
    meanPositive: mean(trajectories.map(({ reward }) => Math.max(reward, 0))),
    passAtN: mean([...passed.values()].map(Number)),
  };
}

/** Numbers of generated tokens (those of observations do not count) and of turns, how many environments failed, and what they measured. */
export function generationMetrics(trajectories: readonly Trajectory[]): Metrics {
  const lengths = trajectories.map(actionCount);
  const average = mean(lengths);
  const lengthsWhere = (has: (reward: number) => boolean) => lengths.filter((_, i) => has(trajectories[i].reward));
  const environment = new Averages();
  for (const { metrics } of trajectories) environment.add(metrics);
  return {
    'generate/min_num_tokens': lengths.reduce((a, b) => Math.min(a, b)),
    'generate/max_num_tokens': lengths.reduce((a, b) => Math.max(a, b)),
    'generate/avg_num_tokens': average,
    'generate/std_num_tokens': Math.sqrt(mean(lengths.map((length) => (length - average) ** 2))),
    'generate/avg_tokens_non_zero_rewards': mean(lengthsWhere((reward) => reward !== 0)),
    'generate/avg_tokens_zero_rewards': mean(lengthsWhere((reward) => reward === 0)),
    'generate/avg_num_turns': mean(trajectories.map((trajectory) => turnsOf(trajectory).length)),
    'generate/num_environment_errors': trajectories.filter(({ error }) => error !== undefined).length,
    ...Object.fromEntries(Object.entries(environment.result()).map(([name, value]) => [`environment/${name}`, value])),
  };
}

/** `eval/{data_source}/…` for each source (its `/` as `_`) and `eval/all/…`. */
export function evaluationMetrics(trajectories: readonly Trajectory[], samples: number): Metrics {
  const metrics: Metrics = {};
  const add = (name: string, of: readonly Trajectory[]) => {
    const { mean, meanPositive, passAtN } = scores(of);
    metrics[`eval/${name}/avg_score`] = mean;
    metrics[`eval/${name}/pass_at_${samples}`] = passAtN;
    metrics[`eval/${name}/mean_positive_reward`] = meanPositive;
  };
  for (const source of new Set(trajectories.map(({ dataSource }) => dataSource))) {
    add(
      source.replaceAll('/', '_'),
      trajectories.filter(({ dataSource }) => dataSource === source),
    );
  }
  add('all', trajectories);
  return metrics;
}

/**
 * Positions of the rows whose group tells responses apart: rewards that differ by more than `tolerance`, or a group of one (which has
 * nothing to differ from). The others give a grouped estimator no signal.
 */
export function informativeRows(rewards: readonly number[], groupIds: readonly string[], tolerance = 0): number[] {
  const groups = new Map<string, number[]>();
  for (const [row, id] of groupIds.entries()) groups.set(id, [...(groups.get(id) ?? []), rewards[row]]);
  const informative = new Set(
    [...groups].filter(([, values]) => values.length === 1 || Math.max(...values) - Math.min(...values) > tolerance).map(([id]) => id),
  );
  return [...groupIds.keys()].filter((row) => informative.has(groupIds[row]));
}

/** 0 for no numbers. */
function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
