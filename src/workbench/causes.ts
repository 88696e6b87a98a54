/** What usually stands behind a property that does not hold, and what mends it. */

/** A usual cause. */
interface Cause {
  readonly cause: string;
  readonly cure: string;
}

export const causes = {
  throws: {
    cause: 'the estimator throws for an ordinary batch, or refuses it',
    cure: 'mend what the message says; what it cannot do without, it declares: static requires, static declares { rewardRange, smallestGroup }',
  },
  'wrong-shape': {
    cause: 'the result is not [batch, time]: a reduction without keepDims, or along the wrong axis',
    cure: 'a number a row becomes a column by expandDims(1), then .mul(masks) or where(masks, column, 0)',
  },
  'wrong-result': { cause: 'computeAdvantages returns something other than a floating Tensor or {advantages, returns?, metrics?}', cure: 'return the tensor itself, at once (no async), and floating' },
  'not-finite': {
    cause: 'NaN or Inf on valid tokens: a division by 0, log(0), or a masked NaN that was multiplied by 0',
    cure: 'add ε to the divisor, or where(divisor.greater(0), …); where(masks, x, 0) in place of x.mul(masks)',
  },
  'reads-masked': { cause: 'what stands at masked positions is read as if it counted', cure: 'where(masks, x, 0) before sums, { mask: masks } in statistics and scan; or no takesRawInputs = true' },
  'mask-times-nan': { cause: 'the mask is a factor on a number that may be NaN or Inf, and 0 · NaN is NaN', cure: 'where(masks, x, 0), which does not look at what it leaves out' },
  'padding-counted': {
    cause: 'a statistic over padding: a mean, a deviation or a length taken over all positions',
    cure: 'mean(null, { mask: masks }), std(null, { mask: masks }), masks.sum(1) as the length',
  },
  'first-column': {
    cause: 'column 0 is taken for the first token of a row, which padding on the left moves',
    cure: 'the first valid token: where(masks.cast("int32").cumsum(1).equal(1).logicalAnd(masks), x, 0).sum(1)',
  },
  'last-column': {
    cause: 'the last column is taken for the last token of a row, which padding on the right moves',
    cure: 'rewards.sum(1) for the total of a row; scan with { reverse: true, mask: masks } for what comes from the end',
  },
  'discount-over-masked': {
    cause: 'masked positions cost a step of γ or λ: the recurrence, or the exponent of γ, counts them',
    cure: 'scan(inputs, { mask: masks }, step), which passes them through',
  },
  'columns-compared': {
    cause: 'rows are compared column by column, as by mean(0) or sum(0) (wrong axis?), though the same column is another token in each row',
    cure: 'statistics over a number a row (rewards.sum(1)); or, if columns are meant, static declares { alignment: "columns" }',
  },
  'credit-lost-at-hole': {
    cause: 'no credit crosses a masked position in the middle (a tool call): the running sum is multiplied by the mask, or masks.roll',
    cure: 'scan(inputs, { reverse: true, mask: masks }, step) in place of a mask as a factor on the state',
  },
  'value-at-hole': {
    cause: 'V of the next column is taken where the next column is masked (a tool token): that is not the next state of the policy',
    cure: 'carry V of the next valid token as a second state of scan, with mask: masks',
  },
  'hole-counted': { cause: 'masked positions in the middle of a row count', cure: 'see what the recurrence or the statistic does where masks is 0' },
  'row-order': {
    cause: 'the place of a row in the batch matters: a statistic over the first rows, micro-batches or neighbours, a sum or cumsum along axis 0, or a row index',
    cure: 'take statistics over all rows or over context.groups',
  },
  'groups-contiguous': {
    cause: 'the rows of a group are taken to stand together, as by reshape([groups, n]) or Math.floor(row / n)',
    cure: 'context.groups (mean, centre, std, moments), which takes rows in any order',
  },
  'groups-equal-size': {
    cause: 'all groups are taken to be of one size: B / number of groups, perhaps by integer division',
    cure: "context.groups.sizes, or groups.mean, which divides by each group's own size",
  },
  'turn-names': { cause: 'ids of turns are used as numbers: they only say which tokens belong together, and in which order', cure: 'compare ids with each other; count turns by where they change' },
  'group-names': { cause: 'the ids of groups are used as numbers, or their order', cure: 'only whether two ids are equal says something: context.groups' },
  'batch-statistics': {
    cause: 'a mean or deviation over the batch where that of the group was meant: other groups change the result',
    cure: 'groups.mean, groups.centre, groups.std in place of scores.mean(), scores.std(); or static declares { scope: "batch" }',
  },
  'other-rows': { cause: 'other rows change the result of a row, which is declared to depend on itself alone', cure: 'no statistics over rows; or static declares { scope: "group" } or "batch"' },
  'empty-rows-counted': {
    cause: 'a row without a valid token counts in the mean over rows, with a reward of 0',
    cure: 'groups.moments(scores, masks.sum(1).greater(0)); or, if it is meant, static declares { emptyRows: "count" }',
  },
  'zero-deviation': {
    cause: 'a division by a standard deviation of 0, or by rounding noise in its place',
    cure: 'where(σ.greater(0), x.div(σ), 0), and the mean from context.groups or in float64, so that equal rewards differ from it by exactly 0',
  },
  'single-row': { cause: 'a row alone (n − 1 = 0 in a deviation or in leave-one-out) is divided by 0', cure: 'n.sub(1).maximum(1); groups.std, which gives 0 there' },
  'empty-row': { cause: 'a row, or a batch, without a valid token: 0/0 in a mean, or −Inf of a max over nothing', cure: 'masks.sum(1).maximum(1) as the divisor; where() on the result' },
  'single-column': { cause: 'rows of one token: a shape that was squeezed, or a difference of neighbours', cure: 'keepDims: true, expandDims(1), and no squeeze() without an axis' },
  cancellation: {
    cause: 'float32 cancellation: E[x²] − E[x]², a mean that is rounded before it is taken off, or sums of large numbers whose difference is meant',
    cure: "take the mean off first: x.sub(mean).square(), var(), std(), groups.moments; and where it is taken off numbers that lie close together, cast('float64') before",
  },
  'half-precision': {
    cause: 'small differences of rewards are lost: a cast to bfloat16 or to integers, or a threshold',
    cure: 'no cast below float32 (or to int32) before the advantages; where rewards are flags, static declares { rewardRange: { low: 0, high: 1, integer: true } }',
  },
  precision: { cause: 'float32 inputs lose digits that float64 inputs keep', cure: "sum small numbers, not large ones; cast('float64') where numbers of different size meet" },
  device: { cause: 'CPU and GPU give different numbers', cure: 'report it with the batch below, unless the estimator draws random numbers' },
  randomness: {
    cause: 'new instances give different numbers for one batch: random numbers, a clock, or state outside of the instance',
    cure: "randomKey(seed) with a key that depends on the batch's number alone; state in fields",
  },
  'stale-cache': {
    cause: 'a batch gives the numbers of an earlier one of its shape: results are kept by shape or size',
    cure: 'keep nothing that depends on the numbers of a batch; or key it by the numbers',
  },
  'state-carried': {
    cause: 'the instance carries state from batch to batch which saveState does not give: a resumed run goes on differently',
    cure: 'if it is meant, saveState and restoreState; if not, keep nothing in fields',
  },
  'state-disposed': {
    cause: 'a second call of one instance fails: a tensor in a field was freed at the end of the first call',
    cure: 'this.field = keep(x.realize()), and this.field?.dispose() before it is replaced',
  },
  'state-not-restored': {
    cause: 'an instance that went through saveState, JSON and restoreState does not go on as the one that was not interrupted',
    cure: 'save all fields that later calls read, as plain JSON with finite numbers',
  },
  'undeclared-input': {
    cause: 'an input is used that the class does not require: a run without it fails in the middle',
    cure: 'name it in static requires; or do without it where it is null, and name it in static reads',
  },
  'undeclared-read': { cause: 'static reads does not name all that changes the result: a run refuses the key that sets it', cure: 'name it in static reads' },
  'input-unused': {
    cause: 'an input is required, or said to be read, and changes nothing: a flag, a bootstrap value or a discount that is left out of the formula',
    cure: 'use it (terminated: 1 − flag as a factor on what comes behind the token); or leave it out of static requires and static reads',
  },
  'inputs-changed': {
    cause: 'inputs, or the context, are changed or disposed: writeAt, an optimizer step, dispose(), using, sort(), or an assignment',
    cure: 'operations make new tensors; inputs belong to the caller',
  },
  'tensors-leaked': { cause: 'each call leaves tensors behind: keep() without dispose() of the one before', cure: 'this.field?.dispose() before keep; nothing else needs keep' },
  'packed-differs': { cause: 'packed rows (rowOffsets) give other numbers than padded ones: the width of the batch matters', cure: 'see padding' },
  'masked-results': { cause: 'leavesZeros = true, and the result holds other numbers at masked positions', cure: '.mul(masks) or where(masks, x, 0) on the result; or no leavesZeros' },
  'not-shift-invariant': {
    cause: 'a constant added to all rewards of a group changes advantages, though invariantTo says shift: no baseline, or a baseline of other rows',
    cure: 'groups.centre(scores); or leave shift out of invariantTo',
  },
  'not-scale-invariant': {
    cause: 'a factor on all rewards of a group changes advantages, though invariantTo says scale: no division by a deviation, or a large ε',
    cure: 'divide by groups.std(scores).add(1e-6); or leave scale out of invariantTo',
  },
  'credit-across-ends': {
    cause: 'rewards behind the end of an episode (terminated, truncated) reach tokens before it: the flag of another token, the flag for its opposite, or no flag in the trace',
    cure: 'δ_t = r_t + γ(1 − d_t)V_{t+1} − V_t and A_t = δ_t + γλ(1 − d_t)A_{t+1}, d_t the flag of token t itself',
  },
  'returns-without-values': {
    cause: 'returns are the advantages, though there is a critic: it would learn 0 where it is right',
    cure: 'return { advantages, returns: advantages.add(values) }, advantages before they are whitened',
  },
  'returns-whitened': {
    cause: "returns of a row depend on other rows: they come from advantages that were whitened, and the critic's target moves with the batch",
    cure: 'returns = advantages + values before whitening',
  },
  'reward-ignored': { cause: 'the rewards of some tokens reach no token: only that of the last one is looked at', cure: 'rewards.sum(1) for the total of a row; or a scan' },
  'token-left-out': {
    cause: 'the first or the last token of a row gets nothing: a mask that begins late or ends early, as where labels are shifted',
    cure: 'masks as they come: masks[t] belongs to token t, as rewards[t] does',
  },
  'bootstrap-at-end': {
    cause: 'behind the last token of a row a value is bootstrapped, though the row ends there',
    cure: 'the recurrence starts at 0: scan(…, { init: [0, 0] }); bootstrapValues where rows are cut off',
  },
  'bootstrap-off-by-one': {
    cause: 'the temporal-difference error does not vanish for a critic that is right: r_t + γV_{t+1} − V_t takes V of another token (off by one?), or γ is missing, or λ stands in its place',
    cure: 'values[t] is V before token t: the next one is that of the next valid token, 0 behind the last',
  },
  'time-reversed': { cause: 'advantages depend on earlier rewards and not on later ones: the recurrence runs forwards', cure: 'scan(…, { reverse: true }), cumsum(1, { reverse: true })' },
  'own-reward-missing': { cause: 'later rewards count for a token, and its own does not: a cumulative sum that is off by one', cure: 'G_t = r_t + γG_{t+1}: the state after the step, not before it' },
  'off-by-one': { cause: 'some earlier rewards or values reach a token: an index that is off by one, or wraps around', cure: 'no roll; padding by 0 at the end of shifted columns' },
  'sequential-scan': {
    cause: 'a scan runs as a loop over time, as its step is not affine in the state',
    cure: 'bring the step to the form a·s + b with a and b free of s; nonlinear parts before or after the scan',
  },
  slow: {
    cause: 'much slower than a copy of what it reads and writes: a loop over rows or tokens, or values read inside',
    cure: 'whole tensors, scan and groups in place of loops; no item(), dataSync() or toArray() inside',
  },
  ddof: { cause: 'the divisor of the variance: n where the reference has n − 1, or the other way round', cure: 'std(…, { ddof: 1 }) divides by n − 1, { ddof: 0 } by n' },
  'epsilon-placement': { cause: 'ε inside of the root where the reference has it outside, or the other way round: √(σ² + ε) is not σ + ε', cure: 'std.add(epsilon), or variance.add(epsilon).sqrt()' },
  epsilon: { cause: 'another ε than that of the reference', cure: 'compare the ε beside σ' },
  'another-option': { cause: 'the reference with another option', cure: 'see the option that is named' },
  sign: { cause: 'the sign: more reward gives less advantage, or the reference times −1', cure: 'R − baseline, not baseline − R' },
  'another-discount': { cause: 'the reference with another γ or λ: one of them is left out, or they changed places', cure: 'δ_t = r_t + γV_{t+1} − V_t, A_t = δ_t + γλA_{t+1}' },
  'another-normalisation': {
    cause: 'each row is moved and stretched by itself: statistics of a row where the reference has those of the batch or of a group',
    cure: 'mean and deviation with { mask: masks } and axis null, not 1',
  },
  'another-baseline': { cause: 'the reference minus a constant: another mean (over tokens in place of rows, of the batch in place of the group)', cure: 'compare what the mean is taken over' },
  factor: { cause: 'a constant factor', cure: 'look for a divisor that is counted twice, or not at all' },
  'group-size-factor': { cause: 'a factor that depends on the size of the group, such as n/(n − 1)', cure: 'leave-one-out or mean over all, n or n − 1: compare the divisors' },
  'time-shift': { cause: 'the reference moved by one token', cure: 'look for an index that is off by one' },
  'not-the-reference': { cause: 'none of the usual differences explains it', cure: 'compare by hand on the batch below' },
} as const satisfies Readonly<Record<string, Cause>>;

/** The name of a usual cause, as docs/checking.md lists them. @useDeclaredType */
export type CauseId = keyof typeof causes;
