import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadTokenizer, WordTokenizer } from '../../src/data';
import { DataError } from '../../src/errors';
import { generate, loadTransformer, loadValueModel, readSafetensors, saveHuggingFace, Transformer, ValueModel, type ResolvedConfig } from '../../src/models';
import { memory, randomKey, tensor, type Tensor } from '../../src/tensor';
import { expectClose, int32, randomModel, tiny, weightsOf } from './helpers';
import { kept, type StoredFormat, writeModelFolder, writeTensors, writeTokenizer } from './huggingface';
import { referenceLogits, type Weights } from './reference';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-pretrained-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3];

/** Random weights of a shape, and as a format keeps them. */
function weightsFor(config: ResolvedConfig, format: StoredFormat = 'F32'): Weights {
  const model = randomModel(config, 'float32');
  return new Map([...weightsOf(model)].map(([name, { shape, data }]) => [name, { shape, data: kept(data, format) }]));
}

function logitsOf(model: Transformer): number[] {
  return [...model.logits(model.hidden(int32([ids]), int32([0]))).dataSync()];
}

function stored(path: string): Map<string, Tensor> {
  const files = readdirSync(path).filter((name) => name.endsWith('.safetensors'));
  return new Map(files.flatMap((name) => [...readSafetensors(join(path, name)).tensors]));
}

function expectSame(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): void {
  expect([...a.keys()].sort()).toEqual([...b.keys()].sort());
  for (const [name, x] of a) {
    const y = b.get(name)!;
    expect([name, y.dtype, y.shape]).toEqual([name, x.dtype, x.shape]);
    expect(Buffer.from(y.dataSync().buffer).equals(Buffer.from(x.dataSync().buffer))).toBe(true);
  }
}

const configs: Record<string, ResolvedConfig> = {
  'tied, grouped queries': tiny(),
  'untied, a key head a query head': tiny({ tieWordEmbeddings: false, numKvHeads: 4, ropeTheta: 1e6, rmsNormEps: 1e-3 }),
  'one key head, heads of another width': tiny({ numKvHeads: 1, headDim: 6, numLayers: 3 }),
};

describe('loading', () => {
  const cases = Object.keys(configs).flatMap((name) => (['F32', 'BF16', 'F16'] as const).flatMap((format) => [1, 3].map((shards) => [name, format, shards] as const)));
  test.each(cases)('%s, %s in %d files: the logits of plain loops', (name, format, shards) => {
    const config = configs[name]!;
    const weights = weightsFor(config, format);
    writeModelFolder(folder, config, weights, { format, shards, config: { head_dim: config.headDim } });
    const model = loadTransformer(folder);
    expect([model.config, model.dtype]).toEqual([config, 'float32']);
    for (const [key, { data }] of weights) expect(Array.from(model.parameters.get(key)!.dataSync())).toEqual(Array.from(data));
    expectClose(logitsOf(model), referenceLogits(config, weights, ids).flat(), 1e-4);
  });

  test('greedy generation is that of plain loops, and stops at each of the ends', () => {
    const config = tiny();
    const weights = weightsFor(config);
    writeModelFolder(folder, config, weights);
    const prompts = Array.from({ length: 8 }, (_, i) => [i, (3 * i + 1) % 11, (7 * i + 2) % 11]);
    const greedy = (prompt: number[]): number[] => {
      const text = [...prompt];
      for (let t = 0; t < 8; t++) {
        const last = referenceLogits(config, weights, text).at(-1)!;
        text.push(last.indexOf(Math.max(...last)));
      }
      return text.slice(prompt.length);
    };
    const full = prompts.map(greedy);
    // The two tokens that come most: as ends they have to cut some responses short.
    const counts = Array.from({ length: 11 }, (_, id) => full.flat().filter((each) => each === id).length);
    const [first, second] = [...counts.keys()].sort((a, b) => counts[b]! - counts[a]!) as [number, number];
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [first, second] }));
    const model = loadTransformer(folder);
    expect(model.endIds).toEqual([first, second]);
    const { responses, stopReasons } = generate(model, prompts, { maxLength: 8, temperature: 0, eosId: 100, padId: 0, key: randomKey(0) });
    const cut = full.map((response) => response.slice(0, response.findIndex((id) => id === first || id === second) + 1 || 8));
    expect(responses).toEqual(cut);
    expect(new Set(cut.filter((response, row) => stopReasons[row] === 'stop').map((response) => response.at(-1)))).toEqual(new Set([first, second]));
    expect(model.clone().endIds).toEqual(model.endIds);
  });

  test('as float64', () => {
    const config = tiny();
    const weights = weightsFor(config, 'BF16');
    writeModelFolder(folder, config, weights, { format: 'BF16' });
    const model = loadTransformer(folder, { dtype: 'float64' });
    expect(model.dtype).toBe('float64');
    for (const [key, { data }] of weights) expect(Array.from(model.parameters.get(key)!.dataSync())).toEqual(Array.from(data));
    expectClose(logitsOf(model), referenceLogits(config, weights, ids).flat(), 1e-10);
    expect(() => loadValueModel(folder, { dtype: 'bfloat16' as 'float32' })).toThrow('loadValueModel: dtype: expected float32, float64, got "bfloat16"');
  });

  test('holds what the model needs, and nothing after a failure', () => {
    const config = tiny();
    const weights = weightsFor(config, 'BF16');
    writeModelFolder(folder, config, weights, { format: 'BF16', shards: 3 });
    const before = memory().bytes;
    const model = loadTransformer(folder);
    expect(memory().bytes - before).toBe(4 * model.size);
    model.dispose();
    const file = join(folder, 'model-00003-of-00003.safetensors');
    writeFileSync(file, readFileSync(file).subarray(0, -2));
    expect(() => loadTransformer(folder)).toThrow(`${file}: expected`);
    expect(memory().bytes).toBe(before);
  });

  test('what follows from the configuration is not read: buffers of old files, the head of a tied model', () => {
    const config = tiny();
    const weights = weightsFor(config);
    const more = new Map([...weights, ['model.layers.0.self_attn.rotary_emb.inv_freq', { shape: [2], data: [1, 2] }], ['lm_head.weight', { shape: [11, 16], data: new Array<number>(176).fill(9) }]]);
    writeModelFolder(folder, config, more);
    expect([...loadTransformer(folder).parameters.keys()]).toEqual([...weights.keys()]);
  });

  test('keys that newer versions write, and those that may be left out', () => {
    const config = tiny({ ropeTheta: 500 });
    const rope_parameters = { rope_type: 'default', rope_theta: 500 };
    const given = { rope_theta: undefined, rope_parameters, layer_types: ['full_attention', 'full_attention'], dtype: 'bfloat16', torch_dtype: undefined, rms_norm_eps: undefined };
    writeModelFolder(folder, config, weightsFor(config), { config: given });
    expect(loadTransformer(folder).config).toEqual(config);
    writeModelFolder(folder, config, weightsFor(config), { config: { rope_theta: undefined, max_position_embeddings: null, tie_word_embeddings: undefined } });
    expect(() => loadTransformer(folder)).toThrow("tensor 'lm_head.weight': expected shape [11,16], got no such tensor");
  });
});

