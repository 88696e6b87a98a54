/** The policy losses of TRL and Liger-Kernel. */
import { mean, sum } from './arithmetic';
import { trlGamma, trlKeep } from './off_policy';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';
import { Scalar, slopes, total } from './scalar';

const lengths = (mask: Table): number[] => mask.map((row) => sum(row));

/** Mean over the tokens of the rows, each divided by its length. */
const maskedMean = (x: Table, mask: Table): number => sum(x.flatMap((row, b) => row.filter((_, t) => mask[b]![t]))) / Math.max(1, sum(mask.flat()));
const rowMeans = (x: Table, mask: Table): number[] => x.map((row, b) => sum(row.filter((_, t) => mask[b]![t])) / Math.max(1, sum(mask[b]!)));

/** 1 for the tokens whose entropy reaches the quantile of that of all valid tokens (linear between neighbours). */
function highEntropy(entropies: Table, mask: Table, quantile: number): Table {
  const known = entropies.flatMap((row, b) => row.filter((_, t) => mask[b]![t])).sort((x, y) => x - y);
  if (known.length === 0) return mask.map((row) => row.map(() => 0));
  const place = quantile * (known.length - 1);
  const below = known[Math.floor(place)]!;
  const threshold = below + (place - Math.floor(place)) * (known[Math.ceil(place)]! - below);
  return entropies.map((row, b) => row.map((x, t) => (mask[b]![t] && x >= threshold ? 1 : 0)));
}

interface Habits {
  /** A row's ratio in shares of clipped tokens is that of each of its tokens. */
  tokens: boolean;
  perStep: boolean;
}

