import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from './process.mjs';

export const MINIMUM_NODE = '20.19.0';
const MINIMUM_CMAKE = '3.20.0';

/** Compiling this is the check of the compiler: its version, the language and the library. */
const CPP20_PROGRAM = `
#if defined(__clang__)
#if __clang_major__ < 14
#error "clang++ 14 or newer is needed"
#endif
#elif defined(__GNUC__) && __GNUC__ < 11
#error "g++ 11 or newer is needed"
#endif
#include <bit>
#include <concepts>
#include <span>
#include <thread>
template <std::integral T> constexpr T total(std::span<const T> values) {
  T sum = 0;
  for (T value : values) sum += value;
  return sum;
}
int main() {
  const int values[] = {std::bit_cast<int>(1.0f), 2};
  std::jthread worker([] {});
  return total<int>(values) == 0;
}
`;

/** Negative, zero or positive as version a is older than, equal to or newer than b (numbers separated by dots). */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map((part) => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < 3; i++) if ((left[i] ?? 0) !== (right[i] ?? 0)) return (left[i] ?? 0) - (right[i] ?? 0);
  return 0;
}

async function version(command) {
  const { code, output } = await capture(command, ['--version']);
  return code === 0 ? (/(\d+\.\d+(\.\d+)?)/.exec(output)?.[1] ?? '0') : null;
}

/** The first compiler that compiles and links a C++20 program: CXX where it is set, else the usual names. */
async function findCompiler() {
  const versioned = [14, 13, 12, 11].map((n) => `g++-${n}`).concat([19, 18, 17, 16, 15, 14].map((n) => `clang++-${n}`));
  const candidates = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++', ...versioned];
  const folder = mkdtempSync(join(tmpdir(), 'vantage-cxx-'));
  const refused = [];
  try {
    const source = join(folder, 'check.cpp');
    writeFileSync(source, CPP20_PROGRAM);
    for (const candidate of candidates) {
      const [command, ...flags] = candidate.trim().split(/\s+/);
      const { code, output } = await capture(command, [...flags, '-std=c++20', '-pthread', source, '-o', join(folder, 'check')]);
      if (code === 0) return { compiler: candidate };
      const reason = /error:? (.*)/.exec(output)?.[1] ?? output.trim().split('\n')[0];
      if (code !== 127 || process.env.CXX) refused.push(`${candidate}: ${reason}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return { refused };
}

/**
 * Looks for what the native build needs: a C++20 compiler, CMake and a build tool.
 * @returns {Promise<{compiler?: string, missing: {package: string, reason: string}[]}>} the compiler for CXX, and what is missing with the
 *   Debian or Ubuntu package that has it
 */
export async function checkToolchain() {
  const missing = [];
  const looked = [findCompiler(), version('cmake'), version('make'), version('ninja')];
  const [{ compiler, refused }, cmake, make, ninja] = await Promise.all(looked);
  if (!compiler) {
    const found = refused.length > 0 ? ` (${process.env.CXX ? 'CXX is set; ' : ''}${refused.join('; ')})` : '';
    missing.push({ package: 'g++', reason: `a C++20 compiler is missing: g++ 11 or newer, or clang++ 14 or newer${found}` });
  }
  if (cmake === null) missing.push({ package: 'cmake', reason: `CMake ${MINIMUM_CMAKE} or newer is missing` });
  else if (compareVersions(cmake, MINIMUM_CMAKE) < 0)
    missing.push({ package: 'cmake', reason: `CMake ${MINIMUM_CMAKE} or newer is needed, found ${cmake}` });
  if (make === null && ninja === null) missing.push({ package: 'make', reason: 'a build tool is missing: make or ninja' });
  return { compiler, missing };
}

/** What VANTAGE_CUDA asks for: the CUDA library, none, or null where it is not set. */
export function wantedCuda({ VANTAGE_CUDA: wanted = '' } = process.env) {
  if (wanted === '') return null;
  if (wanted !== 'ON' && wanted !== 'OFF') throw new Error(`VANTAGE_CUDA: expected ON or OFF, got '${wanted}'`);
  return wanted === 'ON';
}

/** The message for what `checkToolchain` found missing: one reason a line, then the command that installs all of it. */
export function describeMissing(missing) {
  const prefix = process.getuid?.() === 0 ? '' : 'sudo ';
  const install = `${prefix}apt-get install ${missing.map((item) => item.package).join(' ')}`;
  return [...missing.map((item) => `  - ${item.reason}`), `On Debian or Ubuntu: ${install}`].join('\n');
}
