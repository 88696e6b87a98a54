/** Calls of models, configurations, data, environments, trackers and the parts of a training run. Files lie in the fuzzer's own folder. */
const sizes = 'v.transformerConfig({ vocabSize: 11, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: 12, ropeTheta: 10000, maxPositionEmbeddings: 32 })';
const model = (f: string) => `h.using(v.Transformer.initialize(${sizes}, v.randomKey(1), { dtype: "float32", std: 0.2 }), ${f})`;
const critic = (f: string) => `h.using(v.ValueModel.initialize(${sizes}, v.randomKey(1), {}), ${f})`;
const row = '{ data_source: "d", prompt: [{ role: "user", content: "1 2 =" }], env_class: "max4", reward_spec: { method: "rule", ground_truth: "9" }, extra_info: { table: ["1", "2"], key: "1" } }';
const trajectory = '{ groupId: "a", dataSource: "d", promptIds: [1, 2], responseIds: [3, 4], rolloutLogProbs: [-1, -2], text: "", stopReason: "stop", reward: 1, metrics: {} }';
const records = '[{ step: 1, "reward/avg_raw_reward": 0.5 }, { step: 2, "reward/avg_raw_reward": 1 }]';
const state =
  '{ version: 3, globalStep: 1, seconds: 1, data: { epoch: 0, batch: 0, seed: 1, batchSize: 2, size: 4 }, dataset: "x", seed: 1, coefficients: { kl: { value: 0 }, entropy: null }, evaluationPending: false, estimator: { name: "spo", state: {} }, history: [{ step: 1, a: 0.5 }], config: {} }';
const run = `{ name: "a", records: ${records}, samples: [], config: {} }`;

export const models: readonly string[] = [
  sizes,
  `v.parameterShapes(${sizes})`,
  model(
    '(m) => [m.logits(m.hidden(I([2, 4], 11), v.tensor([0, 1], { dtype: "int32" }), { from: 1 })), m.logProbs(I([2, 4], 11), v.tensor([0, 1], { dtype: "int32" }), { from: 2, temperature: 0.9 })]',
  ),
  model('(m) => [m.dtype, m.size, m.parameter("model.embed_tokens.weight").sum()]'),
  model('(m) => h.using(m.clone(), (copy) => copy.size)'),
  `h.using(v.Transformer.initialize(${sizes}, v.randomKey(1)), (m) => new v.Transformer(${sizes}, m.parameters, { endIds: [3] }).size)`,
  model(
    '(m) => v.generate(m, [[1, 2, 3], [4]], { maxLength: 3, temperature: 0.8, topK: 4, topP: 0.9, minP: 0, eosId: 2, padId: 0, key: v.randomKey(5), samplesPerPrompt: 2, isComplete: (ids) => ids.length > 2 })',
  ),
  model(
    '(m) => h.using(new v.AdamW(m.parameters, { lr: 0.01, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 1, decays: (name) => true }), (o) => { o.accumulate(m.logProbs(I([2, 4], 11), v.tensor([0, 1], { dtype: "int32" }), { from: 2, temperature: 1 }).logProbs.sum(), []); o.step({ lr: 0.1, evaluate: [] }); o.loadState(o.state()); return o.stepCount; })',
  ),
  critic('(m) => [m.values(I([2, 4], 11), v.tensor([0, 1], { dtype: "int32" }), { from: 1 }), m.size]'),
  critic('(m) => h.using(m.clone(), (copy) => copy.dtype)'),
  `h.using(new v.KeyValueCache(${sizes}, 2, 6, "float32"), (c) => { const s = c.append(0, T([2, 2, 1, 4]), T([2, 2, 1, 4])); c.advance(2); return [s.k, c.tensors.length, c.length]; })`,
  'v.learningRate(3, { lr: 0.1, schedule: "cosine", warmupSteps: 2, totalSteps: 10, minLr: 0.01 })',
  'v.padPrompts([[1, 2], [3]], 0, 4)',
  'v.writeSafetensors("a.safetensors", new Map([["x", T([2, 3])], ["y", I([2])]]), { format: "pt" }, "float32")',
  '(v.writeSafetensors("b.safetensors", new Map([["x", T([2, 3])]])), v.readSafetensors("b.safetensors"))',
  model('(m) => { v.saveHuggingFace("saved", m, {}); return h.using(v.loadTransformer("saved", { dtype: "float32" }), (n) => n.size); }'),
  critic('(m) => { v.saveHuggingFace("saved_critic", m, {}); return h.using(v.loadValueModel("saved_critic", {}), (n) => n.size); }'),
  'v.Decoder.name',
];

