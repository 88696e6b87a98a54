/** What `vantage doctor` finds: the fields of `--json`, which docs/doctor.md describes. */

export interface Findings {
  vantage: { version: string; folder: string };
  node: { version: string; executable: string; supported: boolean };
  system: SystemInfo;
  binary: BinaryInfo;
  cpu: CpuInfo;
  cuda: CudaInfo;
  defaultDevice: { device: string; from: 'VANTAGE_DEVICE' | 'default'; usable: boolean };
  problems: Problem[];
  /** Whether the CPU works: exit code 0. */
  ok: boolean;
}

export interface SystemInfo {
  platform: string;
  arch: string;
  kernel: string;
  distribution: string | null;
  libc: { name: 'glibc' | 'musl'; version: string | null } | null;
  memoryBytes: number;
}

/** The addon's file, chosen as node-gyp-build chooses it. */
export interface BinaryInfo {
  /** Relative to the package where it lies inside; null where there is none. */
  path: string | null;
  kind: 'release build' | 'debug build' | 'prebuilt' | 'beside node' | null;
  /** All places in their order, and which addons each holds. */
  lookedIn: { place: string; found: string[] }[];
  loads: boolean;
  /** Why it does not load. */
  error: string | null;
}

export interface CpuInfo {
  model: string | null;
  /** Those of its features that the instruction sets are made of. */
  features: string[];
  /** The instruction set in use, all that this CPU can run, and what chose it. */
  isa: string | null;
  usableIsas: string[];
  isaFrom: 'VANTAGE_ISA' | 'best' | null;
  /** How fused programs with scans run. */
  scans: 'compiled' | 'interpreted' | null;
  threads: number | null;
  threadsFrom: 'VANTAGE_NUM_THREADS' | 'affinity' | 'cgroup' | 'cores' | null;
  cores: number;
  affinity: number;
  /** The CPUs' worth of time that the container may use; null without a limit. */
  cgroupLimit: number | null;
  /** What multiplies matrices: 'built-in', or the file of a library. */
  matmul: string | null;
  selfTest: SelfTest | null;
}

export type CudaStatus = 'ok' | 'wrong result' | 'no library' | 'not loadable' | 'other sources' | 'no driver' | 'driver too old' | 'no device' | 'failed' | 'crashed' | 'timed out' | 'not tried';

export interface CudaInfo {
  status: CudaStatus;
  /** Why CUDA cannot be used, in a sentence; null where it can. */
  reason: string | null;
  /** The file that is opened, and what named it. */
  library: string | null;
  libraryFrom: 'VANTAGE_CUDA_LIBRARY' | 'beside the addon' | null;
  libraryExists: boolean;
  /** The GPU that Vantage uses. */
  device: { name: string; computeCapability: string; memoryBytes: number; driver: string } | null;
  /** What multiplies matrices there: 'built-in', or the file of cuBLAS. */
  matmul: string | null;
  /** Whether fused programs are compiled: the file of NVRTC, or why they are interpreted. */
  nvrtc: string | null;
  programs: 'compiled' | 'interpreted' | null;
  selfTest: SelfTest | null;
  /** NVIDIA's devices in this machine, with or without a driver. */
  hardware: number;
  driverVersion: string | null;
  /** As nvidia-smi lists them. */
  gpus: { index: number; name: string; driver: string; computeCapability: string; memoryBytes: number }[];
}

export interface SelfTest {
  passed: boolean;
  checks: Check[];
}

/** One result against its known value. */
export interface Check {
  name: string;
  passed: boolean;
  /** Where it failed: what was expected and what came, or the error. */
  detail: string | null;
}

export interface Problem {
  severity: 'error' | 'warning';
  text: string;
  /** What to run, or to set. */
  command: string;
}
