/** What tests try: all properties but speed, which is no matter of right or wrong, and takes its time. */
import { listCheckProperties } from 'vantage-rl';

export const allButSpeed: readonly string[] = listCheckProperties().map(({ id }) => id).filter((id) => id !== 'speed');
