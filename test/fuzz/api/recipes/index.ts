/** What is called: valid calls as text, by part. The refused ones are wrong as they stand. */
import { addon, addonRefused } from './addon';
import { estimators, estimatorsRefused } from './estimators';
import { losses } from './losses';
import { config, data, environments, errors, models, runsRefused, tracking, trainer } from './runs';
import { tensor, tensorRefused } from './tensor';
import { workbench } from './workbench';

interface Part {
  valid: readonly string[];
  refused?: readonly string[];
  /** How often its calls are drawn where no part is chosen. */
  weight: number;
}

export const parts = {
  tensor: { valid: tensor, refused: tensorRefused, weight: 40 },
  estimators: { valid: estimators, refused: estimatorsRefused, weight: 15 },
  losses: { valid: losses, weight: 15 },
  addon: { valid: addon, refused: addonRefused, weight: 12 },
  models: { valid: models, weight: 4 },
  config: { valid: config, weight: 3 },
  data: { valid: data, refused: runsRefused, weight: 4 },
  environments: { valid: environments, weight: 3 },
  tracking: { valid: tracking, weight: 2 },
  trainer: { valid: trainer, weight: 1 },
  // Only by --part: what is left out of a call makes the lab measure everything, which takes longer than a call may.
  workbench: { valid: workbench, weight: 0 },
  errors: { valid: errors, weight: 1 },
} satisfies Record<string, Part>;

export type PartName = keyof typeof parts;
export const partNames = Object.keys(parts) as PartName[];
