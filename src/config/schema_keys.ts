/** The dotted keys of the configuration, read off the schema. */
import { z } from 'zod';
import { configSchema } from './schema';

type ZodType = z.core.$ZodType;

export interface SchemaKeys {
  sections: Set<string>;
  keys: Set<string>;
  /** Keys whose value is a mapping of names that the schema does not know. */
  open: Set<string>;
}

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

function collect(schema: ZodType, prefix: string, into: SchemaKeys): void {
  const { sections, keys, open } = into;
  const value = inner(schema);
  if (value instanceof z.ZodRecord) open.add(prefix);
  if (!(value instanceof z.ZodObject)) {
    keys.add(prefix);
    return;
  }
  sections.add(prefix);
  for (const [name, child] of Object.entries(value.shape)) collect(child, prefix === '' ? name : `${prefix}.${name}`, into);
}

export const schemaKeys: SchemaKeys = { sections: new Set(), keys: new Set(), open: new Set() };
collect(configSchema, '', schemaKeys);
