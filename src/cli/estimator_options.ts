import { parse } from 'yaml';
import { UsageError } from './command';

/** `gae:whiten=none,lambda=0.9`: a name and options, values as in a configuration. @throws UsageError for an entry that is none */
export function parseEstimatorOptions(command: string, text: string): { name: string; options: Record<string, unknown> } {
  const [name, list] = [text.split(':')[0], text.split(':').slice(1).join(':')];
  // A comma within brackets belongs to a list.
  const entries = list === '' ? [] : list.split(/,(?![^[]*\])/).map((entry) => {
    const [key, ...value] = entry.split('=');
    if (value.length === 0 || key.trim() === '') throw new UsageError(`${command}: ${text}: expected OPTION=VALUE behind the colon, got '${entry}'`);
    return [key.trim(), parse(value.join('=')) as unknown] as const;
  });
  return { name, options: Object.fromEntries(entries) };
}
