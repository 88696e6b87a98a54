/** rlax's multistep returns. Its functions take one sequence, a row here; discounts and λ come per step. */
import { concat, discountedReturns, importanceCorrectedErrors, lambdaReturns, nStepReturns, offPolicyReturns, retraceReturns, truncatedGae, vtraceEstimates, zerosLike, type Tensor } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';

const gammaOf = (inputs: Inputs) => ({ gamma: inputs.array('discounts') });
const options = ({ params }: Case, inputs: Inputs) => ({ ...gammaOf(inputs), lambda: inputs.optional('lambda') ?? ((params.lambd ?? 1) as number) });

const steps = (inputs: Inputs) => ({ rewards: inputs.array('rewards'), nextValues: inputs.array('next_values') });

/** Values of T+1 states: those before and those after each step. */
function valuesOf(inputs: Inputs): { values: Tensor; nextValues: Tensor } {
  const all = inputs.array('values');
  return { values: all.slice([0, 0], [null, all.shape[1]! - 1]), nextValues: all.slice([0, 1]) };
}

/** What rlax keeps for the action after each step, as what belongs to each step: nothing is asked of the first one. */
function ofEachStep(x: Tensor, time: number): Tensor {
  if (x.shape[1] === 0) return zerosLike(x.sum(1, { keepDims: true }));
  const first = zerosLike(x.slice([0, 0], [null, 1]));
  return concat([first, x.slice([0, 0], [null, time - 1])], 1);
}

const chosen = (x: Tensor, actions: Tensor): Tensor => x.gather(actions.cast('int32').expandDims(2), 2).squeeze(2);

function retrace(each: Case, inputs: Inputs): Answer {
  const rewards = inputs.array('rewards');
  const time = rewards.shape[1]!;
  const [nextQ, target, nextActions] = [inputs.array('next_q_values'), inputs.array('target_probs'), inputs.array('next_actions')];
  const ratios = chosen(target, nextActions).div(inputs.array('behavior_probs').add(each.params.eps ?? 1e-8));
  const returns = retraceReturns(
    {
      rewards,
      nextValues: target.mul(nextQ).sum(2),
      actionValues: ofEachStep(chosen(nextQ, nextActions), time),
      importanceRatios: ofEachStep(ratios, time),
    },
    { ...gammaOf(inputs), lambda: each.params.lambd ?? 1 },
  );
  return { td_errors: returns.sub(chosen(inputs.array('q_values'), inputs.array('actions'))) };
}

function retraceContinuous(each: Case, inputs: Inputs): Answer {
  const rewards = inputs.array('rewards');
  const time = rewards.shape[1]!;
  const mixing = inputs.optional('lambda');
  const returns = retraceReturns(
    {
      ...steps(inputs),
      actionValues: ofEachStep(inputs.array('next_q_values'), time),
      importanceRatios: ofEachStep(inputs.array('log_rhos').exp(), time),
    },
    { ...gammaOf(inputs), lambda: mixing ? ofEachStep(mixing, time) : (each.params.lambd ?? 1) },
  );
  return { td_errors: returns.sub(inputs.array('q_values')) };
}

/** Its sample mask marks steps that are not learnt from; the values there are those of states all the same. */
function vtrace(each: Case, inputs: Inputs): Answer {
  const { params } = each;
  const { errors, targets, advantages, qEstimates } = vtraceEstimates(
    { ...steps(inputs), values: inputs.array('values'), importanceRatios: inputs.array('rhos'), mask: inputs.mask('sample_mask', inputs.array('rewards')) },
    {
      ...options(each, inputs),
      clipRho: params.clip_rho_threshold ?? 1,
      clipPgRho: params.clip_pg_rho_threshold ?? 1,
      alpha: params.alpha ?? 1,
      maskedStates: 'use',
      remask: false,
    },
  );
  return { errors, targets, pg_advantages: advantages, q_estimates: qEstimates };
}

export const adapters: Adapter[] = [
  {
    library: 'rlax',
    function: 'multistep.discounted_returns',
    answer: (_, inputs) => ({ returns: discountedReturns({ rewards: inputs.array('rewards'), bootstrapValues: lastOf(inputs.optional('bootstrap_values')) }, gammaOf(inputs)) }),
  },
  { library: 'rlax', function: 'multistep.lambda_returns', answer: (each, inputs) => ({ returns: lambdaReturns(steps(inputs), options(each, inputs)) }) },
  {
    library: 'rlax',
    function: 'multistep.n_step_bootstrapped_returns',
    answer: (each, inputs) => ({ returns: nStepReturns(steps(inputs), { ...options(each, inputs), n: each.params.n }) }),
  },
  {
    library: 'rlax',
    function: 'multistep.truncated_generalized_advantage_estimation',
    answer: (each, inputs) => ({ advantages: truncatedGae({ rewards: inputs.array('rewards'), ...valuesOf(inputs) }, options(each, inputs)).advantages }),
  },
  {
    library: 'rlax',
    function: 'multistep.importance_corrected_td_errors',
    answer: (each, inputs) => ({
      td_errors: importanceCorrectedErrors({ rewards: inputs.array('rewards'), ...valuesOf(inputs), importanceRatios: inputs.array('rhos') }, options(each, inputs)),
    }),
  },
  {
    library: 'rlax',
    function: 'multistep.general_off_policy_returns_from_q_and_v',
    answer(_, inputs) {
      const time = inputs.array('rewards').shape[1]!;
      const [actionValues, traces] = [ofEachStep(inputs.array('q_values'), time), ofEachStep(inputs.array('c'), time)];
      return { returns: offPolicyReturns({ ...steps(inputs), actionValues, traces }, gammaOf(inputs)) };
    },
  },
  {
    library: 'rlax',
    function: 'value_learning.td_lambda',
    answer: (each, inputs) => ({ td_errors: lambdaReturns(steps(inputs), options(each, inputs)).sub(inputs.array('values')) }),
  },
  { library: 'rlax', function: 'value_learning.retrace', answer: retrace },
  { library: 'rlax', function: 'value_learning.retrace_continuous', answer: retraceContinuous },
  { library: 'rlax', function: 'vtrace.vtrace_td_error_and_advantage', answer: vtrace },
  { library: 'rlax', function: 'vtrace.leaky_vtrace_td_error_and_advantage', answer: vtrace },
];

/** One bootstrap value a row; of a whole sequence of them only the last counts. */
function lastOf(values: Tensor | null): Tensor | null {
  return values && values.ndim === 2 ? values.select(1, values.shape[1]! - 1) : values;
}
