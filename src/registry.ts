import { didYouMean, RegistryError, showValue } from './errors';

/** Options of the functions that register by name. */
export interface RegisterOptions {
  /** Further names that resolve to this entry. */
  aliases?: readonly string[];
  /** Replaces what the name (or an alias) stands for now, instead of throwing. */
  override?: boolean;
  /** Leaves the entry alone where the name is taken: what built-ins use, so that a second copy of the module changes nothing. */
  keepExisting?: boolean;
}

interface Table<T> {
  values: Map<string, T>;
  /** alias → name */
  aliases: Map<string, string>;
}

/**
 * Values by name: advantage estimators, policy losses, environments, tokenizers.
 *
 * The table belongs to the process, not to the object: two registries of one `kind` are views of the same table. So a name registered
 * through one copy of the package (ESM beside CommonJS, a nested install) is seen by the other.
 */
export class Registry<T> {
  private readonly table: Table<T>;

  /** @param kind what the entries are, in the words of the error messages: `advantage estimator`. */
  constructor(readonly kind: string) {
    const key = Symbol.for('vantage-rl.registries');
    const holder = globalThis as unknown as Record<symbol, Map<string, Table<T>> | undefined>;
    const tables = (holder[key] ??= new Map());
    const table = tables.get(kind) ?? { values: new Map(), aliases: new Map() };
    tables.set(kind, table);
    this.table = table;
  }

  /**
   * Adds `value` under `name` and its aliases. Registering the same value again is fine.
   * @throws RegistryError for an empty name, a missing value, and a name or alias that stands for something else (unless `override`).
   */
  register(name: string, value: T, options: RegisterOptions = {}): void {
    const { values, aliases } = this.table;
    if (typeof options !== 'object' || options === null) throw new RegistryError(`${this.kind}: expected options {aliases, override}, got ${showValue(options)}`);
    const { aliases: others = [] } = options;
    if (!Array.isArray(others)) throw new RegistryError(`${this.kind}: expected aliases to be an array of names, got ${showValue(others)}`);
    this.checkName(name);
    // Before they are spread: a list of nothing but holes may be longer than memory.
    for (const each of others as readonly string[]) this.checkName(each);
    const names = [name, ...(others as readonly string[])];
    if (value === undefined || value === null) throw new RegistryError(`${this.kind} '${name}': expected a value, got ${value}`);
    if (options.keepExisting && this.has(name)) return;
    if (!options.override) {
      for (const each of names) {
        const owner = this.resolve(each);
        if (owner === undefined || (owner === name && (each !== name || values.get(name) === value))) continue;
        const standsFor = owner === each ? 'is already registered' : `is already an alias of '${owner}'`;
        throw new RegistryError(`${this.kind} '${each}' ${standsFor}; pass { override: true } to replace it`);
      }
    }
    for (const each of names) this.remove(each, name);
    values.set(name, value);
    for (const alias of names.slice(1)) if (alias !== name) aliases.set(alias, name);
  }

  /** Removes the entry and its aliases; `name` may be an alias. @throws RegistryError for an unknown name. */
  unregister(name: string): void {
    const owner = this.resolveOrThrow(name);
    this.table.values.delete(owner);
    for (const alias of this.aliasesOf(owner)) this.table.aliases.delete(alias);
  }

  /** The value of a name or an alias. @throws RegistryError that lists what exists and names the nearest match. */
  get(name: string): T {
    return this.table.values.get(name) ?? (this.table.values.get(this.resolveOrThrow(name)) as T);
  }

  /** Whether a name, or an alias, is known. */
  has(name: string): boolean {
    return this.resolve(name) !== undefined;
  }

  /** The name that an alias stands for; any other text as it is. */
  nameOf(name: string): string {
    return this.resolve(name) ?? name;
  }

  /** The names, sorted, without aliases. */
  list(): string[] {
    return [...this.table.values.keys()].sort();
  }

  /** The aliases of a name, sorted. */
  aliasesOf(name: string): string[] {
    return [...this.table.aliases]
      .filter(([, owner]) => owner === name)
      .map(([alias]) => alias)
      .sort();
  }

  private resolve(name: string): string | undefined {
    return this.table.values.has(name) ? name : this.table.aliases.get(name);
  }

  private resolveOrThrow(name: string): string {
    this.checkName(name);
    const owner = this.resolve(name);
    if (owner === undefined) throw new RegistryError(unknownName(this.kind, name, this.list(), (each) => this.aliasesOf(each)));
    return owner;
  }

  /** Frees `each` for the entry `owner`: as an alias of another entry, and, where it is not `owner` itself, as an entry. */
  private remove(each: string, owner: string): void {
    this.table.aliases.delete(each);
    if (each !== owner && this.table.values.has(each)) this.unregister(each);
  }

  private checkName(name: unknown): void {
    if (typeof name !== 'string' || name.trim() === '') {
      throw new RegistryError(`${this.kind}: expected a name (non-empty text), got ${showValue(name)}`);
    }
  }
}

/** A name with its aliases: `regular (ppo)`. */
export function withAliases(name: string, aliases: readonly string[]): string {
  return aliases.length === 0 ? name : `${name} (${aliases.join(', ')})`;
}

/** The message for a name that does not exist: `Unknown policy loss 'regulr'. Did you mean 'regular'? Registered: dual_clip (vanilla), regular (ppo)`. */
export function unknownName(kind: string, name: string, names: readonly string[], aliasesOf: (name: string) => readonly string[] = () => []): string {
  const nearest = didYouMean(name, [...names, ...names.flatMap(aliasesOf)]);
  const hint = nearest === null ? '' : ` Did you mean '${nearest}'?`;
  return `Unknown ${kind} '${name}'.${hint} Registered: ${names.length > 0 ? names.map((each) => withAliases(each, aliasesOf(each))).join(', ') : '(none)'}`;
}
