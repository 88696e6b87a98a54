/** Is an estimator right? Properties that hold for every estimator that is what it declares to be, tried on drawn batches, with the smallest batch where one does not hold. */
import type { AdvantageEstimatorClass, EstimatorDeclaration } from '../advantages';
import { SmallRandom } from '../data/random';
import { EstimatorError, showValue } from '../errors';
import { checkNames } from '../options';
import { unknownName } from '../registry';
import { sizeOf, type Batch } from './batch';
import { causes, type CauseId } from './causes';
import { codeFor } from './code';
import { disagreement } from './compare';
import { properties } from './properties';
import { referenceProperty, type EstimatorReference } from './properties/reference';
import { batchFor, type Property, type Violation } from './property';
import { checkText } from './report';
import { shrink } from './shrink';
import { Subject } from './subject';
import { suggestionsFor } from './suggest';

/** How an estimator is checked. */
export interface CheckOptions {
  /** Of the batches. The same seed gives the same report. Default 0. */
  seed?: number;
  /** Batches that each property is tried on. Default 40. */
  runs?: number;
  /** Ids of the properties to try. Default: all. */
  only?: readonly string[];
  /** Options of the estimator. */
  options?: Readonly<Record<string, unknown>>;
  /** Declarations in place of those of the class (`static declares`). */
  declares?: EstimatorDeclaration;
  /** What it should give: another estimator's numbers, or those of a loop. */
  reference?: EstimatorReference;
  /** Stop at the first property that fails. Default false. */
  bail?: boolean;
  /** Look for the smallest batch that shows a fault, which takes most of the time of finding one. Default true. */
  shrink?: boolean;
  /** Throw where a property does not hold, with the report as the message. Default false. */
  throw?: boolean;
  /** From where the code of a report imports the class, or what registers it. */
  module?: string;
  /** The name under which that module exports the class, where it is not registered. */
  exportedAs?: string;
  /** Called before each property. */
  onProgress?: (progress: { done: number; total: number; label: string }) => void;
}

/** A property that does not hold, or something that is reported. */
export interface CheckFinding {
  /** The name of the usual cause. */
  cause: CauseId;
  /** What it is. */
  usualCause: string;
  /** What mends it. */
  cure: string;
  /** What else is known of the cause here. */
  hint: string | null;
  /** What was seen. */
  seen: string;
  /** Rows of the smallest batch that shows it. */
  rows: number;
  /** Columns of it. */
  columns: number;
  /** A script that shows it, to paste. */
  code: string;
}

/** What became of one property. */
export interface CheckedProperty {
  /** As docs/checking.md lists them. */
  id: string;
  /** What holds. */
  title: string;
  /** `noted` and `warned` are no failures; `skipped` ones say nothing of this estimator. */
  status: 'passed' | 'failed' | 'warned' | 'noted' | 'skipped';
  /** Why it was skipped. */
  reason: string | null;
  /** Batches that it was tried on. */
  tries: number;
  /** Null where it passed or was skipped. */
  finding: CheckFinding | null;
}

/** What a check found. */
export interface CheckReport {
  /** The estimator's name, or that of its class. */
  estimator: string;
  /** What it was held to. */
  declared: EstimatorDeclaration;
  /** Of the batches. */
  seed: number;
  /** Batches a property. */
  runs: number;
  /** Whether no property failed. */
  passed: boolean;
  /** Each property, in the order in which they were tried. */
  properties: CheckedProperty[];
  /** What the class could declare, as its results say. */
  suggestions: string[];
}

/** Calls that show an estimator whose results are random in one of ten. */
const CALLS_FOR_CHANCE = 24;

/** Why what compares two calls is skipped where they differ by chance, which the property `id` says. */
const chanceIn = (id: string): string => `${id} failed (the same call gives several results)`;

const optionNames = ['seed', 'runs', 'only', 'options', 'declares', 'reference', 'bail', 'shrink', 'throw', 'module', 'exportedAs', 'onProgress'];

