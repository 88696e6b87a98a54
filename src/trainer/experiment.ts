/** A run from its configuration: what is trained, on what, with what. */
import { type AdvantageInput, hasAdvantageEstimator, listAdvantageEstimators } from '../advantages';
import {
  type Config,
  loadConfigFromArguments,
  type ModelConfig,
  type OptimizerConfig,
  validateConfig,
  validateDatasetSize,
} from '../config';
import { createTokenizer, PromptDataset, type Tokenizer, tokenizers } from '../data';
import { environments, type EnvironmentClass, getEnvironment } from '../environments';
import { VantageError } from '../errors';
import { deviceInfo } from '../native';
import { policyLosses } from '../losses';
import { AdamW, type Decoder, Transformer, type TransformerConfig, ValueModel } from '../models';
import { setDefaultDevice } from '../tensor';
import { createTrackers, listTrackers, type Tracker } from '../tracking';
import { inputsOfRun, requiresInput, usesReference } from './advantage_step';
import { algorithmProblems } from './algorithm_check';
import type { TrainerCallback } from './callbacks';
import { ownFolder } from './folder';
import { describeConfig } from './print_config';
import { exportFolder, summary, writeReport } from './report';
import { Rollout, type RolloutParts } from './rollout';
import { stream } from './streams';
import { totalSteps, Trainer, type TrainerParts, type TrainingResult } from './trainer';
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

  constructor(readonly config: Config) {}

  tokenizer(): Tokenizer {
    return createTokenizer(this.config.trainer.tokenizer);
  }

  trainDataset(tokenizer: Tokenizer): Promise<PromptDataset> {
    return this.dataset(this.config.data.train_data, tokenizer);
  }

  /** null: no evaluation. */
  async evalDataset(tokenizer: Tokenizer): Promise<PromptDataset | null> {
    const files = this.config.data.val_data;
    const isUsed = this.config.trainer.eval_interval > 0 || this.config.trainer.eval_before_train;
    return files.length > 0 && isUsed ? this.dataset(files, tokenizer) : null;
  }

  /** The class of an environment by the name that a row gives. */
  environment(name: string): EnvironmentClass {
    return getEnvironment(name);
  }

  /** The policy, with random weights that follow from the seed. */
  policy(tokenizer: Tokenizer): Transformer {
    const { model, seed } = { model: this.config.trainer.policy.model, seed: this.config.trainer.seed };
    return Transformer.initialize(shapeOf(model, tokenizer), stream(seed, 'policy'), { std: model.initializer_range ?? undefined });
  }

  /** The value model, or null where `trainer.critic.model` is null. */
  critic(tokenizer: Tokenizer): ValueModel | null {
    const { critic, seed } = this.config.trainer;
    if (critic.model === null) return null;
    return ValueModel.initialize(shapeOf(critic.model, tokenizer), stream(seed, 'critic'), { std: critic.model.initializer_range ?? undefined });
  }

  /** The frozen policy of the KL terms: a copy of the policy as it begins, or null where nothing asks for one. */
  reference(policy: Transformer): Transformer | null {
    return usesReference(this.config) ? policy.clone() : null;
  }

  /** What trains the weights of a model. */
  optimizer(model: Decoder, { lr, adam_betas, weight_decay, max_grad_norm }: OptimizerConfig): AdamW {
    return new AdamW(model.parameters, { lr, betas: adam_betas, weightDecay: weight_decay, maxGradNorm: max_grad_norm });
  }

  /** The inputs that the run gives to its estimator; one that needs others is refused. */
  advantageInputs(): readonly AdvantageInput[] {
    return inputsOfRun(this.config);
  }

  generator(parts: RolloutParts): Rollout {
    return new Rollout(parts);
  }

  trackers(steps: number): Tracker[] {
    return createTrackers(this.config.trainer.logger, { directory: exportFolder(this.config), totalSteps: steps });
  }

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
    const tokenizer = this.tokenizer();
    const trainDataset = await this.trainDataset(tokenizer);
    validateDatasetSize(config, trainDataset.length);
    const evalDataset = await this.evalDataset(tokenizer);
    for (const [name, dataset] of [
      ['data.train_data', trainDataset],
      ['data.val_data', evalDataset],
    ] as const) {
      if (dataset && dataset.dropped > 0) {
        print(
          `${name}: ${dataset.dropped} prompts over trainer.max_prompt_length=${config.trainer.max_prompt_length} tokens were dropped, ${dataset.length} are left`,
        );
      }
    }
    const models = this.models(tokenizer);
    try {
      const rollout = this.generator({
        policy: models.policy.model,
        tokenizer,
        environment: (name) => this.environment(name),
        maxPromptLength: config.trainer.max_prompt_length,
      });
      const trackers = this.trackers(totalSteps(config, trainDataset.length));
      return await this.trainer({ config, tokenizer, trainDataset, evalDataset, models, rollout, trackers, callbacks: this.callbacks }).train();
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
    return {
      policy: this.trained(policy, trainer.policy.optimizer_config),
      critic: critic && this.trained(critic, trainer.critic.optimizer_config),
      reference: this.reference(policy),
    };
  }

  private trained<Model extends Decoder>(model: Model, settings: OptimizerConfig): Trained<Model> {
    return { model, optimizer: this.optimizer(model, settings) };
  }

  private dataset(files: readonly string[], tokenizer: Tokenizer): Promise<PromptDataset> {
    const { max_prompt_length: maxPromptLength } = this.config.trainer;
    return PromptDataset.load({ files, tokenizer, maxPromptLength, envClass: this.config.environment.env_class });
  }
}

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
 * An error that Vantage foresees is printed as one line, and the process's exit code becomes 1 (130 where the run was interrupted).
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
    const { config, provenance } = loadConfigFromArguments(file === undefined ? argv : ['-c', file, ...argv]);
    const experiment = new Class(config);
    experiment.callbacks.push(...callbacks);
    validate(config, experiment);
    if (argv.includes('--print-config')) {
      print(describeConfig(config, provenance));
      return null;
    }
    const result = await ownFolder(exportFolder(config), async () => {
      const done = await experiment.run();
      print(summary(config, done, writeReport(config, done)));
      return done;
    });
    if (result.reason === 'interrupted') process.exitCode = 130;
    return result;
  } catch (error) {
    const isOfFiles = error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string';
    if (!(error instanceof VantageError) && !isOfFiles) throw error;
    process.stderr.write(`vantage: ${error.message}\n`);
    process.exitCode = 1;
    return null;
  }
}

function validate(config: Config, experiment: Experiment): void {
  validateConfig(config, {
    estimators: { has: hasAdvantageEstimator, list: listAdvantageEstimators },
    policyLosses,
    environments,
    tokenizers,
    loggers: listTrackers(),
    unusableDevice: (device) => deviceInfo(device).reason ?? null,
    needsValues: (name) => requiresInput(name, 'values'),
    problems: () => algorithmProblems(config, experiment.advantageInputs()),
  });
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
