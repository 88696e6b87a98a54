// What is in the tarball, and how large it is.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

/** Without the CUDA library, compressed. */
export const MOST_BYTES = 15e6;

const ALLOWED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|CMakeLists\.txt|binding\.gyp)$/,
  /^dist\/[\w./]+\.(js|mjs|d\.ts|d\.mts)$/,
  /^native\/(addon|core|cpu|cuda|portable)\/[\w.]+\.(cpp|h|cu|cmake)$/,
  /^scripts\/(build_from_source|lib\/(process|stage|toolchain))\.mjs$/,
  /^prebuilds\/[a-z0-9]+-[a-z0-9]+\/(vantage(\.glibc|\.musl)?\.node|libvantage_cuda\.(so|dylib))$/,
];
const REQUIRED = ['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.mjs', 'dist/index.d.ts', 'dist/index.d.mts', 'dist/cli/main.js', 'CMakeLists.txt', 'native/addon/addon.cpp'];

/** @param files the paths of `npm pack --json` */
export function checkFiles(files) {
  const stray = files.filter((path) => !ALLOWED.some((pattern) => pattern.test(path)));
  const missing = REQUIRED.filter((path) => !files.includes(path));
  if (!files.some((path) => path.startsWith('prebuilds/') && path.endsWith('.node'))) missing.push('prebuilds/…/….node');
  if (stray.length > 0) throw new Error(`not meant to be shipped: ${stray.slice(0, 10).join(', ')}`);
  if (missing.length > 0) throw new Error(`missing: ${missing.join(', ')}`);
  return `${files.length} files`;
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** @param cudaLibrary the path of the CUDA library, or null where the tarball has none */
export function checkSize({ size, unpackedSize }, cudaLibrary) {
  const cuda = cudaLibrary === null ? null : readFileSync(cudaLibrary);
  const packed = cuda === null ? 0 : gzipSync(cuda).length;
  const detail = `${megabytes(size - packed)} packed, ${megabytes(unpackedSize - (cuda?.length ?? 0))} unpacked` +
    (cuda === null ? ', no CUDA library' : `; the CUDA library takes ${megabytes(packed)} packed, ${megabytes(cuda.length)} unpacked`);
  if (size - packed > MOST_BYTES) throw new Error(`${detail}; at most ${megabytes(MOST_BYTES)} packed without the CUDA library`);
  return detail;
}