export function checkEstimator(estimator: string | AdvantageEstimatorClass, options: CheckOptions = {}): CheckReport {
  checkNames('checkEstimator', 'option', options, optionNames);
  const { seed = 0, runs = 40, only, options: own = {}, declares = {}, reference, module = null, exportedAs = null, onProgress } = options;
  for (const [name, value, low] of [['seed', seed, -Number.MAX_SAFE_INTEGER], ['runs', runs, 1]] as const) {
    if (!(Number.isSafeInteger(value) && value >= low)) throw new EstimatorError(`checkEstimator: option '${name}': expected a whole number${low === 1 ? ', 1 or more' : ''}, got ${showValue(value)}`);
  }
  checkNames("checkEstimator: option 'declares'", 'declaration', declares, ['scope', 'invariantTo', 'alignment', 'emptyRows', 'rewardRange', 'smallestGroup']);
  checkSubject(estimator);
  const all = reference === undefined ? properties : [...properties.slice(0, 1), referenceProperty(reference), ...properties.slice(1)];
  const chosen = chosenOf(all, only);
  const subject = new Subject(estimator, typeof estimator === 'string' ? estimator : estimator.name || '(anonymous)', own, declares);
  const results: CheckedProperty[] = [];
  const broken = new Set<string>();
  // What chance explains is the matter of `repeated`, also where a property before it has found it.
  const ofChance = chosen.find(({ id }) => id === 'repeated');
  let random: CheckedProperty | null = null;
  for (const [done, property] of chosen.entries()) {
    onProgress?.({ done, total: chosen.length, label: property.id });
    // What explains all that follows is one reason, and a report's one line.
    const ofAll = broken.has('result') ? 'result failed' : random && property !== ofChance && !property.single ? chanceIn((ofChance ?? random).id) : null;
    const reason = ofAll ?? property.skip?.(subject) ?? explainedBy(property, broken);
    let checked: CheckedProperty;
    if (reason !== null) checked = skipped(property, reason);
    else if (random && property === ofChance) checked = { ...random, id: property.id, title: property.title };
    else checked = tried(property, subject, { seed, runs, smallest: options.shrink !== false, isRandom: random !== null, origin: { module, exported: exportedAs } });
    if (checked.finding?.cause === 'randomness' && random === null) {
      random = checked;
      if (ofChance && chosen.indexOf(ofChance) > done) checked = skipped(property, chanceIn(ofChance.id));
    }
    results.push(checked);
    if (checked.status === 'failed') broken.add(property.id);
    if (broken.size > 0 && options.bail === true) break;
  }
  const passed = broken.size === 0;
  const suggestions = passed && only === undefined ? suggestionsFor(subject, seed) : [];
  const report = { estimator: subject.name, declared: { ...subject.declared, scope: subject.scope }, seed, runs, passed, properties: results, suggestions };
  if (!passed && options.throw === true) throw new EstimatorError(checkText(report));
  return report;
}

export function assertEstimator(estimator: string | AdvantageEstimatorClass, options: Omit<CheckOptions, 'throw'> = {}): CheckReport {
  return checkEstimator(estimator, { ...options, throw: true });
}

export function listCheckProperties(): { id: string; title: string }[] {
  return properties.map(({ id, title }) => ({ id, title }));
}

function checkSubject(estimator: unknown): void {
  if (typeof estimator === 'string') return;
  const prototype = typeof estimator === 'function' ? (estimator.prototype as { computeAdvantages?: unknown } | undefined) : undefined;
  if (typeof prototype?.computeAdvantages !== 'function') {
    throw new EstimatorError(`checkEstimator: expected a registered name, or a class that extends AdvantageEstimator and has computeAdvantages, got ${showValue(estimator)}`);
  }
}

function chosenOf(all: readonly Property[], only: readonly string[] | undefined): readonly Property[] {
  if (only === undefined) return all;
  const ids = all.map(({ id }) => id);
  const stray = only.find((id) => !ids.includes(id));
  if (stray !== undefined) throw new EstimatorError(`checkEstimator: option 'only': ${unknownName('property', stray, ids)}`);
  return all.filter(({ id }) => only.includes(id));
}

