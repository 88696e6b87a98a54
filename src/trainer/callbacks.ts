/** Callbacks: what others do at the events of a run, and what they may ask of it. */
import type { Config } from '../config';
import { ConfigError, didYouMean, showValue } from '../errors';
import type { Metrics } from '../tracking';
import type { TrainingResult } from './trainer';

/** A run as a callback sees it. What it asks for happens behind the step that is under way; an end asked for before the first step comes before it. */
export interface RunContext {
  /** The run's configuration. */
  readonly config: Config;
  /** Training steps done. */
  readonly step: number;
  /** The epoch, from 0, that the next prompts come from. */
  readonly epoch: number;
  /** Training steps that the run takes at most. */
  readonly totalSteps: number;
  /** Asks for a checkpoint. */
  save(): void;
  /** Asks for an evaluation; without validation data nothing happens. */
  evaluate(): void;
  /** Asks for the end of the run, with a last evaluation and checkpoint where the configuration has these. */
  stop(): void;
}

/** Each method is called, and waited for, at its event; an error ends the run, and so does a metric that is no number. */
export interface TrainerCallback {
  /** Before the first step. */
  onTrainBegin?(run: RunContext): void | Promise<void>;
  /** After the last step, whatever ended the run but an error. */
  onTrainEnd?(run: RunContext, result: TrainingResult): void | Promise<void>;
  /** Before the first step of each pass over the prompts. */
  onEpochBegin?(run: RunContext): void | Promise<void>;
  /** The last batch of an epoch has been trained on. */
  onEpochEnd?(run: RunContext): void | Promise<void>;
  /** Before each step. */
  onStepBegin?(run: RunContext): void | Promise<void>;
  /** After each step. @param metrics of the step; what is added is logged, and must be numbers, as in what follows */
  onStepEnd?(run: RunContext, metrics: Metrics): void | Promise<void>;
  /** After each evaluation. @param metrics of the evaluation; what is added is logged */
  onEvaluate?(run: RunContext, metrics: Metrics): void | Promise<void>;
  /** After each checkpoint. @param folder the checkpoint that was written */
  onSave?(run: RunContext, folder: string): void | Promise<void>;
  /** Before the trackers get the metrics of a step or an evaluation. @param metrics what the trackers are about to get, which may be changed */
  onLog?(run: RunContext, metrics: Metrics): void | Promise<void>;
}

const events = ['onTrainBegin', 'onTrainEnd', 'onEpochBegin', 'onEpochEnd', 'onStepBegin', 'onStepEnd', 'onEvaluate', 'onSave', 'onLog'] as const;
type Event = (typeof events)[number];
type Arguments<E extends Event> = Parameters<NonNullable<TrainerCallback[E]>> extends [RunContext, ...infer Rest] ? Rest : never;

/** The callbacks of a run, and what they have asked for. */
export class Callbacks {
  private readonly wanted = new Set<'save' | 'evaluate' | 'stop'>();
  private readonly context: RunContext;

  /** @throws ConfigError for what is no callback, and a method `on…` that is no event */
  constructor(
    private readonly callbacks: readonly TrainerCallback[],
    state: { config: Config; totalSteps: number; step: () => number; epoch: () => number },
  ) {
    callbacks.forEach(check);
    const { wanted } = this;
    this.context = {
      config: state.config,
      totalSteps: state.totalSteps,
      get step() {
        return state.step();
      },
      get epoch() {
        return state.epoch();
      },
      save: () => void wanted.add('save'),
      evaluate: () => void wanted.add('evaluate'),
      stop: () => void wanted.add('stop'),
    };
  }

  async emit<E extends Event>(event: E, ...rest: Arguments<E>): Promise<void> {
    for (const callback of this.callbacks) {
      const method = callback[event] as ((run: RunContext, ...rest: unknown[]) => void | Promise<void>) | undefined;
      await method?.call(callback, this.context, ...rest);
      if (method !== undefined && takesMetrics(event)) checkMetrics(nameOf(callback, this.callbacks.indexOf(callback)), event, rest[0]);
    }
  }

  /** Whether the end was asked for. */
  get stops(): boolean {
    return this.wanted.has('stop');
  }

  /** Whether `request` was made since it was last taken. */
  take(request: 'save' | 'evaluate'): boolean {
    return this.wanted.delete(request);
  }
}

function takesMetrics(event: Event): boolean {
  return event === 'onStepEnd' || event === 'onEvaluate' || event === 'onLog';
}

/** Objects without a class are known by their place. */
function nameOf(callback: TrainerCallback, index: number): string {
  const name = callback.constructor?.name;
  return name === undefined || name === '' || name === 'Object' ? `callbacks[${index}]` : name;
}

/** Here, where it is known who did it: files and reports that take metrics come much later. */
function checkMetrics(name: string, event: Event, metrics: unknown): void {
  for (const [metric, value] of Object.entries(metrics as Metrics))
    if (typeof value !== 'number') throw new ConfigError(`${name}.${event}: expected a number as the metric '${metric}', got ${showValue(value)}`);
}

function check(callback: unknown): void {
  if (typeof callback !== 'object' || callback === null) throw new ConfigError(`callbacks: expected objects with methods ${events.join(', ')}, got ${showValue(callback)}`);
  const names = new Set<string>();
  for (let at: object | null = callback; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null) Object.getOwnPropertyNames(at).forEach((name) => names.add(name));
  for (const name of names) {
    if (!/^on[A-Z]/.test(name) || (events as readonly string[]).includes(name)) continue;
    const nearest = didYouMean(name, events);
    throw new ConfigError(`callbacks: '${name}' is no event.${nearest === null ? '' : ` Did you mean '${nearest}'?`} Events: ${events.join(', ')}`);
  }
}
