/** Configurations as users write them, and what is said of those that are none. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config';
import { ConfigError } from '../../src/errors';

export const folder = mkdtempSync(join(tmpdir(), 'vantage-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;

export function yamlFile(text: string): string {
  const file = join(folder, `config-${count++}.yaml`);
  writeFileSync(file, text);
  return file;
}

export function errorOf(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('expected a ConfigError, got none');
}

export const overridden = (...overrides: string[]) => loadConfig({ overrides }).config;
