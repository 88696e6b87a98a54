/**
 * Three steps of a run for every estimator × policy loss × reduction, all metrics finite. Usage, `npm run test:matrix`:
 * node --import tsx test/trainer/matrix.ts [EVERY]      with EVERY, each EVERY-th cell
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getAdvantageEstimator, listAdvantageEstimators } from '../../src/advantages';
import { loadConfig } from '../../src/config';
import { listPolicyLosses, lossReductions } from '../../src/losses';
import { Experiment, Trainer, type TrainerParts } from '../../src/trainer';
import { smallBase } from './small_runs';

export interface Cell {
  estimator: string;
  loss: string;
  reduction: string;
}

export const axes = { estimator: listAdvantageEstimators(), loss: listPolicyLosses(), reduction: [...lossReductions] };

export function* allCells(): Generator<Cell> {
  for (const estimator of axes.estimator) for (const loss of axes.loss) for (const reduction of axes.reduction) yield { estimator, loss, reduction };
}

/** Gives what this task does not have: a teacher's log-probs, two rewards for each response, the state that a turn began in. */
class FullTrainer extends Trainer {
  protected override advantageInputs(batch: Parameters<Trainer['advantageInputs']>[0]) {
    const rewardComponents = batch.groupIds.map((_, row) => [row % 2, row % 3]);
    const [teacherLogProbs, anchorIds] = [batch.tensor('oldLogProbs').mul(0.9), batch.tensor('masks').mul(0).cast('int32')];
    return { ...super.advantageInputs(batch), rewardComponents, teacherLogProbs, anchorIds };
  }
}

class FullExperiment extends Experiment {
  override trainer(parts: TrainerParts) {
    return new FullTrainer(parts);
  }
  override advantageInputs() {
    return [...super.advantageInputs(), 'rewardComponents', 'teacherLogProbs', 'anchorIds'] as const;
  }
}

const tiny = [
  'trainer.train_batch_size=4',
  'trainer.policy_mini_batch_size=2',
  'trainer.eval_before_train=false',
  'trainer.eval_interval=-1',
  'trainer.logger=[]',
  'trainer.policy.model.hidden_size=8',
  'trainer.policy.model.intermediate_size=16',
];

/** Runs a cell for three steps. @throws Error that names the metrics that are not finite */
export async function runCell({ estimator, loss, reduction }: Cell, base: object): Promise<void> {
  const values = getAdvantageEstimator(estimator).requires?.includes('values') ?? false;
  const overrides = [
    ...tiny,
    `trainer.algorithm.advantage_estimator=${estimator}`,
    `trainer.algorithm.policy_loss_type=${loss}`,
    `trainer.algorithm.loss_reduction=${reduction}`,
    ...(values ? ['trainer.critic.model={hidden_size: 8, intermediate_size: 16}', 'trainer.critic_mini_batch_size=2'] : []),
    ...(reduction === 'seq_mean_token_sum_norm' ? ['trainer.algorithm.max_seq_len=3'] : []),
  ];
  const { history } = await new FullExperiment(loadConfig({ base, overrides }).config).run();
  const steps = history.filter(({ step }) => step > 0);
  if (steps.length !== 3) throw new Error(`${steps.length} steps of 3`);
  for (const record of steps) {
    for (const name of ['policy/policy_loss', 'policy/grad_norm', 'loss/avg_raw_advantages']) if (!(name in record)) throw new Error(`step ${record.step} has no ${name}`);
    const odd = Object.entries(record).filter(([, value]) => !Number.isFinite(value));
    if (odd.length > 0) throw new Error(`step ${record.step}: ${odd.map(([name, value]) => `${name}=${value}`).join(', ')}`);
  }
}

async function main(every: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-matrix-'));
  const base = smallBase(folder);
  const cells = [...allCells()].filter((_, i) => i % every === 0);
  let failed = 0;
  for (const [i, cell] of cells.entries()) {
    try {
      await runCell(cell, base);
    } catch (error) {
      failed++;
      console.error(`${cell.estimator} × ${cell.loss} × ${cell.reduction}: ${(error as Error).message}`);
    }
    if ((i + 1) % 200 === 0 || i + 1 === cells.length) console.log(`${i + 1} of ${cells.length} cells, ${failed} failed`);
  }
  rmSync(folder, { recursive: true, force: true });
  process.exitCode = failed > 0 ? 1 : 0;
}

if (require.main === module) void main(Number(process.argv[2] ?? 1));
