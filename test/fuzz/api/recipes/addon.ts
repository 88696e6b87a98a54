/** Calls of the addon itself, past all that TypeScript checks. `n` is the addon; what the calls allocate is freed afterwards. */
const words = (load: string, constant: string, mul: string) =>
  `Float64Array.of(1, 2, 1, 0, 1, 32, -1, 32, -1, 0, 40, 1, 8, 1, 0, 0, 0, 3, 2, 0, 0, 0, 1, 1, 0, 0, 1, 3, ${load}, 0, 0, 0, 0, 0, ${constant}, 0, 1, 0, 0, 0, ${mul}, 0, 2, 0, 1, 0, 1, 0, 0, 2, 1)`;
const plan = words('h.op("load")', 'h.op("constant")', 'h.op("mul")');

export const addon: readonly string[] = [
  'n.describe()',
  'n.deviceInfo("cpu")',
  'n.allocate("cpu", 64)',
  'n.free(n.allocate("cpu", 64))',
  'n.upload(n.allocate("cpu", 64), 8, Float32Array.of(1, 2, 3))',
  'n.download(n.allocate("cpu", 64), 8, new Float64Array(4))',
  'n.upload(n.allocate("cpu", 16), 0, new DataView(new ArrayBuffer(16), 4))',
  `n.createPlan("cpu", ${plan})`,
  `n.destroyPlan(n.createPlan("cpu", ${plan}))`,
  `n.execute(n.createPlan("cpu", ${plan}), Int32Array.of(n.allocate("cpu", 32), n.allocate("cpu", 32)), Float64Array.of(3))`,
  `((p, a, b) => { n.upload(a, 0, Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)); n.execute(p, Int32Array.of(a, b), Float64Array.of(2)); n.download(b, 0, new Float32Array(8)); n.free(a); n.destroyPlan(p); })(n.createPlan("cpu", ${plan}), n.allocate("cpu", 32), n.allocate("cpu", 32))`,
  'n.memory()',
  'n.trim()',
  'n.setThreads(2)',
  'n.setIsa("baseline")',
  'n.synchronize("cpu")',
];

/** What only a GPU has. */
export const addonRefused: readonly string[] = ['n.startTimer("cpu")', 'n.stopTimer("cpu")', 'n.startTimer("cuda")', 'n.stopTimer("cuda")', 'n.free(1e6)', 'n.destroyPlan(1e6)', 'n.free(-1)'];
