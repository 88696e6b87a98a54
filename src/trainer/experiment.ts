/** A run from its configuration: what is trained, on what, with what. */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { aliasesOfEstimator } from '../advantages/registry';
import { type AdvantageInput, hasAdvantageEstimator, listAdvantageEstimators } from '../advantages';
import { type Config, loadConfigFromArguments, type LoadedConfig, type ModelConfig, type OptimizerConfig, validateConfig, validateDatasetSize } from '../config';
import { createTokenizer, loadTokenizer, PromptDataset, type Tokenizer, tokenizerFiles, tokenizers } from '../data';
import { environments, type EnvironmentClass, getEnvironment } from '../environments';
import { ConfigError, showValue, VantageError } from '../errors';
import { deviceInfo } from '../native';
import { policyLosses } from '../losses';
import { AdamW, type Decoder, loadTransformer, loadValueModel, Transformer, type TransformerConfig, ValueModel } from '../models';
import { setDefaultDevice } from '../tensor';
import { createTrackers, listTrackers, type Tracker } from '../tracking';
import { inputsOfRun, requiresInput, usesReference } from './advantage_step';
import { algorithmProblems } from './algorithm_check';
import type { TrainerCallback } from './callbacks';
import { ownFolders } from './folder';
import { checkMemory } from './memory_needs';
import { describeConfig } from './print_config';
import { exportFolder, summary, writeLearningCurve } from './report';
import { describeResumption, findResumption, makeRoom, restoreMetrics, resumeCommand } from './resume';
import { Rollout, type RolloutParts } from './rollout';
import { stream } from './streams';
import { Trainer, type TrainingResult } from './trainer';
import { totalSteps, type TrainerParts } from './training_step';
import { overriddenKeyNote, unusedKeyProblem, unusedKeys, type UnusedKeysOptions } from './unused_keys';
import type { Models, Trained } from './update';

/**
 * Makes the parts of a run and runs it. A subclass overrides the methods whose parts it has of its own:
 *
 * ```ts
 * class MyExperiment extends Experiment {
 *   override environment() {
 *     return MyEnvironment;
 *   }
 * }
 * void main(process.argv.slice(2), { experiment: MyExperiment });
 * ```
 */
export class Experiment {
  /** What is called at the events of the run. */
  readonly callbacks: TrainerCallback[] = [];

  constructor(
    /** The run's configuration. */
    readonly config: Config,
  ) {}

  /** What encodes prompts and decodes responses. */
  tokenizer(): Tokenizer {
    const { tokenizer: name, policy } = this.config.trainer;
    if (name !== null) return tokenizers.has(name) ? createTokenizer(name) : loadTokenizer(name);
    return policy.model.path === null ? createTokenizer('byte') : loadTokenizer(policy.model.path);
  }

  /** The prompts to train on. */
  trainDataset(tokenizer: Tokenizer): Promise<PromptDataset> {
    return this.dataset('train_data', tokenizer);
  }

  /** null: no evaluation. */
  async evalDataset(tokenizer: Tokenizer): Promise<PromptDataset | null> {
    const files = this.config.data.val_data;
    const isUsed = this.config.trainer.eval_interval > 0 || this.config.trainer.eval_before_train;
    return files.length > 0 && isUsed ? this.dataset('val_data', tokenizer) : null;
  }

  /** The class of an environment by the name that a row gives. */
  environment(name: string): EnvironmentClass {
    return getEnvironment(name);
  }

  /** The policy: the weights of `trainer.policy.model.path`, or random ones that follow from the seed. */
  policy(tokenizer: Tokenizer): Transformer {
    const { model, seed } = { model: this.config.trainer.policy.model, seed: this.config.trainer.seed };
    if (model.path !== null) return checkVocabulary('trainer.policy.model.path', loadTransformer(model.path), tokenizer.vocabSize);
    const options = { std: model.initializer_range ?? undefined, endIds: [tokenizer.eosId] };
    return Transformer.initialize(shapeOf(model, tokenizer), stream(seed, 'policy'), options);
  }

  /** The value model, or null where `trainer.critic.model` is null. */
  critic(tokenizer: Tokenizer): ValueModel | null {
    const { critic, seed } = this.config.trainer;
    if (critic.model === null) return null;
    const { path } = critic.model;
    if (path !== null) return checkVocabulary('trainer.critic.model.path', loadValueModel(path), tokenizer.vocabSize);
    return ValueModel.initialize(shapeOf(critic.model, tokenizer), stream(seed, 'critic'), { std: critic.model.initializer_range ?? undefined });
  }