export const config: readonly string[] = [
  'v.configKeys()',
  'v.loadConfig({ base: { data: { train_data: ["t.jsonl"], val_data: ["v.jsonl"] } }, overrides: ["trainer.seed=3", "trainer.epochs=2"] })',
  'v.loadConfigFromArguments(["trainer.seed=3", "data.train_data=[t.jsonl]"], {})',
  'v.validateDatasetSize(v.loadConfig({ base: { data: { train_data: ["t.jsonl"], val_data: ["v.jsonl"] } } }).config, 100000, null)',
  'v.validateConfig(v.loadConfig({ base: { data: { train_data: ["t.jsonl"], val_data: ["v.jsonl"] }, environment: { env_class: "gsm8k" } } }).config, { estimators: ["grpo"], policyLosses: ["regular"], environments: ["gsm8k"], tokenizers: ["byte"], loggers: ["console", "jsonl"] })',
];

export const data: readonly string[] = [
  '((t) => [t.encode("ab"), t.decode([97, 98]), t.encodeChat([{ role: "user", content: "x" }]), t.encodeObservations([{ role: "user", content: "x" }])])(new v.ByteTokenizer())',
  '((t) => [t.encode("1 2"), t.decode([1, 2]), t.encodeChat([{ role: "user", content: "1" }])])(new v.WordTokenizer(["1", "2", "=", "user"]))',
  '((t) => [t.encode("1 2"), t.encodeChat([{ role: "user", content: "1" }])])(new v.ToolWordTokenizer())',
  'v.createTokenizer("byte").encode("abc")',
  'v.encodeObservations(new v.ByteTokenizer(), [{ role: "user", content: "x" }])',
  'v.tokenizerFiles(new v.ByteTokenizer()).size',
  'v.listTokenizers()',
  'v.tokenizers.list()',
  'v.registerTokenizer("fuzzed", v.ByteTokenizer, { override: true, aliases: ["fuzzed_too"] })',
  '((l) => [l.next(), l.epoch, l.state(), l.restore(l.state())])(new v.DataLoader([1, 2, 3, 4, 5], { batchSize: 2, seed: 1, shuffle: true }))',
  '[...v.inBatches([1, 2, 3], 2)]',
  'v.generateTask("gmax", { trainSize: 4, validationSize: 2, seed: 3 })',
  'v.taskNames.length',
  '(v.writeJsonl("a.jsonl", [{ a: 1 }, [2]]), v.readJsonl("a.jsonl"))',
  `await v.writeParquet("a.parquet", [${row}, ${row}]).then(() => v.readParquet("a.parquet"))`,
  '(v.writeJsonl("g.jsonl", [{ question: "1+1?", answer: "2 #### 2" }]), v.readGsm8k("g.jsonl", "train"))',
  `(v.writeJsonl("p.jsonl", [${row}]), await v.PromptDataset.load({ files: ["p.jsonl"], tokenizer: new v.ByteTokenizer(), maxPromptLength: 100, envClass: "max4" }))`.replace('await v', 'v').replace(
    /^/,
    'await ',
  ),
];

export const environments: readonly string[] = [
  ...['Max4Environment', 'Sort3Environment', 'Gsm8kEnvironment', 'Gsm8kMultiTurnEnvironment', 'LookupEnvironment'].map((name) =>
    `((e) => [e.init([{ role: "user", content: "x" }]), e.step("#### 9"), e.metrics(), e.close()])(new v.${name}(${row}, { maxTurns: 2 }))`
  ),
  'v.Environment.name',
  'v.checkMessages("e", "init", [{ role: "user", content: "x" }])',
  'v.checkMetrics("e", { a: 1 })',
  'v.checkStep("e", { observations: [], reward: 1, done: true })',
  'v.environments.list()',
  'v.getEnvironment("gsm8k")',
  'v.listEnvironments()',
  'v.gsm8kAnswer("so #### 1,234", "strict")',
  'v.gsm8kReward("so #### 12", "12", { method: "flexible", formatScore: 0.1, score: 1 })',
  '[v.registerEnvironment("fuzzed", class extends v.Environment { step() { return { observations: [], reward: 1, done: true }; } }, { override: true }), v.unregisterEnvironment("fuzzed")]',
];

