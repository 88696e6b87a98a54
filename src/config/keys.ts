/** Which dotted keys exist, read off the schema; which are known from SkyRL and not supported yet; and what to say about any other. */
import { didYouMean, nearestSpelling } from '../errors';

/** Reading the schema takes a while: put off until a configuration is looked at. */
const schemaKeys = () => (require('./schema_keys') as typeof import('./schema_keys')).schemaKeys;

/** Keys of SkyRL's tree (a section stands for all below it) that nothing here honours yet: refused, rather than accepted without effect. */
const unsupported = [
  'trainer.strategy',
  'trainer.placement',
  'trainer.sequence_parallel_backend',
  'trainer.gradient_checkpointing',
  'trainer.use_sample_packing',
  'trainer.flash_attn',
  'trainer.hf_save_interval',
  'trainer.fully_async',
  'trainer.policy.model.lora',
  'trainer.policy.fsdp_config',
  'trainer.critic.fsdp_config',
  'trainer.ref.fsdp_config',
  'generator.backend',
  'generator.num_inference_engines',
  'generator.inference_engine_tensor_parallel_size',
  'generator.gpu_memory_utilization',
  'generator.run_engines_locally',
  'generator.weight_sync_backend',
  'generator.async_engine',
  'generator.batched',
  'generator.use_conversation_multi_turn',
  'environment.skyrl_gym',
];

/** Keys that SkyRL has given up for others. */
const replaced = new Map([
  ['trainer.algorithm.use_tis', 'trainer.algorithm.off_policy_correction.tis_ratio_type=token'],
  ['trainer.algorithm.tis_imp_ratio_cap', 'trainer.algorithm.off_policy_correction.token_tis_ratio_clip_high'],
]);

/** Every key that takes a value, dotted, in the order of the schema. */
export function configKeys(): string[] {
  return [...schemaKeys().keys];
}

/** Whether the dotted path is a section: a mapping of further keys, each of which can be set by itself. */
export function isSection(path: string): boolean {
  const { sections, open } = schemaKeys();
  return sections.has(path) || open.has(path);
}

/** The open mapping that a dotted path lies in, such as `trainer.algorithm.advantage_options`, or null. */
export function openSectionOf(path: string): string | null {
  const { open } = schemaKeys();
  const cut = path.lastIndexOf('.');
  const name = path.slice(cut + 1);
  return cut > 0 && open.has(path.slice(0, cut)) && name !== '' && name !== '__proto__' ? path.slice(0, cut) : null;
}

/** What is wrong with a dotted key, or null where it exists. */
export function keyProblem(path: string): string | null {
  const { sections, keys } = schemaKeys();
  if (keys.has(path) || sections.has(path) || openSectionOf(path) !== null) return null;
  if (unsupported.some((known) => path === known || path.startsWith(`${known}.`))) return `${path} is known but not supported yet`;
  if (replaced.has(path)) return `${path} has made room for ${replaced.get(path)}`;
  const nearest = nearestKey(path);
  return `${path}: unknown key.${nearest === null ? ` Below ${parentSection(path)}` : ` Did you mean ${nearest}?`}`;
}

/** The nearest path by spelling; else the nearest among its siblings; else a key of that very name elsewhere in the tree. */
function nearestKey(path: string): string | null {
  const { sections, keys } = schemaKeys();
  const all = [...keys, ...sections].filter((key) => key !== '');
  const cut = path.lastIndexOf('.');
  const name = path.slice(cut + 1);
  const siblings = all.filter((key) => key.lastIndexOf('.') === cut && key.slice(0, cut + 1) === path.slice(0, cut + 1));
  const sibling = didYouMean(
    name,
    siblings.map((key) => key.slice(cut + 1)),
  );
  if (sibling !== null) return path.slice(0, cut + 1) + sibling;
  return nearestSpelling(path, all) ?? all.find((key) => key.endsWith(`.${name}`)) ?? null;
}

function parentSection(path: string): string {
  const { sections, keys } = schemaKeys();
  let parent = path;
  do parent = parent.slice(0, Math.max(0, parent.lastIndexOf('.'))); while (!sections.has(parent));
  const prefix = parent === '' ? '' : `${parent}.`;
  const names = [...sections, ...keys].filter((key) => key !== '' && key.startsWith(prefix) && !key.slice(prefix.length).includes('.'));
  return `${parent === '' ? 'the top' : parent} there are: ${names.map((key) => key.slice(prefix.length)).join(', ')}`;
}
