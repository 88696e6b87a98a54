import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors';
import { type Command, parseCommandLine, print, unknownWord, UsageError } from './command';

const dtypes = ['float32', 'bfloat16'] as const;

export const exportModel: Command = {
  summary: 'Writes a model in the layout of Hugging Face',
  help: `Usage:
  vantage export CHECKPOINT FOLDER [--dtype ${dtypes.join('|')}] [--max_shard_gb N]
      CHECKPOINT: a folder global_step_N of a run, the ckpt_path above it or the run's folder (its newest checkpoint), or any model's folder.
      Writes config.json, weights as safetensors (default: float32, in shards of at most 5 GB) and the tokenizer's files.`,

  async run(argv) {
    const options = { dtype: { type: 'string', default: 'float32' }, max_shard_gb: { type: 'string', default: '5' } } as const;
    const { values, positionals } = parseCommandLine({ args: argv, options, allowPositionals: true });
    const [checkpoint, folder, ...more] = positionals;
    if (checkpoint === undefined || folder === undefined || more.length > 0) throw new UsageError('export: expected CHECKPOINT FOLDER');
    const dtype = dtypes.find((name) => name === values.dtype);
    if (!dtype) throw new UsageError(unknownWord('dtype', values.dtype, dtypes));
    const gigabytes = Number(values.max_shard_gb);
    if (!(gigabytes > 0)) throw new UsageError(`--max_shard_gb: expected a positive number, got '${values.max_shard_gb}'`);
    const { loadTransformer, saveHuggingFace } = require('../models') as typeof import('../models');
    const { latestCheckpoint } = require('../trainer') as typeof import('../trainer');
    const source = policyFolder(checkpoint, latestCheckpoint);
    const model = loadTransformer(source);
    saveHuggingFace(folder, model, { dtype, maxShardBytes: gigabytes * 1e9 });
    print(`${source}: ${model.size} weights → ${folder} (${dtype})`);
    model.dispose();
  },
};

function policyFolder(given: string, latestCheckpoint: (path: string) => string | null): string {
  // A run's folder has a config.json too, the run's own.
  const newest = [join(given, 'checkpoints'), given].flatMap((path) => latestCheckpoint(path) ?? []);
  const candidates = [...newest.map((folder) => join(folder, 'policy')), given, join(given, 'policy')];
  const found = candidates.find((folder) => existsSync(join(folder, 'config.json')));
  if (found !== undefined) return found;
  throw new DataError(`${given}: expected a checkpoint (global_step_N, the folder above it, or the run's folder) or a model's folder, got no config.json there`);
}
