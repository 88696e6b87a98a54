/** Which keys of a comparison have an effect: in the runs of one of its estimators at least. */
import { loadConfig } from '../config';
import { problemList } from '../config/load';
import { ConfigError } from '../errors';
import { type UnusedKey, unusedKeyProblem, unusedKeys } from '../trainer/unused_keys';

/** Overrides of the runs of one estimator. */
export interface GivenOverrides {
  /** That others have too, or that name the estimator. */
  common: readonly string[];
  /** Of this estimator only. */
  own: readonly string[];
}

/**
 * @param given by the estimator's name
 * @throws ConfigError for keys without an effect: common ones that no estimator reads, and own ones that theirs does not
 */
export function checkKeys(file: string, given: ReadonlyMap<string, GivenOverrides>): void {
  const found = [...given].map(([estimator, { common, own }]) => {
    const loaded = loadConfig({ file, overrides: [...common, ...own] });
    const isOwn = ({ key }: UnusedKey) => own.map((override) => override.split('=')[0]!.trim()).some((each) => key === each || key.startsWith(`${each}.`));
    const unused = unusedKeys(loaded).refused;
    return { estimator, own: unused.filter(isOwn), common: unused.filter((key) => !isOwn(key)) };
  });
  const [first] = found;
  const ofAll = (first?.common ?? []).flatMap((unused) => {
    const everywhere = found.map(({ common }) => common.find(({ key }) => key === unused.key));
    if (!everywhere.every((each) => each !== undefined)) return [];
    const reasons = new Set(everywhere.map(({ because }) => because));
    return [unusedKeyProblem({ ...unused, because: [...reasons].join('; ') })];
  });
  const problems = [...ofAll, ...found.flatMap(({ estimator, own }) => own.map((unused) => unusedKeyProblem({ ...unused, origin: `--for ${estimator}` })))];
  if (problems.length > 0) throw new ConfigError(problemList(problems));
}

/** Overrides that give the keys without an effect in a run, which have one in others, the value that nobody gave. */
export function standardOverrides(file: string, overrides: readonly string[]): string[] {
  return unusedKeys(loadConfig({ file, overrides })).refused.map(({ key, standard }) => `${key}=${JSON.stringify(standard)}`);
}
