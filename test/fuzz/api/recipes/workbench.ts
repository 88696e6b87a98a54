/** Calls of the estimator lab and of the checks, each as small as it can be. */
const lab = 'v.estimatorLab({ estimators: ["rloo"], environment: "terminal", prompts: 1, vocabulary: 3, length: 2, groupSize: 2, batches: 20, warmup: 1, resamples: 100 })';

export const workbench: readonly string[] = [
  lab,
  'v.estimatorLab({ estimators: [{ name: "gae", options: { whiten: false }, label: "g" }], environment: "critic", prompts: 1, vocabulary: 3, length: 2, batches: 20, resamples: 100, sweep: { key: "lambda", values: [0.5, 1] } }).results.length',
  'v.checkExactGradient("dense", { prompts: 1, vocabulary: 3, length: 2, samples: 10, seed: 1 })',
  `v.labPage(${lab}).length`,
  `v.writeLabPage("lab.html", ${lab})`,
  'v.checkEstimator("rloo", { runs: 1, seed: 1, only: ["result"] })',
  'v.listCheckProperties().length',
  'v.checkText(v.checkEstimator("rloo", { runs: 1, only: ["result"] }))',
  'v.assertEstimator("rloo", { runs: 1, seed: 1, only: ["result"] })',
];