export const tracking: readonly string[] = [
  'h.closing(new v.ConsoleTracker({ stream: h.stream(), totalSteps: 3 }), (t) => { t.log(1, { "reward/avg_raw_reward": 0.5 }); t.message("x"); })',
  'h.closing(new v.JsonlTracker("jsonl", {}), (t) => { t.log(1, { a: 0.5 }); t.logSamples([{ step: 1, group: "a", prompt: "p", tokens: ["x"], ids: [1], advantages: [null], reward: 1, length: 1 }]); })',
  'h.closing(new v.TensorBoardTracker("tb", { now: () => 1000 }), (t) => t.log(1, { a: 0.5 }))',
  'h.closing(new v.WandbTracker({ log: (x) => undefined, finish: () => undefined }), (t) => t.log(1, { a: 0.5 }))',
  'v.createTrackers(["jsonl"], { directory: "many", totalSteps: 3 }).map((t) => h.closing(t, (x) => x.log(1, { a: 1 })))',
  'v.listTrackers()',
  'v.registerTracker("fuzzed", () => ({ log() {}, close() {} }), { override: true })',
  'v.wandbMode({ WANDB_MODE: "offline" })',
  'v.RUN_FILES.metrics',
  `v.curveOf(${records}, "reward/avg_raw_reward")`,
  `v.firstReached(${records}, { metric: "reward/avg_raw_reward", window: 1, value: 0.9 })`,
  'v.spreadOf([1, 2, 3])',
  `v.reportPage({ title: "t", subtitle: "s", runs: [${run}], target: 0.9, window: 2 })`,
  `v.writeReport("report.html", { title: "t", subtitle: "s", runs: [${run}] })`,
  `v.writeComparison("comparison.html", { title: "t", subtitle: "s", threshold: { metric: "reward/avg_raw_reward", window: 1, value: 0.9 }, groups: [{ name: "a", runs: [${records}] }], head: ["x"], rows: [["1"]] })`,
  `(v.writeJsonl("run/metrics.jsonl", ${records}), v.readMetrics("run/metrics.jsonl"))`.replaceAll('run/', ''),
  `(v.writeJsonl("samples.jsonl", []), v.readSamples("samples.jsonl"))`,
  `(v.writeJsonl("metrics.jsonl", ${records}), [v.readRun("."), v.readRuns(["."])])`,
];

export const trainer: readonly string[] = [
  `((b) => [b.tokens(0, 2), b.tensor("ids", 0, 1), [...b.ranges(1)], b.keepRows([0]), b.keepStopped()])(new v.TrainingBatch([${trajectory}, ${trajectory}], { promptWidth: 3, responseWidth: 4, padId: 0 }))`,
  '((c) => [c.kl, c.entropy, c.update({ kl: 0.1, sequences: 4, entropy: 1 }), c.restore(c.state())])(new v.Coefficients(h.config()))',
  'v.totalSteps(h.config(), 100)',
  'v.checkConfig(v.loadConfig({ base: { data: { train_data: ["t.jsonl"], val_data: ["v.jsonl"] }, environment: { env_class: "gsm8k" } } }))',
  'v.latestCheckpoint("checkpoints")',
  'new v.Experiment(h.config()).config',
  'await v.main(["--print-config"], { experiment: v.Experiment, callbacks: [] })',
  '["Rollout", "Trainer", "TrainingSteps", "Update"].map((name) => v[name].name)',
  model(`(m) => new v.Rollout({ policy: m, tokenizer: new v.ByteTokenizer(), maxInputLength: 8 }) instanceof v.Rollout`),
  `v.saveCheckpoint("saved_run", {}, ${state}, 1)`,
  `(v.saveCheckpoint("saved_run", {}, ${state}), v.loadCheckpoint("saved_run/global_step_1", {}))`,
];

export const errors: readonly string[] = ['ConfigError', 'DataError', 'EnvironmentError', 'EstimatorError', 'NativeError', 'RegistryError', 'TensorError', 'TrainingError', 'VantageError'].map(
  (name) => `new v.${name}("text", { cause: 1 }).message`,
);

/** Refused, or harmless, and never more. */
export const runsRefused: readonly string[] = [
  'v.loadTransformer("nowhere", {})',
  'v.loadValueModel("nowhere", {})',
  'v.readSafetensors("nowhere")',
  'v.loadTokenizer("nowhere")',
  'v.readParquet("nowhere")',
  'new v.HuggingFaceTokenizer("nowhere")',
  'v.loadCheckpoint("nowhere", {})',
  'v.readRun("nowhere")',
];
