/** What a run leaves behind and says at its end. */
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { getAdvantageEstimator, hasAdvantageEstimator, listAdvantageEstimators } from '../advantages';
import type { Config } from '../config';
import { readSamples, RUN_FILES, writeReport } from '../tracking';
import type { TrainingResult } from './trainer';

/** The folder of a run's metrics and pictures. */
export function exportFolder({ trainer }: Config): string {
  return trainer.export_path ?? dirname(trainer.ckpt_path);
}

/** Writes `learning_curve.html`, the report of this run; returns its path. */
export function writeLearningCurve(config: Config, result: TrainingResult): string {
  const { run_name, algorithm, stop_when, logger } = config.trainer;
  const [file, samplesFile] = ['learning_curve.html', RUN_FILES.samples].map((name) => join(exportFolder(config), name));
  const samples = logger.includes('jsonl') && existsSync(samplesFile) ? readSamples(samplesFile) : [];
  writeReport(file, {
    title: `${run_name}: ${algorithm.advantage_estimator}`,
    subtitle: outcome(config, result),
    runs: [{ name: run_name, records: result.history, samples, config }],
    ...(stop_when?.metric === 'reward/avg_raw_reward' && { target: stop_when.value, window: stop_when.window }),
  });
  return file;
}

/**
 * The lines for the terminal: how the run ended, where its results are, what to try next.
 * @param command that goes on with it, where that is known
 */
export function summary(config: Config, result: TrainingResult, learningCurve: string, command: string | null): string {
  const { logger } = config.trainer;
  const files = [
    logger.includes('jsonl') && ['metrics', join(exportFolder(config), 'metrics.jsonl')],
    ['learning curve', learningCurve],
    result.checkpoint !== null && ['checkpoint', result.checkpoint],
  ].filter((row) => row !== false);
  const next = result.reason === 'interrupted' ? howToGoOn(config, result, command) : whatToTry(config, result);
  return ['', outcome(config, result), ...files.map(([title, file]) => `  ${title.padEnd(16)}${shortest(file)}`), ...next].join('\n');
}

function whatToTry({ trainer: { algorithm, seed } }: Config, { checkpoint }: TrainingResult): string[] {
  // One that runs with nothing but its name: no critic, no reference policy. The best known ones first.
  const isReady = (name: string) => (getAdvantageEstimator(name).requires ?? []).every((input) => input === 'groupIds');
  const other = ['grpo', 'rloo', ...listAdvantageEstimators()].find((name) => name !== algorithm.advantage_estimator && hasAdvantageEstimator(name) && isReady(name));
  // The same place holds the checkpoints of this run.
  const afresh = checkpoint === null ? '' : ' trainer.resume_mode=null';
  return [
    'Next: open the learning curve in a browser, or run again, with one of these added to the command:',
    ...(other === undefined ? [] : [`  trainer.algorithm.advantage_estimator=${other}${afresh}`]),
    `  trainer.seed=${seed + 1}${afresh}`,
    '`npx vantage list estimators` shows all estimators.',
  ];
}

function howToGoOn({ trainer }: Config, { steps, checkpoint }: TrainingResult, command: string | null): string[] {
  if (checkpoint === null) {
    const why = steps === 0 ? 'no step was made' : `trainer.ckpt_interval=${trainer.ckpt_interval}`;
    return [`There is no checkpoint to go on from (${why}): the same command starts afresh.`];
  }
  return ['Go on with:', `  ${command ?? 'the same command, with trainer.resume_mode=latest'}`];
}

function outcome({ trainer: { stop_when, algorithm } }: Config, { steps, seconds, reason, history }: TrainingResult): string {
  const took = `${steps} ${steps === 1 ? 'step' : 'steps'} of ${algorithm.advantage_estimator} in ${seconds.toFixed(1)} s`;
  const rewards = history.flatMap((record) => record['reward/avg_raw_reward'] ?? []).slice(-(stop_when?.window ?? 10));
  const reward = rewards.reduce((sum, value) => sum + value, 0) / Math.max(1, rewards.length);
  const recent = rewards.length > 0 ? `, mean reward of the last ${rewards.length === 1 ? 'step' : `${rewards.length} steps`} ${reward.toFixed(3)}` : '';
  switch (reason) {
    case 'stop_when':
      return `Reached ${stop_when?.metric} ≥ ${stop_when?.value} after ${took}${recent}.`;
    case 'interrupted':
      return `Interrupted after ${took}${recent}.`;
    case 'callback':
      return `Stopped by a callback after ${took}${recent}.`;
    default:
      return stop_when === null
        ? `Trained ${took}${recent}.`
        : `Did not reach ${stop_when.metric} ≥ ${stop_when.value} in ${took}${recent}.`;
  }
}

function shortest(file: string): string {
  const below = relative(process.cwd(), file);
  return below.startsWith('..') ? file : below;
}
