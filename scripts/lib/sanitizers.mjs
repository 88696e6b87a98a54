// What a run of Node needs to use an addon with sanitizers. Node itself is not instrumented: their libraries must be there before it, libstdc++ with them, whose functions they replace.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from './process.mjs';

/** By the name that `npm run build:sanitize -- NAME` knows it by. */
export const SANITIZERS = {
  address: {
    folder: 'build-sanitize',
    flag: 'address,undefined',
    libraries: ['libasan.so', 'libubsan.so'],
    // V8 keeps what it has until the process ends: that is no leak of ours. What asks for more than there is gets null, as it does without sanitizers.
    // Stacks of allocations are kept for good, and with V8's code, which comes and goes, hardly two are the same: their first eight calls say whose it was.
    options: { ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:malloc_context_size=8', UBSAN_OPTIONS: 'print_stacktrace=1' },
  },
  thread: {
    folder: 'build-tsan',
    flag: 'thread',
    libraries: ['libtsan.so'],
    // What V8's and libuv's threads do with each other is not seen whole, and would be called a race; all code of the addon is.
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:allocator_may_return_null=1' },
  },
};

/** The variables of the environment with which `node` takes the addon of that build, which is in the folder `root`. */
export async function sanitizerEnvironment(name, compiler, root) {
  const { folder, libraries, options } = SANITIZERS[name];
  const [command, ...flags] = compiler.trim().split(/\s+/);
  const find = async (file) => {
    const { code, output } = await capture(command, [...flags, `-print-file-name=${file}`]);
    if (code !== 0 || !existsSync(output.trim())) throw new Error(`${compiler} has no ${file}; it comes with g++ (set CXX to use another compiler)`);
    return output.trim();
  };
  const files = await Promise.all([...libraries, 'libstdc++.so'].map(find));
  return { VANTAGE_RL_PREBUILD: join(root, folder), LD_PRELOAD: files.join(':'), ...options };
}
