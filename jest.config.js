const { availableParallelism } = require('node:os');

/** Packages that ship ES modules only: Jest's loader is CommonJS, so they are compiled like our own sources. */
const esmOnly = ['hyparquet', 'hyparquet-writer'];

/** A worker for each core but those that the native threads keep busy; two at least, as much of the tests waits for child processes. */
const workers = Math.max(2, Math.floor(availableParallelism() / 2));

/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  moduleNameMapper: { '^vantage-rl$': '<rootDir>/src/index.ts' },
  transform: {
    '\\.[cm]?[jt]s$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' }, sourceMaps: true },
    ],
  },
  transformIgnorePatterns: [`/node_modules/(?!(${esmOnly.join('|')})/)`],
  // A file runs in a context of its own, where each look at a global name costs as much as a call: these become parameters of its modules.
  sandboxInjectedGlobals: [
    ...['Math', 'Number', 'Object', 'Array', 'String', 'Boolean', 'BigInt', 'Symbol', 'JSON', 'Reflect', 'Map', 'Set', 'WeakMap', 'WeakSet', 'WeakRef', 'Promise', 'Error', 'TypeError', 'RangeError'],
    ...[
      'ArrayBuffer',
      'DataView',
      'Float32Array',
      'Float64Array',
      'Int8Array',
      'Int16Array',
      'Int32Array',
      'Uint8Array',
      'Uint16Array',
      'Uint32Array',
      'BigInt64Array',
      'SharedArrayBuffer',
      'Atomics',
      'Buffer',
    ],
    ...['Infinity', 'isNaN', 'isFinite', 'parseFloat', 'parseInt', 'process', 'performance'],
  ],
  testSequencer: '<rootDir>/test/sequencer.js',
  maxWorkers: workers,
  // A worker keeps what its files left behind; a heap of gigabytes makes collections slow, and tests of memory with them.
  workerIdleMemoryLimit: '700MB',
  testTimeout: 30_000,
};
