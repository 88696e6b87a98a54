/** Which dotted keys exist, read off the schema; which are known from SkyRL and not supported yet; and what to say about any other. */
import { z } from 'zod';
import { didYouMean } from '../errors';
import { configSchema } from './schema';

type ZodType = z.core.$ZodType;

/** Strips defaults, nullability and transforms: the object with the keys, or the schema of the value. */
function inner(schema: ZodType): ZodType {
  if (
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodOptional
  ) {
    return inner(schema.def.innerType);
  }
  if (schema instanceof z.ZodPipe) return inner(schema.def.in instanceof z.ZodTransform ? schema.def.out : schema.def.in);
  return schema;
}

function collect(schema: ZodType, prefix: string, sections: Set<string>, keys: Set<string>): void {
  const value = inner(schema);
  if (value instanceof z.ZodRecord) open.add(prefix);
  if (!(value instanceof z.ZodObject)) {
    keys.add(prefix);
    return;
  }
  sections.add(prefix);
  for (const [name, child] of Object.entries(value.shape)) collect(child, prefix === '' ? name : `${prefix}.${name}`, sections, keys);
}

const sections = new Set<string>();
const keys = new Set<string>();
/** Keys whose value is a mapping of names that the schema does not know. */
const open = new Set<string>();
collect(configSchema, '', sections, keys);

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
  return [...keys];
}

/** Whether the dotted path is a section: a mapping of further keys, each of which can be set by itself. */
export function isSection(path: string): boolean {
  return sections.has(path) || open.has(path);
}

/** The open mapping that a dotted path lies in, such as `trainer.algorithm.advantage_options`, or null. */
export function openSectionOf(path: string): string | null {
  const cut = path.lastIndexOf('.');
  const name = path.slice(cut + 1);
  return cut > 0 && open.has(path.slice(0, cut)) && name !== '' && name !== '__proto__' ? path.slice(0, cut) : null;
}

/** What is wrong with a dotted key, or null where it exists. */
export function keyProblem(path: string): string | null {
  if (keys.has(path) || sections.has(path) || openSectionOf(path) !== null) return null;
  if (unsupported.some((known) => path === known || path.startsWith(`${known}.`))) return `${path} is known but not supported yet`;
  if (replaced.has(path)) return `${path} has made room for ${replaced.get(path)}`;
  const nearest = nearestKey(path);
  return `${path}: unknown key.${nearest === null ? ` Below ${parentSection(path)}` : ` Did you mean ${nearest}?`}`;
}

/** The nearest path by spelling; else the nearest among its siblings; else a key of that very name elsewhere in the tree. */
function nearestKey(path: string): string | null {
  const all = [...keys, ...sections].filter((key) => key !== '');
  const cut = path.lastIndexOf('.');
  const name = path.slice(cut + 1);
  const siblings = all.filter((key) => key.lastIndexOf('.') === cut && key.slice(0, cut + 1) === path.slice(0, cut + 1));
  const sibling = didYouMean(
    name,
    siblings.map((key) => key.slice(cut + 1)),
  );
  if (sibling !== null) return path.slice(0, cut + 1) + sibling;
  return didYouMean(path, all) ?? all.find((key) => key.endsWith(`.${name}`)) ?? null;
}

function parentSection(path: string): string {
  let parent = path;
  do parent = parent.slice(0, Math.max(0, parent.lastIndexOf('.'))); while (!sections.has(parent));
  const prefix = parent === '' ? '' : `${parent}.`;
  const names = [...sections, ...keys].filter((key) => key !== '' && key.startsWith(prefix) && !key.slice(prefix.length).includes('.'));
  return `${parent === '' ? 'the top' : parent} there are: ${names.map((key) => key.slice(prefix.length)).join(', ')}`;
}