function familyLoss({ params, inputs }: Given, { tokens, perStep }: Habits) {
  const type = params.loss_type as string;
  const level = params.importance_sampling_level as string;
  const a = inputs.advantages as number[];
  const l = (inputs.log_probs as Table).map((row) => row.map((x) => new Scalar(x)));
  const old = (inputs.old_log_probs ?? inputs.log_probs) as Table;
  const mask = (inputs.mask ?? old.map((row) => row.map(() => 1))) as Table;
  const [low, high] = [1 - params.epsilon_low, 1 + (params.epsilon_high ?? params.epsilon_low)];
  const byRow = level === 'sequence';
  const log = l.map((row, b) => {
    const each = row.map((x, t) => x.sub(old[b]![t]!));
    if (!byRow) return each;
    const whole = total(each.filter((_, t) => mask[b]![t])).div(Math.max(1, sum(mask[b]!)));
    return each.map(() => whole);
  });
  const ratio = log.map((row) => row.map((x) => x.exp()));

  const weights = inputs.importance_sampling_ratio as Table | null | undefined;
  const weightAt = (b: number, t: number) => (weights ? (weights[b]!.length === 1 ? weights[b]![0]! : weights[b]![t]!) : 1);
  const phi = type === 'vespo'
    ? trlGamma(log.map((row) => row.map((x) => x.value)), a, mask, weights ?? null, {
      k_pos: params.vespo_k_pos,
      lambda_pos: params.vespo_lambda_pos,
      k_neg: params.vespo_k_neg,
      lambda_neg: params.vespo_lambda_neg,
    })
    : null;
  const plain = ratio.map((row, b) =>
    row.map((r, t) => {
      const advantage = a[b]!;
      switch (type) {
        case 'cispo':
          return l[b]![t]!.mul(-Math.min(r.value, params.epsilon_high ?? params.epsilon_low) * advantage);
        case 'sapo': {
          const tau = advantage > 0 ? params.sapo_temperature_pos : params.sapo_temperature_neg;
          return r.sub(1).mul(tau).sigmoid().mul(4 / tau).mul(-advantage);
        }
        case 'vespo':
          return l[b]![t]!.mul(-phi![b]! * advantage);
        default: {
          const capped = (params.delta ?? null) === null ? r : r.clamp(null, params.delta);
          return capped.mul(advantage).min(r.clamp(low, high).mul(advantage)).neg();
        }
      }
    })
  );
  const keep = (params.off_policy_mask_threshold ?? null) === null ? null : trlKeep(inputs.log_probs, inputs.sampling_log_probs ?? old, a, mask, params.off_policy_mask_threshold);
  const entropic = (params.top_entropy_quantile ?? 1) < 1 ? highEntropy(inputs.entropies, mask, 1 - params.top_entropy_quantile) : null;
  const kls = l.map((row, b) =>
    row.map((x, t) => {
      if (!inputs.ref_log_probs) return new Scalar(0);
      const d = x.neg().add(inputs.ref_log_probs[b][t]);
      const kl = d.exp().sub(d).sub(1);
      return params.use_bias_correction_kl ? kl.mul(ratio[b]![t]!) : kl;
    })
  );
  const losses = plain.map((row, b) =>
    row.map((x, t) => {
      const factor = (keep?.[b] ?? 1) * (entropic?.[b]![t] ?? 1) * (type === 'vespo' ? 1 : weightAt(b, t));
      const weighed = x.mul(factor);
      return params.beta !== 0 ? weighed.add(kls[b]![t]!.mul(params.beta)) : weighed;
    })
  );

  const rows = losses.map((row, b) => total(row.filter((_, t) => mask[b]![t])));
  const n = lengths(mask);
  const step = params.gradient_accumulation_steps ?? 1;
  const all = total(rows);
  const tokensInBatch = params.num_items_in_batch ?? Math.max(1, sum(n));
  const shared = () => all.div(tokensInBatch / (params.num_processes ?? 1));
  const perRow = () => total(rows.map((row, b) => row.div(Math.max(1, n[b]!)))).div(rows.length);
  const reduced = (): Scalar => {
    switch (type) {
      case 'grpo':
      case 'sapo':
        return perRow().div(step);
      case 'bnpo':
        return all.div(Math.max(1, sum(n))).div(step);
      case 'dr_grpo':
        return all.div(rows.length * params.max_completion_length).div(step);
      case 'luspo':
        // Each row by its length, then the mean over all columns, masked ones too.
        return total(losses.map((row, b) => total(row).mul(n[b]!))).div(rows.length * mask[0]!.length).div(step);
      default:
        return perStep || params.num_items_in_batch ? shared() : all.div(Math.max(1, sum(n)));
    }
  };
  const loss = reduced();

  const isLow = ratio.map((row, b) => row.map((r) => Number(r.value < low && a[b]! < 0)));
  const isHigh = ratio.map((row, b) => row.map((r) => Number(r.value > high && a[b]! > 0)));
  const region = isLow.map((row, b) => row.map((x, t) => Number(x || isHigh[b]![t])));
  // What has one column is taken for a number a row, and empty rows count.
  const ofRows = !tokens && (byRow || mask[0]!.length === 1);
  const share = (x: Table) => (ofRows ? mean(x.map((row) => row[0]!)) : maskedMean(x, mask));
  const filled = <T>(x: T[]) => x.filter((_, b) => ofRows || n[b]! > 0);
  const shares = (x: Table) => filled(ofRows ? x.map((row) => row[0]!) : rowMeans(x, mask));
  const divergences = kls.map((row) => row.map((x) => x.value));
  const metrics: Record<string, number> = params.beta !== 0 ? { kl: !tokens && mask[0]!.length === 1 ? mean(divergences.flat()) : maskedMean(divergences, mask) } : {};
  const capped = ratio.map((row, b) => row.map((r) => Number(r.value > (params.epsilon_high ?? params.epsilon_low) && a[b]! > 0)));
  if (tokens) metrics.clip_ratio = type === 'cispo' ? share(capped) : type === 'sapo' || type === 'vespo' ? 0 : share(region);
  else if (type === 'cispo') metrics.cispo_clip_ratio = share(capped);
  else if (type === 'vespo') metrics['vespo/phi_seq_mean'] = mean(phi!);
  else if (type !== 'sapo' && filled(n).length > 0) {
    Object.assign(metrics, {
      'clip_ratio/low_mean': share(isLow),
      'clip_ratio/high_mean': share(isHigh),
      'clip_ratio/region_mean': share(region),
      'clip_ratio/low_min': Math.min(...shares(isLow)),
      'clip_ratio/high_max': Math.max(...shares(isHigh)),
    });
  }
  return { loss: loss.value, grad_log_probs: slopes(loss, l), metrics };
}

