/** Suites that look for what breaks: the fuzzer of plans, and the addon whose allocations fail. Each is skipped, in words, where this machine lacks what it needs. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { jobs, mustRun, oneInstructionSet, prepareBuildFolder, requireToolchain, root } from '../setup.mjs';
import { attach, capture } from './process.mjs';
import { timed } from './stage.mjs';

const skipped = (reason) => {
  console.log(`skipped: ${reason}`);
  return { code: 0, passed: 0, failed: 0, skipped: 1 };
};

/** The first clang++ that links a libFuzzer program with sanitizers, or null. */
async function findFuzzer() {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-fuzzer-'));
  try {
    const source = join(folder, 'check.cpp');
    writeFileSync(source, '#include <cstddef>\n#include <cstdint>\nextern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }\n');
    for (const name of ['clang++', ...[19, 18, 17, 16, 15, 14].map((n) => `clang++-${n}`)]) {
      const { code } = await capture(name, ['-std=c++20', '-fsanitize=fuzzer,address,undefined', source, '-o', join(folder, 'check')]);
      if (code === 0) return name;
    }
    return null;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * `npm run fuzz:native -- --seconds 60 --seed 1`: changed plans, run under address and undefined-behaviour sanitizers; see native/test/fuzz. What it finds stays in build-fuzz/found,
 * what it has learnt in build-fuzz/corpus. `-- FILE` runs one input.
 */
export async function fuzzNative(args) {
  const { values, positionals } = parseArgs({ args, options: { seconds: { type: 'string' }, seed: { type: 'string' } }, allowPositionals: true });
  const compiler = await findFuzzer();
  if (compiler === null) return skipped('no clang++ with libFuzzer was found (Debian and Ubuntu: apt-get install clang libclang-rt-dev)');
  const folder = join(root, 'build-fuzz');
  prepareBuildFolder(folder, compiler);
  const env = { ...process.env, CXX: compiler, UBSAN_OPTIONS: 'print_stacktrace=1' };
  await timed('build-fuzz', async () => {
    const options = ['-DVANTAGE_FUZZ=ON', '-DVANTAGE_CUDA=OFF', '-DCMAKE_BUILD_TYPE=Release', ...oneInstructionSet()];
    await mustRun('cmake', ['-S', '.', '-B', 'build-fuzz', ...options], env);
    await mustRun('cmake', ['--build', 'build-fuzz', '--target', 'vantage_fuzz', '--parallel', String(jobs)], env);
  });
  const program = join(folder, 'vantage_fuzz');
  if (positionals.length > 0) {
    const code = await attach(program, positionals, { cwd: root, env });
    return { code, passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
  }
  const [seeds, corpus, found] = ['seeds', 'corpus', 'found'].map((name) => join(folder, name));
  for (const each of [corpus, found]) mkdirSync(each, { recursive: true });
  await timed('seeds', () => mustRun(process.execPath, ['--import', 'tsx', 'test/fuzz/bytes/plans.ts', seeds]));
  const options = [`-max_total_time=${values.seconds ?? 60}`, `-seed=${values.seed ?? 1}`, '-max_len=8192', '-timeout=30', '-rss_limit_mb=2048', `-artifact_prefix=${found}/`, '-print_final_stats=1'];
  const code = await attach(program, [...options, corpus, seeds], { cwd: root, env });
  for (const file of code === 0 ? [] : readdirSync(found)) console.log(`npm run fuzz:native -- ${join('build-fuzz/found', file)}`);
  return { code, passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/** `npm run test:alloc`: the addon, built with VANTAGE_INJECT in a folder of its own, in which every allocation fails in its turn; see test/fuzz/alloc. */
export async function alloc(args) {
  if (process.platform !== 'linux') return skipped('the linker of this system cannot replace what allocates');
  const compiler = await requireToolchain();
  const folder = join(root, 'build-inject');
  prepareBuildFolder(folder, compiler);
  const env = { ...process.env, CXX: compiler };
  const cmakeJs = [join(root, 'node_modules/cmake-js/bin/cmake-js'), '--out', 'build-inject', '--config', 'Release'];
  await timed('build-inject', async () => {
    await mustRun(process.execPath, [...cmakeJs, '--CDVANTAGE_CUDA=OFF', '--CDVANTAGE_INJECT=ON', '--CDVANTAGE_ISAS=baseline', 'configure'], env);
    await mustRun(process.execPath, [...cmakeJs, 'build', '--target', 'vantage', '--parallel', String(jobs)], env);
  });
  // Where the loader looks for an addon: below `build`.
  const place = join(folder, 'package');
  mkdirSync(join(place, 'build/Release'), { recursive: true });
  if (!existsSync(join(folder, 'Release/vantage.node'))) throw new Error('build-inject/Release/vantage.node was not built');
  await mustRun('cp', [join(folder, 'Release/vantage.node'), join(place, 'build/Release/vantage.node')]);
  const code = await attach(process.execPath, ['--import', 'tsx', 'test/fuzz/alloc/main.ts', ...args], { cwd: root, env: { ...process.env, VANTAGE_RL_PREBUILD: place } });
  return { code, passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}