function explainedBy({ after = [] }: Property, broken: ReadonlySet<string>): string | null {
  const earlier = after.find((each) => broken.has(each));
  return earlier === undefined ? null : `${earlier} failed`;
}

const skipped = ({ id, title }: Property, reason: string): CheckedProperty => ({ id, title, status: 'skipped', reason, tries: 0, finding: null });

/** A stream of random numbers for each text. */
const streamOf = (text: string): number => Array.from(text).reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 1_000_003, 7) * 1000;

function tried(
  property: Property,
  subject: Subject,
  { seed, runs, smallest: isWanted, isRandom, origin }: { seed: number; runs: number; smallest: boolean; isRandom: boolean; origin: Parameters<typeof codeFor>[3] },
): CheckedProperty {
  const { id, title } = property;
  const attempts = Math.min(runs, property.tries ?? (property.once ? 3 : runs));
  let found: { violation: Violation; batch: Batch } | null = null;
  let tries = 0;
  // Properties of one kind of batch share its batches, and with them what was computed.
  const kind = JSON.stringify(property.shape ?? {});
  const drawn = (attempt: number) => subject.drawn(`${kind} ${attempt}`, () => batchFor(property, subject, new SmallRandom(seed, streamOf(kind) + attempt), attempt));
  for (let attempt = 0; attempt < attempts; attempt++) {
    tries++;
    const stream = streamOf(id) + attempt;
    const batch = drawn(attempt);
    const judge = (each: Batch) => property.judge(subject, each, new SmallRandom(seed, stream + 500_000_000));
    const violation = judge(batch);
    if (violation === null) continue;
    const chance = violation.severity === 'note' || isRandom ? null : byChance(subject, violation.batches?.[0] ?? batch);
    if (chance !== null) {
      found = { violation: chance, batch };
      break;
    }
    const sameKind = (other: Violation | null) => other !== null && (property.diagnose !== undefined || other.cause === violation.cause);
    // Speed is no matter of the smallest batch, and one note is enough.
    const smallest = violation.severity === 'note' || property.once || !isWanted ? batch : shrink(batch, (each) => fits(each, subject) && sameKind(judge(each)));
    const again = judgeAgain(judge, smallest, violation);
    found = { violation: property.diagnose?.(subject, again, new SmallRandom(seed, stream + 700_000_000)) ?? again, batch: smallest };
    break;
  }
  if (found === null) return { id, title, status: 'passed', reason: null, tries, finding: null };
  const { violation, batch } = found;
  const status = violation.severity === 'note' ? 'noted' : violation.severity === 'warning' ? 'warned' : 'failed';
  return { id, title, status, reason: null, tries, finding: findingOf(subject, violation, batch, origin) };
}

/** Whether one batch gives several results, which would explain any violation. */
function byChance(subject: Subject, batch: Batch): Violation | null {
  const first = subject.compute(batch);
  for (let again = 0; again < CALLS_FOR_CHANCE; again++) {
    const seen = disagreement(first, subject.compute(batch), { tolerance: 0 });
    if (seen) return { cause: 'randomness', seen, batches: [batch, batch] };
  }
  return null;
}

/** A violation that chance has made (a random estimator) may be gone when it is looked at again. */
const judgeAgain = (judge: (batch: Batch) => Violation | null, batch: Batch, first: Violation): Violation => (first.severity === 'note' ? first : (judge(batch) ?? first));

/** Whether a batch is still one that the estimator takes. */
function fits({ groupIds }: Batch, { declared: { smallestGroup = 1 } }: Subject): boolean {
  const counts = new Map<string | number, number>();
  for (const id of groupIds) counts.set(id, (counts.get(id) ?? 0) + 1);
  return Math.min(...counts.values()) >= smallestGroup;
}

function findingOf(subject: Subject, violation: Violation, batch: Batch, origin: Parameters<typeof codeFor>[3]): CheckFinding {
  const { cause, cure } = causes[violation.cause];
  const [rows, columns] = sizeOf(violation.batches?.[0] ?? batch);
  return { cause: violation.cause, usualCause: cause, cure, hint: violation.hint ?? null, seen: violation.seen, rows, columns, code: codeFor(subject, violation, batch, origin) };
}