describe('a critic', () => {
  test('takes the trunk of a language model and begins at 0; what it learns is read again', () => {
    const config = tiny({ tieWordEmbeddings: false });
    const weights = weightsFor(config);
    writeModelFolder(folder, config, weights);
    const model = loadValueModel(folder);
    expect(model.parameters.has('lm_head.weight')).toBe(false);
    expect([...model.values(int32([ids]), int32([0]), { from: 3 }).dataSync()]).toEqual(new Array(7).fill(0));
    for (const [name, { data }] of weights) if (name !== 'lm_head.weight') expect(Array.from(model.parameters.get(name)!.dataSync())).toEqual(Array.from(data));
    model.parameters.set('score.weight', tensor([Array.from({ length: 16 }, (_, i) => i / 10)]));
    const path = join(folder, 'critic');
    saveHuggingFace(path, model);
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toMatchObject({ architectures: ['Qwen2ForSequenceClassification'], id2label: { 0: 'value' } });
    const back = loadValueModel(path);
    expectSame(back.parameters, model.parameters);
    expect(() => loadTransformer(path)).toThrow("tensor 'score.weight': expected only tensors of the model that config.json describes, got F32 [1,16]");
  });
});

describe('saving', () => {
  test.each(Object.keys(configs))('%s: load, save, load is the same bits', (name) => {
    const config = configs[name]!;
    writeModelFolder(folder, config, weightsFor(config), { config: { head_dim: config.headDim } });
    const model = loadTransformer(folder);
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    saveHuggingFace(first, model);
    expectSame(stored(first), stored(folder));
    const back = loadTransformer(first);
    expect(back.config).toEqual(config);
    saveHuggingFace(second, back);
    for (const file of readdirSync(first)) expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file)))).toBe(true);
    expect(logitsOf(back)).toEqual(logitsOf(model));
  });

  test('bfloat16 to float32 and back is the same bits, numbers too small to be normal included', () => {
    const config = tiny();
    const weights = weightsFor(config, 'BF16');
    const norm = weights.get('model.norm.weight')!;
    const odd = kept([1e-40, -1e-39, 2 ** -133, -0, 3e38, Infinity, -Infinity, 1.1754944e-38], 'BF16');
    weights.set('model.norm.weight', { shape: norm.shape, data: [...odd, ...Array.from(norm.data).slice(odd.length)] });
    writeModelFolder(folder, config, weights, { format: 'BF16' });
    const path = join(folder, 'saved');
    saveHuggingFace(path, loadTransformer(folder), { dtype: 'bfloat16' });
    expectSame(stored(path), stored(folder));
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')).torch_dtype).toBe('bfloat16');
  });

  test('shards with an index, which a single file replaces', () => {
    const config = tiny({ tieWordEmbeddings: false });
    const model = randomModel(config, 'float32');
    saveHuggingFace(folder, model, { maxShardBytes: 5000 });
    const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
    expect(names.length).toBeGreaterThan(2);
    expect(names[0]).toBe(`model-00001-of-0000${names.length}.safetensors`);
    const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8')) as { metadata: object; weight_map: Record<string, string> };
    expect(index.metadata).toEqual({ total_size: 4 * model.size });
    expect(Object.keys(index.weight_map)).toEqual([...model.parameters.keys()]);
    for (const name of names) {
      const { tensors } = readSafetensors(join(folder, name));
      for (const each of tensors.keys()) expect(index.weight_map[each]).toBe(name);
      if (tensors.size > 1) expect([...tensors.values()].reduce((sum, x) => sum + 4 * x.size, 0)).toBeLessThanOrEqual(5000);
    }
    expectSame(loadTransformer(folder).parameters, model.parameters);
    saveHuggingFace(folder, model);
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
    expectSame(loadTransformer(folder).parameters, model.parameters);
  });

  test('the tokenizer and the generation settings go along, byte for byte', () => {
    const { size, ids: special } = writeTokenizer(folder);
    const config = tiny({ vocabSize: size + 5 });
    writeModelFolder(folder, config, weightsFor(config));
    const path = join(folder, 'saved');
    saveHuggingFace(path, loadTransformer(folder), {});
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) expect(readFileSync(join(path, name)).equals(readFileSync(join(folder, name)))).toBe(true);
    expect(loadTokenizer(path).encodeChat([{ role: 'user', content: 'hi' }])).toEqual(loadTokenizer(folder).encodeChat([{ role: 'user', content: 'hi' }]));
    expect(loadTransformer(path).endIds).toEqual([special['<|im_end|>'], special['<|endoftext|>']]);
    // Another tokenizer takes their place.
    const other = join(folder, 'other');
    saveHuggingFace(other, Transformer.initialize(config, randomKey(0), { endIds: [12] }), { tokenizer: new WordTokenizer() });
    expect(loadTokenizer(other)).toBeInstanceOf(WordTokenizer);
    expect(existsSync(join(other, 'tokenizer.json'))).toBe(false);
    expect(JSON.parse(readFileSync(join(other, 'generation_config.json'), 'utf8'))).toEqual({ eos_token_id: 12, pad_token_id: 13 });
    expect(loadTransformer(other).endIds).toEqual([12]);
  });

  test('without attention biases', () => {
    const config = tiny({ attentionBias: false });
    saveHuggingFace(folder, randomModel(config, 'float32'));
    expect(loadTransformer(folder).config).toEqual(config);
  });

  test('a folder that cannot be written, and options that make no sense', () => {
    const model = ValueModel.initialize(tiny(), randomKey(0));
    writeFileSync(join(folder, 'file'), '');
    expect(() => saveHuggingFace(join(folder, 'file', 'below'), model)).toThrow(/below: the model cannot be written \(/);
    expect(() => saveHuggingFace(folder, model, { dtype: 'int32' as 'float32' })).toThrow('dtype: expected float32, bfloat16, float64, got "int32"');
    expect(() => saveHuggingFace(folder, {} as ValueModel)).toThrow('model: expected a Transformer or a ValueModel, got {}');
    expect(() => loadTransformer(undefined as unknown as string)).toThrow('loadTransformer: folder: expected a path, got undefined');
    expect(() => loadTokenizer('')).toThrow('loadTokenizer: folder: expected a path, got ""');
    expect(() => saveHuggingFace(folder, model, { maxShardBytes: NaN })).toThrow('maxShardBytes: expected a positive number, got NaN');
  });
});

