/** Asynchronous work with a limit on how much runs at once, and on how long it may take. */

/**
 * Calls `work` with every item, of which at most `limit` run at the same time; begun in order. Waits for all, whatever fails.
 * @throws what the first item, in their order, failed with
 */
export async function forEachConcurrently<Item>(items: readonly Item[], limit: number, work: (item: Item, index: number) => Promise<void>): Promise<void> {
  const failures = new Map<number, unknown>();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      try {
        await work(items[index]!, index);
      } catch (error) {
        failures.set(index, error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failures.size > 0) throw failures.get(Math.min(...failures.keys()));
}

/** `work` was not done in time. */
export class TimeoutError extends Error {}

/** What `work` gives, sooner than `seconds` (null: whenever). What it gives or throws later is lost. @throws TimeoutError */
export async function within<Result>(seconds: number | null, work: () => Result | Promise<Result>): Promise<Result> {
  if (seconds === null) return work();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimeoutError(`no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([(async () => work())(), late]);
  } finally {
    clearTimeout(timer);
  }
}