  /** The frozen policy of the KL terms: that of `trainer.ref.model.path`, or a copy of the policy as it begins; null where nothing asks for one. */
  reference(policy: Transformer): Transformer | null {
    if (!usesReference(this.config)) return null;
    const { path } = this.config.trainer.ref.model;
    return path === null ? policy.clone() : checkVocabulary('trainer.ref.model.path', loadTransformer(path), policy.config.vocabSize);
  }

  /** What trains the weights of a model. */
  optimizer(model: Decoder, { lr, adam_betas, weight_decay, max_grad_norm }: OptimizerConfig): AdamW {
    return new AdamW(model.parameters, { lr, betas: adam_betas, weightDecay: weight_decay, maxGradNorm: max_grad_norm });
  }

  /** The inputs that the run gives to its estimator; one that needs others is refused. */
  advantageInputs(): readonly AdvantageInput[] {
    return inputsOfRun(this.config);
  }

  /** Keys that a subclass reads, a section for all below it: they are not refused where the run without it would not read them. Those of a part that the subclass makes are not refused anyway. */
  keysRead(): readonly string[] {
    return [];
  }

  /** What makes the trajectories of a batch. */
  generator(parts: RolloutParts): Rollout {
    return new Rollout(parts);
  }

  /** What the run's metrics go to. `steps`: those of the whole run; `resumedFrom`: the step of the checkpoint it goes on from. @param resumedFrom the last step of the run that this one continues */
  trackers(steps: number, resumedFrom?: number): Tracker[] {
    const { logger, project_name: project, run_name: runName } = this.config.trainer;
    const { config } = this;
    return createTrackers(logger, { directory: exportFolder(config), totalSteps: steps, project, runName, config, resumedFrom });
  }

  /** The training loop. */
  trainer(parts: TrainerParts): Trainer {
    return new Trainer(parts);
  }

  /** Runs the training, from the data to the last checkpoint, on `trainer.device`: while it runs, tensors are made there. @throws VantageError */
  async run(): Promise<TrainingResult> {
    const { device } = this.config.trainer;
    if (device === null) return this.train();
    const before = setDefaultDevice(device);
    try {
      return await this.train();
    } finally {
      setDefaultDevice(before);
    }
  }

  private async train(): Promise<TrainingResult> {
    const { config } = this;
    const resumption = findResumption(config);
    const tokenizer = this.tokenizer();
    const trainDataset = await this.trainDataset(tokenizer);
    validateDatasetSize(config, trainDataset.length, trainDataset.shortestDropped);
    const evalDataset = await this.evalDataset(tokenizer);
    for (
      const [name, dataset] of [
        ['data.train_data', trainDataset],
        ['data.val_data', evalDataset],
      ] as const
    ) {
      if (dataset && dataset.dropped > 0) {
        print(
          `${name}: ${dataset.dropped} prompts over trainer.max_prompt_length=${config.trainer.max_prompt_length} tokens were dropped, ${dataset.length} are left`,
        );
      }
    }
    checkMemory(config, {
      vocabSize: tokenizer.vocabSize,
      promptWidth: trainDataset.examples.reduce((width, { promptIds }) => Math.max(width, promptIds.length), 1),
      evalPrompts: evalDataset?.length ?? 0,
      hasReference: usesReference(config) && config.trainer.ref.model.path === null,
    });
    const models = this.models(tokenizer);
    const { generator } = config;
    try {
      const rollout = this.generator({
        policy: models.policy.model,
        tokenizer,
        environment: (name) => this.environment(name),
        maxPromptLength: config.trainer.max_prompt_length,
        maxTurns: generator.max_turns,
        maxInputLength: generator.max_input_length ?? config.trainer.max_prompt_length,
        zeroRewardOnNonStop: generator.zero_reward_on_non_stop,
        maxConcurrentEnvironments: generator.max_concurrent_environments,
        environmentTimeout: generator.environment_timeout,
      });
      const steps = totalSteps(config, trainDataset.length);
      const trackers: Tracker[] = [];
      const trainer = this.trainer({ config, tokenizer, trainDataset, evalDataset, models, rollout, trackers, callbacks: this.callbacks });
      if (resumption) trainer.restore(resumption.folder);
      for (const line of makeRoom(config, exportFolder(config), resumption)) print(line);
      if (resumption) {
        for (const line of describeResumption(resumption, steps, Math.floor(trainDataset.length / config.trainer.train_batch_size))) print(line);
        if (config.trainer.logger.includes('jsonl')) restoreMetrics(exportFolder(config), resumption);
      }
      // Opened once nothing can refuse the run any more: they change its files.
      trackers.push(...this.trackers(steps, resumption?.resumedFrom));
      return await trainer.train();
    } finally {
      for (const part of [models.policy, models.critic]) {
        part?.optimizer.dispose();
        part?.model.dispose();
      }
      models.reference?.dispose();
    }
  }