const types = ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'luspo', 'sapo', 'cispo', 'vespo'];
const clips = (type: string) => ['grpo', 'bnpo', 'dr_grpo', 'dapo', 'luspo'].includes(type);

function drawFamily(random: Random, type: string): Given {
  const logProbs = random.logProbs();
  const old = random.near(logProbs, random.pick([0.05, 0.5, 1]));
  const mask = random.mask().map((row, b) => (b === 0 ? [1, ...row.slice(1)] : row));
  const beta = random.pick([0, 0.04, 0.1]);
  const weighted = random.chance(0.3);
  const perToken = type !== 'luspo' && random.chance(0.5);
  return {
    params: {
      loss_type: type,
      beta,
      epsilon_low: random.pick([0.2, 0.0003]),
      epsilon_high: type === 'cispo' ? random.pick([1.2, 5]) : random.pick([0.2, 0.28]),
      delta: clips(type) ? random.pick([null, 1.5, 4]) : null,
      importance_sampling_level: type === 'luspo' ? 'sequence' : type === 'vespo' || type === 'cispo' ? 'token' : random.pick(['token', 'sequence']),
      use_bias_correction_kl: random.chance(0.3),
      max_completion_length: random.time + random.below(6),
      num_items_in_batch: 10 + random.below(20),
      sapo_temperature_pos: random.pick([1, 0.5]),
      sapo_temperature_neg: random.pick([1.05, 2]),
      vespo_k_pos: 2,
      vespo_lambda_pos: 3,
      vespo_k_neg: 3,
      vespo_lambda_neg: 2,
    },
    inputs: {
      log_probs: logProbs,
      old_log_probs: old,
      advantages: random.list(random.batch, () => random.pick([0, random.number(-2, 2), random.number(-2, 2)])),
      mask,
      // Near enough that the terms of the weighted divergence's slope do not cancel each other's digits.
      ...(beta !== 0 && { ref_log_probs: logProbs.map((row) => row.map((x) => x + random.number(-0.6, 0.6))) }),
      ...(weighted && { importance_sampling_ratio: perToken || type === 'vespo' ? random.numbers(0.5, 2) : random.list(random.batch, () => random.number(0.5, 2)).map((x) => [x]) }),
    },
  };
}

function drawTrl(type: string) {
  return (random: Random): Given => {
    const { params, inputs } = drawFamily(random, type);
    const drifts = random.chance(0.25);
    // A token without a twin decides where the entropies part.
    const entropic = type !== 'luspo' && type !== 'vespo' && random.chance(0.25);
    let place = 0;
    return {
      params: {
        ...params,
        gradient_accumulation_steps: random.pick([1, 2]),
        num_processes: random.pick([1, 1, 2]),
        off_policy_mask_threshold: drifts ? 0.05 : null,
        top_entropy_quantile: entropic ? random.pick([0.25, 0.75, 0.5]) : 1,
      },
      inputs: {
        ...inputs,
        ...(drifts && { sampling_log_probs: (inputs.old_log_probs as Table).map((row) => row.map((x) => x + random.number(-0.3, 0.3))) }),
        ...(entropic && { entropies: random.table(() => random.number(0, 3) + ++place / 8192) }),
      },
    };
  };
}

const refuses = ['cispo', 'sapo', 'vespo'];

export const references: Reference[] = [
  ...types.map((type) => ({ library: 'TRL', function: 'GRPOTrainer._compute_loss', name: type, draw: drawTrl(type), answer: (given: Given) => familyLoss(given, { tokens: false, perStep: true }) })),
  {
    library: 'Liger-Kernel',
    function: 'LigerFusedLinearGRPOFunction.ppo_loss_fn',
    name: 'grpo_family',
    draw(random) {
      const { params, inputs } = drawFamily(random, random.pick(types.filter((type) => type !== 'vespo')));
      return { params: { ...params, num_items_in_batch: random.pick([null, params.num_items_in_batch]) }, inputs };
    },
    answer(given) {
      const { loss_type: type, importance_sampling_level: level } = given.params;
      if (level === 'sequence' && refuses.includes(type)) throw new Raised(`ValueError: Sequence-level importance sampling is not supported for loss_type='${type}'.`);
      return familyLoss(given, { tokens: true, perStep: false });
    },
  },
];
