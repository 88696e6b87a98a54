/** Filters of batches. */
import { DynamicSamplingFilter, dynamicSamplingReplace, overlongFilter, zeroVarianceFilter, type SampledBatch } from 'vantage-rl';
import type { Adapter, Answer } from '../adapter';
import type { Case } from '../case';

type Batch = { group_ids: string[]; rewards: (number | number[])[]; sample_ids: number[] };

const ours = ({ group_ids, rewards, sample_ids }: Batch): SampledBatch<number> => ({ groupIds: group_ids, rewards, samples: sample_ids });
const theirs = ({ groupIds, rewards, samples }: SampledBatch<number>) => ({ group_ids: groupIds, rewards, sample_ids: samples });

/** Hands the batches over one after another until there are enough prompts. */
function collect({ params, inputs }: Case): Answer {
  const filter = new DynamicSamplingFilter<number>({ trainBatchSize: params.train_batch_size, samplesPerPrompt: params.n_samples_per_prompt });
  const rounds: unknown[] = [];
  for (const batch of inputs.batches as Batch[]) {
    if (!filter.add(ours(batch))) {
      rounds.push({ keep_sampling: false, ...theirs(filter.take()) });
      break;
    }
    rounds.push({ keep_sampling: true, num_prompts_collected: filter.promptsCollected, collected_sample_ids: filter.collected.samples });
  }
  return { rounds };
}

const live = (masks: number[][]) => masks.map((mask) => mask.some((m) => m !== 0));

export const adapters: Adapter[] = [
  {
    library: 'SkyRL',
    function: 'apply_overlong_filtering',
    answer: ({ inputs }) => ({ loss_masks: overlongFilter(inputs.loss_masks as number[][], inputs.stop_reasons) }),
  },
  {
    library: 'SkyRL',
    function: 'handle_dynamic_sampling',
    name: 'dynamic_sampling_filter',
    answer: collect,
    differs: ({ expected }) => (expected.throws ? 'a batch without a group whose rewards differ: SkyRL raises, ours goes on sampling' : null),
  },
  {
    library: 'SkyRL',
    function: 'handle_dynamic_sampling',
    name: 'dynamic_sampling_replace',
    answer({ params, inputs }) {
      const options = { samplesPerPrompt: params.n_samples_per_prompt, minReplaceRatio: params.min_replace_ratio };
      const { keepSampling, ...batch } = dynamicSamplingReplace(ours(inputs as Batch), options);
      return { keep_sampling: keepSampling, ...theirs(batch) };
    },
  },
  {
    library: 'SkyRL',
    function: 'zero_variance_filter',
    answer: ({ params, inputs }) => ({
      kept_indices: zeroVarianceFilter(inputs.rewards, inputs.group_ids, { tolerance: params.tol ?? 0 }, inputs.loss_masks ? live(inputs.loss_masks) : undefined),
    }),
  },
];