describe('errors', () => {
  const config = tiny();
  const change = (changes: object) => () => writeModelFolder(folder, config, weightsFor(config), { config: changes });
  const weights = (edit: (given: Weights) => void) => () => {
    const given = weightsFor(config);
    edit(given);
    writeModelFolder(folder, config, given);
  };
  test.each<[string, () => void, string]>([
    ['no config.json', () => undefined, ": expected a model's folder with config.json"],
    ['another model type', change({ model_type: 'llama' }), 'config.json: model_type: expected "qwen2" (Qwen2 and Qwen2.5: the models that this decoder computes), got "llama"'],
    ['a sliding window', change({ use_sliding_window: true }), 'use_sliding_window: expected false: attention windows are not supported, got true'],
    ['layers with windows', change({ layer_types: ['full_attention', 'sliding_attention'] }), 'layer_types: expected full_attention in every layer'],
    ['scaled rotations', change({ rope_scaling: { type: 'yarn', factor: 4 } }), 'rope_scaling: expected null: scaled rotary positions are not supported, got {"type":"yarn","factor":4}'],
    ['scaled rotations as newer versions write them', change({ rope_parameters: { rope_type: 'linear', rope_theta: 1 } }), 'rope_parameters: expected rope_type "default"'],
    ['another activation', change({ hidden_act: 'gelu' }), 'hidden_act: expected "silu", got "gelu"'],
    ['quantized weights', change({ quantization_config: { bits: 4 } }), 'quantization_config: expected none'],
    ['layers without end', change({ num_hidden_layers: 1e9 }), 'config.json: TransformerConfig.numLayers: expected at most 10000, got 1000000000'],
    ['no size', change({ hidden_size: undefined }), 'config.json: hidden_size: expected a number, got undefined'],
    ['a size that is text', change({ vocab_size: '11' }), 'config.json: vocab_size: expected a number, got "11"'],
    ['heads that do not divide', change({ num_key_value_heads: 3 }), 'config.json: TransformerConfig.numKvHeads: expected a divisor of numHeads = 4'],
    ['no weights', () => (change({})(), rmSync(join(folder, 'model.safetensors'))), ': expected weights in model.safetensors or model.safetensors.index.json with its shards, got neither'],
    ['a missing tensor', weights((given) => given.delete('model.norm.weight')), "model.safetensors: tensor 'model.norm.weight': expected shape [16], got no such tensor"],
    [
      'an unknown tensor',
      weights((given) => given.set('model.extra', { shape: [1], data: [1] })),
      "model.safetensors: tensor 'model.extra': expected only tensors of the model that config.json describes, got F32 [1]",
    ],
    [
      'another shape',
      weights((given) => given.set('model.norm.weight', { shape: [4], data: [1, 2, 3, 4] })),
      "model.safetensors: tensor 'model.norm.weight': expected shape [16] (by config.json), got [4]",
    ],
  ])('%s', (_, make, message) => {
    make();
    const failure = (() => {
      try {
        loadTransformer(folder);
      } catch (error) {
        return error as Error;
      }
      return null;
    })();
    expect(failure).toBeInstanceOf(DataError);
    expect(failure!.message).toContain(folder);
    expect(failure!.message).toContain(message);
  });

  test('an index and its shards', () => {
    const given = weightsFor(config);
    writeModelFolder(folder, config, given, { shards: 2 });
    const file = join(folder, 'model.safetensors.index.json');
    const index = JSON.parse(readFileSync(file, 'utf8')) as { weight_map: Record<string, string> };
    const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
    const withMap = (weight_map: unknown) => writeFileSync(file, JSON.stringify({ weight_map }));
    withMap({ ...index.weight_map, 'model.norm.weight': index.weight_map['model.norm.weight'] === one ? two : one });
    expect(() => loadTransformer(folder)).toThrow(/index\.json: tensor 'model\.norm\.weight': expected it in "model-.*", got model-/);
    withMap({ ...index.weight_map, 'model.more': one });
    expect(() => loadTransformer(folder)).toThrow(`tensor 'model.more': expected it in "${one}", got no such tensor there`);
    withMap({ ...index.weight_map, 'model.more': '../elsewhere.safetensors' });
    expect(() => loadTransformer(folder)).toThrow('weight_map: expected a file of the same folder for each tensor');
    withMap(index.weight_map);
    writeTensors(join(folder, two), given, 'F32');
    expect(() => loadTransformer(folder)).toThrow(`${join(folder, two)}: tensor 'model.embed_tokens.weight': expected each tensor in one file, got another in ${one}`);
    rmSync(join(folder, two));
    expect(() => loadTransformer(folder)).toThrow(`${join(folder, two)}: cannot be opened`);
  });

  test('ids of ends that are no ids', () => {
    writeModelFolder(folder, config, weightsFor(config));
    writeFileSync(join(folder, 'generation_config.json'), '{"eos_token_id": "end"}');
    expect(() => loadTransformer(folder)).toThrow('generation_config.json: eos_token_id: expected a token id or a list of them, got "end"');
  });
});
