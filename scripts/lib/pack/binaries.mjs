// What a shared library asks of the system that loads it, and of the CPU.
import { capture } from '../process.mjs';
import { compareVersions } from '../toolchain.mjs';

/** The oldest versions that the shipped binaries may ask for: Debian 10, RHEL 8, Ubuntu 20.04 have them. libstdc++ is linked in. */
export const FLOOR = { GLIBC: '2.28', GCC: '8.0.0' };
/** What may be loaded with it: glibc, under the names it had then, and the compiler's runtime. */
const LIBRARIES = /^(libc\.so\.6|libm\.so\.6|libdl\.so\.2|libpthread\.so\.0|librt\.so\.1|libgcc_s\.so\.1|ld-linux-x86-64\.so\.2)$/;

async function output(command, args) {
  const { code, output: text } = await capture(command, args);
  if (code !== 0) throw new Error(text.trim());
  return text;
}

/** The versions of symbols, the libraries and the path that a shared library needs, against FLOOR; @returns what it says in words */
export async function checkSymbols(file) {
  const symbols = await output('objdump', ['-T', file]);
  const problems = [];
  const highest = {};
  for (const [, family, version, name] of symbols.matchAll(/\*UND\*\s+\S+\s+\(([A-Z]+)_([\d.]+)\)\s+(\S+)/g)) {
    if (FLOOR[family] === undefined || compareVersions(version, FLOOR[family]) > 0) problems.push(`${name} needs ${family}_${version}`);
    if (compareVersions(version, highest[family] ?? '0') > 0) highest[family] = version;
  }
  // What has no version must come from Node, or be one of the compiler's weak hooks.
  const loose = [...symbols.matchAll(/^.*\*UND\*\s+\S+\s+(?:Base\s+)?(\w+)$/gm)].filter(([line, name]) => !/^(napi|node_api)_/.test(name) && !/^\S+\s+w/.test(line));
  problems.push(...loose.map(([, name]) => `${name} has no version`));
  const dynamic = await output('readelf', ['-d', file]);
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  problems.push(...needed.filter((name) => !LIBRARIES.test(name)).map((name) => `${name} would have to be there`));
  if (/\((RPATH|RUNPATH)\)/.test(dynamic)) problems.push('it holds a path of the machine that built it');
  if (Object.keys(highest).length === 0) problems.push('no versions found');
  if (problems.length > 0) throw new Error(problems.join('; '));
  return Object.entries(highest).map(([family, version]) => `${family}_${version}`).join(', ');
}

/** Code that is only called where the CPU has the instructions: all that lies in the namespaces of these instruction sets, but what runs when the library is loaded. */
const mayUse = (symbol) => /7vantage3cpu(4avx2|6avx512)/.test(symbol) && !symbol.startsWith('_GLOBAL_');
/** AVX and all that came with it: VEX and EVEX instructions are named with a v (verr and verw are not of them), mask registers are k0 to k7; BMI and FMA. */
const NEWER = /^(?:v(?!err|erw)[a-z]\w+|k(?:and|andn|or|xor|xnor|not|mov|test|ortest|shift|unpck|add)\w*|andn|bextr|bls[irm][a-z]*|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|[lt]zcnt|movbe)\b/;

/** @param file a library with its symbols; @returns how much code was looked at, and how much of it may use more than the baseline */
export async function checkInstructions(file) {
  const counts = { baseline: 0, newer: 0 };
  const found = new Map();
  let symbol = '';
  for (const line of (await output('objdump', ['-d', '--no-show-raw-insn', '-M', 'suffix', file])).split('\n')) {
    const heading = /^[0-9a-f]+ <(.*)>:$/.exec(line);
    if (heading) symbol = heading[1];
    const instruction = /^\s+[0-9a-f]+:\s+(\S.*)$/.exec(line)?.[1];
    if (instruction === undefined) continue;
    if (mayUse(symbol)) counts.newer += 1;
    else {
      counts.baseline += 1;
      if (NEWER.test(instruction)) found.set(symbol, instruction);
    }
  }
  if (counts.baseline === 0) throw new Error('no code was found');
  if (found.size > 0) throw new Error(`${found.size} functions outside of the instruction sets' namespaces: ${[...found].slice(0, 5).map(([name, code]) => `${name}: ${code}`).join('; ')}`);
  return `${counts.baseline} instructions for every CPU, ${counts.newer} behind the check of the CPU`;
}
