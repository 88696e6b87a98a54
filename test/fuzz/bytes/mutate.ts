/** Changes of files: of their bytes, of the numbers in a text, of the tree of a JSON document. */

/** The files of one input, by name. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** Where a file holds JSON: its text, and a file with another text in its place. */
export interface JsonPart {
  text: string;
  replace(text: string): Uint8Array;
}

/** Numbers that follow from a seed (mulberry32). */
export class Random {
  constructor(private state: number) {}

  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * limit);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const EXTREME_NUMBERS = [
  '0',
  '-1',
  '1',
  '-0',
  '2',
  '255',
  '256',
  '65536',
  '2147483647',
  '2147483648',
  '4294967296',
  '9007199254740991',
  '9007199254740992',
  '1e308',
  '1e999',
  '-1e999',
  '0.5',
  '1e-320',
  '1e9',
  '100000000',
];
const EXTREME_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x20, 0x22, 0x5b, 0x7b, 0x7d];
const STRANGE_VALUES: readonly (() => unknown)[] = [
  () => null,
  () => true,
  () => false,
  () => '',
  () => 'text',
  () => '__proto__',
  () => 'constructor',
  () => '../../x',
  () => '\u0000',
  () => '💥',
  () => '(a+)+$',
  () => '{% for i in range(1000000000) %}{% endfor %}',
  () => 'x'.repeat(5000),
  () => [],
  () => ({}),
  () => [[]],
  () => Array.from({ length: 1000 }, (_, i) => i),
  () => JSON.parse('['.repeat(500) + ']'.repeat(500)) as unknown,
  () => ({ length: 1e9 }),
  () => JSON.parse('{"__proto__":{"a":1}}') as unknown,
];

/** A change of one of the files, or a file that goes missing, or one of another input in its place. */
export function mutate(files: Files, others: readonly Files[], random: Random, jsonOf: (name: string, bytes: Uint8Array) => JsonPart | null): Map<string, Uint8Array> {
  const changed = new Map(files);
  const count = 1 + random.below(3);
  for (let i = 0; i < count; i++) {
    const names = [...changed.keys()];
    if (names.length === 0) break;
    const name = random.of(names);
    const bytes = changed.get(name)!;
    const kind = random.below(20);
    if (kind === 0 && names.length > 1) changed.delete(name);
    else if (kind === 1) changed.set(name, random.of(others).get(name) ?? changed.get(random.of(names))!);
    else {
      const part = kind < 11 ? jsonOf(name, bytes) : null;
      const other = random.of(others).get(name) ?? bytes;
      changed.set(name, part === null ? mutateBytes(bytes, other, random) : part.replace(mutateJson(part.text, random)));
    }
  }
  return changed;
}

function mutateBytes(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const end = at + random.below(Math.min(bytes.length - at, 64) + 1);
  const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
  switch (random.below(9)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return join(bytes.subarray(0, at), bytes.subarray(end));
    case 2:
      return join(bytes.subarray(0, end), bytes.subarray(at));
    case 3: {
      const from = random.below(other.length + 1);
      return join(bytes.subarray(0, at), other.subarray(from, from + random.below(256)), bytes.subarray(end));
    }
    case 4:
      return join(bytes.subarray(0, at), Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256)), bytes.subarray(at));
    case 5:
      return extremeInteger(bytes, at, random);
    case 6:
      return mutateNumber(bytes, random);
    default: {
      const changed = bytes.slice();
      for (let k = 1 + random.below(3); k > 0 && changed.length > 0; k--) {
        const place = random.below(changed.length);
        changed[place] = random.below(2) === 0 ? changed[place]! ^ (1 << random.below(8)) : random.of(EXTREME_BYTES);
      }
      return changed;
    }
  }
}

/** An integer of some width, little end first, becomes one at the edge of what it can be. */
function extremeInteger(bytes: Uint8Array, at: number, random: Random): Uint8Array {
  const changed = bytes.slice();
  const width = random.of([2, 4, 8]);
  const value = random.of([0n, 1n, 0x7fn, 0xffffn, 0x7fffffffn, 0xffffffffn, 0x7fffffffffffffffn, 0xffffffffffffffffn]);
  for (let i = 0; i < width && at + i < changed.length; i++) changed[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return changed;
}

/** A number in a text becomes an extreme one. */
function mutateNumber(bytes: Uint8Array, random: Random): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const found = [...text.matchAll(/-?\d+(\.\d+)?([eE][-+]?\d+)?/g)];
  if (found.length === 0) return bytes;
  const { 0: number, index } = random.of(found);
  return new Uint8Array(Buffer.from(text.slice(0, index) + random.of(EXTREME_NUMBERS) + text.slice(index + number.length), 'latin1'));
}

type Place = { holder: Record<string, unknown> | unknown[]; key: string | number };

function places(value: unknown, found: Place[] = []): Place[] {
  const pending = [value];
  while (pending.length > 0 && found.length < 3000) {
    const holder = pending.pop();
    if (typeof holder !== 'object' || holder === null) continue;
    for (const key of Array.isArray(holder) ? holder.keys() : Object.keys(holder)) {
      found.push({ holder: holder as Record<string, unknown>, key });
      pending.push((holder as Record<string | number, unknown>)[key]);
    }
  }
  return found;
}

/** One place of the tree changes; a text of lines changes in one of them. What is no JSON any more changes as bytes do. */
function mutateJson(text: string, random: Random): string {
  const lines = text.trimEnd().includes('\n{') ? text.split('\n') : [text];
  const line = random.below(lines.length);
  try {
    lines[line] = mutateTree(JSON.parse(lines[line]!), random);
  } catch {
    lines[line] = Buffer.from(mutateBytes(Buffer.from(lines[line]!), Buffer.from(text), random)).toString('utf8');
  }
  return lines.join('\n');
}

function mutateTree(root: unknown, random: Random): string {
  const all = places(root);
  if (all.length === 0) return JSON.stringify(random.of(STRANGE_VALUES)());
  const { holder, key } = random.of(all);
  const tree = holder as Record<string | number, unknown>;
  const another = random.of(all);
  const value = tree[key];
  switch (random.below(8)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(key as number, 1);
      else delete tree[key];
      break;
    case 1:
      if (Array.isArray(holder)) holder.push(value);
      else tree[`${key}${random.below(10)}`] = value;
      break;
    case 2:
      tree[key] = structuredClone((another.holder as Record<string | number, unknown>)[another.key]);
      break;
    case 3:
      tree[key] = random.below(2) === 0 ? [value] : { value };
      break;
    case 4:
    case 5:
      // JSON has numbers that JavaScript has not: they are put into the text.
      tree[key] = '\u0001NUMBER\u0001';
      return JSON.stringify(root).replace('"\\u0001NUMBER\\u0001"', random.of(EXTREME_NUMBERS));
    case 6:
      tree[key] = typeof value === 'string' ? `${value}${value}` : typeof value === 'number' ? value + random.below(3) - 1 : String(value);
      break;
    default:
      tree[key] = random.of(STRANGE_VALUES)();
  }
  return JSON.stringify(root) ?? 'null';
}
