// The ES-module face of the one CommonJS build: a name registered from either side is seen from both.
export * from './index.js';
