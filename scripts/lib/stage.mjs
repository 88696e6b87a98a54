import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Every file under the given files and folders, sorted; a path that does not exist counts as empty. */
export function filesUnder(paths, { except = [] } = {}) {
  const files = [];
  const visit = (path) => {
    if (except.includes(path) || !existsSync(path)) return;
    if (!statSync(path).isDirectory()) files.push(path);
    else for (const name of readdirSync(path).sort()) visit(join(path, name));
  };
  paths.forEach(visit);
  return files;
}

/** SHA-256 over names and contents of the files and over `extra`: what a stage's result depends on. */
export function fingerprint(root, files, extra = '') {
  const hash = createHash('sha256').update(extra);
  for (const file of files) {
    const content = readFileSync(file);
    hash.update(`\0${relative(root, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** True where the stamp says that `inputs` was built, and what was built is still there. */
export function isCurrent({ stamp, inputs, products }) {
  return products.every((file) => existsSync(file)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs;
}

/**
 * Brings one stage up to date: nothing where it is current; otherwise `build`, and the stamp only when that has succeeded,
 * so that an interrupted or failed build is never taken for a complete one.
 * @param {{title: string, stamp: string, inputs: string, products: string[], build: (report: (done: string) => void) => Promise<void>}} stage
 * @returns {Promise<boolean>} whether anything was built
 */
export async function runStage(stage) {
  if (isCurrent(stage)) {
    console.log(`${stage.title.padEnd(TITLE_WIDTH)} up to date`);
    return false;
  }
  rmSync(stage.stamp, { force: true });
  await timed(stage.title, stage.build);
  for (const file of stage.products) if (!existsSync(file)) throw new Error(`${stage.title}: ${file} was not produced`);
  mkdirSync(dirname(stage.stamp), { recursive: true });
  writeFileSync(stage.stamp, stage.inputs);
  return true;
}

const TITLE_WIDTH = 22;

/** How far a build is, by the last line of Ninja (`[12/80] …`) or Make (`[ 15%] …`) in what it printed; null where there is none. */
export function buildProgress(output) {
  const last = [...output.matchAll(/^\[(?:(\d+)\/(\d+)| *(\d+)%)\]/gm)].at(-1);
  if (last === undefined) return null;
  const [, done, all, percent] = last;
  return percent === undefined ? `${done} of ${all} files` : `${percent} %`;
}

/** Milliseconds from line to line of what takes long, where the output is no terminal. */
const LINE_EVERY = 30_000;

/**
 * Runs `action` behind one line, `title … 12.3 s`, that counts the seconds on a terminal; elsewhere there is a line every half minute, so that a log shows that something goes on.
 * @param action is given a function that takes how far it is, such as `12 of 80 files`
 */
export async function timed(title, action, { lineEvery = LINE_EVERY } = {}) {
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  const heading = title.padEnd(TITLE_WIDTH);
  const live = process.stdout.isTTY;
  process.stdout.write(`${heading} ${live ? '' : '… '}`);
  let done = '';
  const now = () => `${seconds()}${done && `, ${done}`}`;
  const timer = live
    ? setInterval(() => process.stdout.write(`\r\x1b[K${heading} … ${now()}`), 200)
    : setInterval(() => process.stdout.write(`${now()}\n${heading} … `), lineEvery);
  try {
    const result = await action((text) => (done = text));
    process.stdout.write(live ? `\r\x1b[K${heading} ${seconds()}\n` : `${seconds()}\n`);
    return result;
  } catch (error) {
    process.stdout.write(live ? `\r\x1b[K${heading} failed after ${seconds()}\n` : `failed after ${seconds()}\n`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}