  private models(tokenizer: Tokenizer): Models {
    const { trainer } = this.config;
    const policy = this.policy(tokenizer);
    const critic = this.critic(tokenizer);
    for (const model of [policy, critic]) if (model) model.companions = companionsOf(model, tokenizer);
    return {
      policy: this.trained(policy, trainer.policy.optimizer_config),
      critic: critic && this.trained(critic, trainer.critic.optimizer_config),
      reference: this.reference(policy),
    };
  }

  private trained<Model extends Decoder>(model: Model, settings: OptimizerConfig): Trained<Model> {
    return { model, optimizer: this.optimizer(model, settings) };
  }

  private dataset(key: 'train_data' | 'val_data', tokenizer: Tokenizer): Promise<PromptDataset> {
    const files = this.config.data[key];
    const missing = files.find((file) => !existsSync(file));
    if (missing !== undefined) throw new ConfigError(`data.${key}: ${missing}: no such file (\`vantage prepare\` writes the files of a task)`);
    const { max_prompt_length: maxPromptLength } = this.config.trainer;
    return PromptDataset.load({ files, tokenizer, maxPromptLength, envClass: this.config.environment.env_class });
  }
}

/** Options of {@link main}. */
export interface MainOptions {
  /** Default: `Experiment`. */
  experiment?: new (config: Config) => Experiment;
  /** The YAML file of a command line without `-c`. */
  config?: string;
  /** What is called at the events of the run. */
  callbacks?: readonly TrainerCallback[];
}

/**
 * The standard entry point of a training script: reads `-c FILE` and dotted overrides (`trainer.seed=3`), checks the configuration against
 * everything that is registered by now, runs it, and prints where the results are. `--print-config` prints what would run, and where each value came from, instead.
 *
 * An error that Vantage foresees is printed as one line, and the process's exit code becomes 1 (130 where Ctrl-C interrupted the run, 143 where SIGTERM did).
 *
 * @param argv the command line without the program: `process.argv.slice(2)`
 * @returns the result, or null after such an error and with `--print-config`
 * @example
 * registerAdvantageEstimator('my_custom', MyCustomAdvantageEstimator);
 * void main(process.argv.slice(2), { config: 'config.yaml' });
 */
export async function main(
  argv: readonly string[],
  { experiment: Class = Experiment, config: file, callbacks = [] }: MainOptions = {},
): Promise<TrainingResult | null> {
  try {
    if (typeof Class !== 'function' || typeof Class.prototype?.run !== 'function') throw new ConfigError(`main: experiment: expected a class that extends Experiment, got ${showValue(Class)}`);
    if (!Array.isArray(callbacks)) throw new ConfigError(`main: callbacks: expected an array, got ${showValue(callbacks)}`);
    const loaded = loadConfigFromArguments(file === undefined ? argv : ['-c', file, ...argv]);
    const { config } = loaded;
    const experiment = new Class(config);
    experiment.callbacks.push(...callbacks);
    check(loaded, experiment);
    const { overridden } = unusedKeys(loaded, readBy(experiment));
    if (argv.includes('--print-config')) {
      print(describeConfig(loaded, overridden));
      return null;
    }
    for (const key of overridden) print(overriddenKeyNote(key));
    const folders = [
      { key: config.trainer.export_path === null ? 'trainer.ckpt_path (metrics are kept beside it)' : 'trainer.export_path', folder: exportFolder(config) },
      { key: 'trainer.ckpt_path', folder: config.trainer.ckpt_path },
    ];
    const result = await ownFolders(folders, async () => {
      const done = await experiment.run();
      print(summary(config, done, writeLearningCurve(config, done), resumeCommand(argv, config)));
      return done;
    });
    if (result.signal !== null) process.exitCode = 128 + constants.signals[result.signal];
    return result;
  } catch (error) {
    const isOfFiles = error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string';
    if (!(error instanceof VantageError) && !isOfFiles) throw error;
    process.stderr.write(`vantage: ${error.message}\n`);
    process.exitCode = 1;
    return null;
  }
}

