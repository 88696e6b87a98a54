/** torchrl's returns and advantages. Its `done` is terminated or truncated; it keeps the value of the state after each step as an array of its own. */
import { arange, discountedReturns, lambdaReturns, td0Returns, td1Returns, truncatedGae, vtraceEstimates, where, type Tensor, type TrajectoryInputs } from 'vantage-rl';
import { only, type Adapter, type Inputs } from '../adapter';
import type { Case } from '../case';

function flagsOf(inputs: Inputs): { terminated: Tensor; truncated: Tensor } {
  const rewards = inputs.array('rewards');
  const done = inputs.mask('done', rewards).notEqual(0);
  // Without a flag of its own, whatever is done has terminated.
  const terminated = inputs.optional('terminated')?.notEqual(0) ?? done;
  return { terminated, truncated: done.logicalAnd(terminated.logicalNot()) };
}

function trajectory(inputs: Inputs): TrajectoryInputs {
  return { rewards: inputs.array('rewards'), values: inputs.optional('values'), nextValues: inputs.array('next_values'), ...flagsOf(inputs) };
}

const options = ({ params }: Case) => ({ gamma: params.gamma as number, lambda: (params.lambd ?? 1) as number });
const gammaOf = ({ params }: Case) => ({ gamma: params.gamma as number });

/**
 * Some of torchrl's functions sum a geometric series and leave out the terms below 1e-7: what lies further than that from the end of an array cannot be compared.
 */
function untilTheSeriesEnds(x: Tensor, ratio: number) {
  const terms = ratio > 0 && ratio < 1 ? Math.max(1, Math.floor(Math.log(1e-7) / Math.log(ratio))) : Infinity;
  const time = x.shape[1]!;
  if (terms >= time) return x;
  return only(x, arange(time).greaterEqual(time - terms).expandDims(0).broadcastTo(x.shape));
}

/** A series of a single term is one index too few for torchrl. */
const noSeries = ({ params, expected }: Case) => (expected.throws && params.gamma * (params.lambd ?? 1) === 0 ? 'nothing is carried on: torchrl raises an IndexError, ours answers' : null);

/** 1 but at truncated steps that are not the last of their row: there torchrl's advantage asks the next episode for its target, in place of the state that followed. */
function outsideOfCuts(truncated: Tensor): Tensor {
  const time = truncated.shape[1]!;
  return where(truncated.logicalAnd(arange(time).less(time - 1)), 0, 1);
}

export const adapters: Adapter[] = [
  { library: 'torchrl', function: 'td0_return_estimate', answer: (each, inputs) => ({ returns: td0Returns(zeroStep(inputs), gammaOf(each)) }) },
  { library: 'torchrl', function: 'td1_return_estimate', answer: (each, inputs) => ({ returns: td1Returns(trajectory(inputs), gammaOf(each)) }) },
  { library: 'torchrl', function: 'td_lambda_return_estimate', answer: (each, inputs) => ({ returns: lambdaReturns(trajectory(inputs), options(each)) }) },
  {
    library: 'torchrl',
    function: 'td_lambda_advantage_estimate',
    answer: (each, inputs) => ({ advantages: lambdaReturns(trajectory(inputs), options(each)).sub(inputs.array('values')) }),
  },
  {
    library: 'torchrl',
    function: 'generalized_advantage_estimate',
    answer(each, inputs) {
      const { advantages, returns } = truncatedGae(trajectory(inputs), options(each));
      return { advantages, value_targets: returns };
    },
  },
  {
    library: 'torchrl',
    function: 'vec_generalized_advantage_estimate',
    answer(each, inputs) {
      const { advantages, returns } = truncatedGae(trajectory(inputs), options(each));
      const ratio = options(each).gamma * options(each).lambda;
      return { advantages: untilTheSeriesEnds(advantages, ratio), value_targets: untilTheSeriesEnds(returns, ratio) };
    },
    differs: noSeries,
  },
  {
    library: 'torchrl',
    function: 'reward2go',
    answer(each, inputs) {
      const rewards = inputs.array('rewards');
      return { returns: untilTheSeriesEnds(discountedReturns({ rewards, terminated: inputs.mask('done', rewards) }, gammaOf(each)), each.params.gamma) };
    },
    differs: noSeries,
  },
  {
    library: 'torchrl',
    function: 'vtrace_advantage_estimate',
    answer(each, inputs) {
      const given = trajectory(inputs);
      const importanceRatios = inputs.array('log_pi').sub(inputs.array('log_mu')).exp();
      const clip = each.params.rho_thresh ?? 1;
      const { advantages, targets } = vtraceEstimates({ ...given, importanceRatios }, { ...gammaOf(each), clipRho: clip, clipPgRho: clip, clipC: each.params.c_thresh ?? 1 });
      return { advantages: only(advantages, outsideOfCuts(given.truncated!)), value_targets: targets };
    },
  },
];

function zeroStep(inputs: Inputs): TrajectoryInputs {
  return { rewards: inputs.array('rewards'), nextValues: inputs.array('next_values'), terminated: inputs.optional('terminated') };
}
