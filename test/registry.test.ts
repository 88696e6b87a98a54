import { ConfigError, didYouMean, RegistryError, showValue, VantageError } from '../src/errors';
import { Registry } from '../src/registry';

let count = 0;
const freshRegistry = () => new Registry<object>(`kind of test ${count++}`);

describe('didYouMean', () => {
  test.each([
    ['gpro', ['gae', 'grpo', 'rloo'], 'grpo'],
    ['GRPO', ['gae', 'grpo'], 'grpo'],
    ['reinforce', ['reinforce++', 'rloo'], 'reinforce++'],
    ['gamm', ['lambda', 'gamma'], 'gamma'],
    ['x', ['k1', 'k2'], null],
    ['nothing_like_it', ['gae', 'grpo'], null],
    ['', ['gae'], null],
    ['a', [], null],
    // Abbreviations, and words of a name.
    ['lam', ['gamma', 'lambda'], 'lambda'],
    ['mean', ['token_mean', 'sequence_mean', 'token_sum'], 'token_mean'],
    ['seq_mean', ['token_mean', 'sequence_mean', 'seq_mean_token_sum'], 'sequence_mean'],
    ['clip', ['gamma', 'epsClipLow'], 'epsClipLow'],
    ['nemo-rl', ['skyrl', 'nemo'], 'nemo'],
    ['ko', ['kotlin', 'go_ko_xy'], null],
    ['top-k', ['k', 'n'], null],
    // Names of other libraries.
    ['token-mean', ['token_mean', 'token_sum'], 'token_mean'],
    ['seq-mean-token-sum-norm', ['seq_mean_token_sum', 'seq_mean_token_sum_norm'], 'seq_mean_token_sum_norm'],
    ['seq-mean-token-mean', ['token_mean', 'sequence_mean'], 'sequence_mean'],
    ['grpo_vectorized', ['gae', 'grpo', 'grpo_passk'], 'grpo'],
    ['group_norm', ['gae', 'grpo'], 'grpo'],
    ['group_norm', ['gae'], null],
    ['adv_estimator', ['advantage_estimator', 'advantage_options'], 'advantage_estimator'],
  ])('%s among %j is %s', (name, candidates, expected) => {
    expect(didYouMean(name, candidates)).toBe(expected);
  });

  test('takes the nearest, not the first', () => {
    expect(didYouMean('train_batchsize', ['eval_batch_size', 'train_batch_size'])).toBe('train_batch_size');
  });
});

test('errors carry their own name and are VantageErrors', () => {
  const error = new ConfigError('x', { cause: 'y' });
  expect(error).toBeInstanceOf(VantageError);
  expect([error.name, error.cause]).toEqual(['ConfigError', 'y']);
});

test('showValue is short and shows the type', () => {
  expect(['3', 3, null, undefined, [1, 2], 2n, Number.NaN].map(showValue)).toEqual(['"3"', '3', 'null', 'undefined', '[1,2]', '2n', 'NaN']);
  expect(showValue('x'.repeat(500))).toHaveLength(78);
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  expect(showValue(circular)).toBe('{"self":…}');
});

describe('Registry', () => {
  test('resolves names and aliases, lists names sorted', () => {
    const registry = freshRegistry();
    const [a, b] = [{}, {}];
    registry.register('rloo', a, { aliases: ['leave_one_out'] });
    registry.register('gae', b);
    expect(registry.get('leave_one_out')).toBe(a);
    expect(registry.has('leave_one_out')).toBe(true);
    expect(registry.list()).toEqual(['gae', 'rloo']);
    expect(registry.aliasesOf('rloo')).toEqual(['leave_one_out']);
  });

  test('an unknown name lists what exists and the nearest match', () => {
    const registry = freshRegistry();
    expect(() => registry.get('gpro')).toThrow(`Unknown ${registry.kind} 'gpro'. Registered: (none)`);
    registry.register('gae', {});
    registry.register('grpo', {});
    expect(() => registry.get('gpro')).toThrow(`Unknown ${registry.kind} 'gpro'. Did you mean 'grpo'? Registered: gae, grpo`);
    registry.register('rloo', {}, { aliases: ['leave_one_out', 'loo'] });
    expect(() => registry.get('leave_one')).toThrow("Did you mean 'leave_one_out'? Registered: gae, grpo, rloo (leave_one_out, loo)");
    expect(() => registry.unregister('gpro')).toThrow(RegistryError);
  });

  test('the same value again is fine, another one needs override', () => {
    const registry = freshRegistry();
    const [a, b] = [{}, {}];
    registry.register('grpo', a);
    registry.register('grpo', a);
    expect(() => registry.register('grpo', b)).toThrow("'grpo' is already registered; pass { override: true } to replace it");
    expect(registry.get('grpo')).toBe(a);
    registry.register('grpo', b, { keepExisting: true });
    expect(registry.get('grpo')).toBe(a);
    registry.register('grpo', b, { override: true });
    expect(registry.get('grpo')).toBe(b);
  });

  test('an alias that stands for something else needs override', () => {
    const registry = freshRegistry();
    const [a, b] = [{}, {}];
    registry.register('one', a, { aliases: ['first'] });
    expect(() => registry.register('first', b)).toThrow("'first' is already an alias of 'one'");
    expect(() => registry.register('two', b, { aliases: ['first'] })).toThrow("'first' is already an alias of 'one'");
    expect(() => registry.register('two', b, { aliases: ['one'] })).toThrow("'one' is already registered");
    expect(registry.list()).toEqual(['one']);
    registry.register('two', b, { aliases: ['one', 'first'], override: true });
    expect(registry.list()).toEqual(['two']);
    expect([registry.get('one'), registry.get('first')]).toEqual([b, b]);
  });

  test('override of an alias by a name keeps the other entry', () => {
    const registry = freshRegistry();
    const [a, b] = [{ a: 1 }, { b: 1 }];
    registry.register('one', a, { aliases: ['first'] });
    registry.register('first', b, { override: true });
    expect([registry.get('one'), registry.get('first')]).toEqual([a, b]);
    expect(registry.aliasesOf('one')).toEqual([]);
  });

  test('unregister removes the entry and its aliases', () => {
    const registry = freshRegistry();
    registry.register('one', {}, { aliases: ['first'] });
    registry.unregister('first');
    expect([registry.has('one'), registry.has('first'), registry.list()]).toEqual([false, false, []]);
  });

  test.each(['', '  ', 3, null, undefined])('refuses the name %p', (name) => {
    const registry = freshRegistry();
    expect(() => registry.register(name as string, {})).toThrow('expected a name (non-empty text), got');
    expect(() => registry.get(name as string)).toThrow('expected a name');
  });

  test('refuses a missing value and takes names of object prototypes for what they are', () => {
    const registry = freshRegistry();
    expect(() => registry.register('a', undefined as unknown as object)).toThrow('expected a value, got undefined');
    expect(registry.has('__proto__')).toBe(false);
    expect(() => registry.get('constructor')).toThrow(RegistryError);
  });

  test('a second copy of the module sees the same table', () => {
    const registry = freshRegistry();
    const value = {};
    registry.register('grpo', value);
    jest.isolateModules(() => {
      const copy = require('../src/registry') as typeof import('../src/registry');
      expect(copy.Registry).not.toBe(Registry);
      expect(new copy.Registry(registry.kind).get('grpo')).toBe(value);
    });
  });
});
