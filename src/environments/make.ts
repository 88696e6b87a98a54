import { EnvironmentError } from '../errors';
import { thrownText } from '../frames';
import type { AnyRow } from '../data/rows';
import type { Environment, EnvironmentClass, EnvironmentSettings } from './environment';

/** @throws EnvironmentError that names the environment whose constructor throws */
export function makeEnvironment(name: string, Class: EnvironmentClass, row: AnyRow, settings: EnvironmentSettings): Environment {
  try {
    return new Class(row, settings);
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    throw new EnvironmentError(`environment '${name}': constructor: ${thrownText(error, 'makeEnvironment')}`, { cause: error });
  }
}