/** The parts of `Experiment` that read keys of their own. */
const parts = ['critic', 'evalDataset', 'generator', 'policy', 'reference', 'trackers'] as const;

/** What an experiment's callbacks and its own parts read. */
function readBy(experiment: Experiment): UnusedKeysOptions {
  return { saves: experiment.callbacks.length > 0, own: parts.filter((part) => experiment[part] !== Experiment.prototype[part]), read: experiment.keysRead() };
}

/** Checks a configuration against everything that is registered in this process. @throws ConfigError that names each key that is wrong */
export function validate(config: Config, experiment = new Experiment(config), problems: () => readonly string[] = () => []): void {
  validateConfig(config, {
    estimators: { has: hasAdvantageEstimator, list: listAdvantageEstimators, aliasesOf: aliasesOfEstimator },
    policyLosses,
    environments,
    tokenizers: { has: (name) => tokenizers.has(name) || isTokenizerFolder(name), list: () => tokenizers.list() },
    loggers: listTrackers(),
    unusableDevice: (device) => deviceInfo(device).reason ?? null,
    needsValues: (name) => requiresInput(name, 'values'),
    problems: () => [...algorithmProblems(config, experiment.advantageInputs()), ...problems()],
  });
}

/**
 * Checks what `loadConfig` gave, as `main` does before it runs anything: against everything that is registered in this process, and for keys that were given and have no effect.
 * @param experiment that is to run it; its callbacks and the parts that it makes itself count
 * @throws ConfigError that names each key that is wrong
 * @example
 * const loaded = loadConfig({ base: { trainer: { seed: 3 } }, file: 'config.yaml' });
 * checkConfig(loaded);
 * await new Experiment(loaded.config).run();
 */
export function checkConfig(loaded: LoadedConfig, experiment?: Experiment): void {
  const { config, provenance } = (loaded ?? {}) as Partial<LoadedConfig>;
  if (typeof config !== 'object' || config === null || !(provenance instanceof Map))
    throw new ConfigError(`checkConfig: expected what loadConfig gives, { config, provenance, beneath }, got ${showValue(loaded)}`);
  if (experiment !== undefined && !(experiment instanceof Experiment)) throw new ConfigError(`checkConfig: experiment: expected an Experiment, got ${showValue(experiment)}`);
  check(loaded, experiment ?? new Experiment(config));
}

function check(loaded: LoadedConfig, experiment: Experiment): void {
  validate(loaded.config, experiment, () => unusedKeys(loaded, readBy(experiment)).refused.map(unusedKeyProblem));
}

/** What a checkpoint needs beside the weights to be a model's folder. */
function companionsOf({ companions }: Decoder, tokenizer: Tokenizer): Decoder['companions'] {
  const generation = [...companions].filter(([name]) => name === 'generation_config.json');
  return new Map([...tokenizerFiles(tokenizer), ...generation]);
}

function isTokenizerFolder(path: string): boolean {
  return ['tokenizer.json', 'tokenizer_config.json'].some((name) => existsSync(join(path, name)));
}

function checkVocabulary<Model extends Decoder>(key: string, model: Model, atLeast: number): Model {
  const { vocabSize } = model.config;
  if (vocabSize >= atLeast) return model;
  model.dispose();
  throw new ConfigError(`${key}: expected a vocabulary of at least ${atLeast} tokens, as the tokenizer and the policy have, got ${vocabSize}`);
}

function shapeOf(model: ModelConfig, tokenizer: Tokenizer): TransformerConfig {
  return {
    vocabSize: tokenizer.vocabSize,
    hiddenSize: model.hidden_size,
    numLayers: model.num_layers,
    numHeads: model.num_heads,
    numKvHeads: model.num_kv_heads,
    intermediateSize: model.intermediate_size,
    ropeTheta: model.rope_theta,
    rmsNormEps: model.rms_norm_eps,
    tieWordEmbeddings: true,
    attentionBias: true,
    maxPositionEmbeddings: 32_768,
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
