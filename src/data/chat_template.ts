/** Chat templates: Jinja that comes with a model, so a program that somebody else wrote, in an interpreter that ends. */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { DataError } from '../errors';

/** As much of the interpreter as is used here; the package's declarations of it are not found under Node's rules for modules. */
interface Evaluates {
  run(program: unknown): { value: string };
  evaluate(statement: unknown, environment: unknown): unknown;
}
const Base = Interpreter as unknown as new (environment: unknown) => Evaluates;

/** A template of a model takes milliseconds; the longest conversation, a second. */
const MOST_SECONDS = 10;
/** Numbers that all calls of `range` may give together. */
const MOST_NUMBERS = 100_000;

/** Loops that are nested deep enough never end: after some time this one does. */
class BoundedInterpreter extends Base {
  private readonly end = performance.now() + 1000 * MOST_SECONDS;

  override evaluate(statement: unknown, environment: unknown): unknown {
    if (performance.now() > this.end) throw new Error(`it has not ended after ${MOST_SECONDS} s`);
    return super.evaluate(statement, environment);
  }
}

/** A template, ready to be rendered with conversations. */
export class ChatTemplate {
  private readonly program: unknown;

  /**
   * @param source of the template
   * @param place begins what its errors say: the file or folder that it is from
   * @throws DataError for what is no template
   */
  constructor(source: string, private readonly place: string) {
    try {
      this.program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    } catch (error) {
      throw new DataError(`${place}: the chat template is no Jinja (${reasonOf(error)})`, { cause: error });
    }
  }

  /** @throws DataError where the template refuses what it is given, or does not end */
  render(values: Record<string, unknown>): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...constants, ...functions(), ...values })) environment.set(name, value);
    try {
      return new BoundedInterpreter(environment).run(this.program).value;
    } catch (error) {
      throw new DataError(`${this.place}: the chat template does not take these messages (${reasonOf(error)})`, { cause: error });
    }
  }
}

const constants = { true: true, false: false, none: null, True: true, False: false, None: null };

/** What transformers gives to a template beside the conversation. */
function functions(): Record<string, unknown> {
  let numbers = 0;
  return {
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    range: (first: number, end?: number, step = 1) => {
      const [start, stop] = end === undefined ? [0, first] : [first, end];
      const count = Math.max(0, Math.ceil((stop - start) / step));
      if (!(count <= MOST_NUMBERS - numbers)) throw new Error(`range(): expected at most ${MOST_NUMBERS} numbers in all, and a step other than 0`);
      numbers += count;
      return Array.from({ length: count }, (_, i) => start + i * step);
    },
    strftime_now: (format: string) => strftime(new Date(), format),
  };
}

const two = (value: number) => String(value).padStart(2, '0');
const named = (date: Date, options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat('en-US', options).format(date);

/** The letters of C's strftime that templates use. */
function strftime(date: Date, format: string): string {
  const parts: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    H: () => two(date.getHours()),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    b: () => named(date, { month: 'short' }),
    B: () => named(date, { month: 'long' }),
    a: () => named(date, { weekday: 'short' }),
    A: () => named(date, { weekday: 'long' }),
    '%': () => '%',
  };
  return String(format).replace(/%(.)/g, (whole, letter: string) => parts[letter]?.() ?? whole);
}

/** The interpreter stumbles over its own variables, or its stack, in words that say nothing of the template. */
function reasonOf(error: unknown): string {
  if (error instanceof RangeError) return /call stack/.test(error.message) ? 'it is nested too deep' : 'its text becomes too long';
  return error instanceof TypeError ? 'it uses something in a way that is not known here' : (error as Error).message;
}
