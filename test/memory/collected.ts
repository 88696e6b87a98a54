// Prints how many tensors and buffers a hundred calls of `tidy` made, and how many were left once they were collected.
// Run with `node --expose-gc --import tsx`.
import { setTimeout as sleep } from 'node:timers/promises';
import { keep, memory, tensor, tidy } from 'vantage-rl';

const collect = globalThis.gc as () => void;

/** Finalizers run some time after a collection, on a busy machine a long time. */
async function settle(enough: () => boolean) {
  for (let round = 0; round < 500 && !enough(); round++) {
    collect();
    await sleep(round < 20 ? 2 : 20);
  }
}

const since = (start: ReturnType<typeof memory>) => {
  const { tensors, buffers } = memory();
  return { tensors: tensors - start.tensors, buffers: buffers - start.buffers };
};

async function main() {
  const start = memory();
  for (let n = 0; n < 100; n++) tidy(() => [tensor([n]).add(1).realize(), tidy(() => tensor([n])), keep(tensor([n])).shape]);
  const made = since(start);
  await settle(() => since(start).tensors < 10);
  console.log(JSON.stringify({ made, left: since(start) }));
}

void main();
