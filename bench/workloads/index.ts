/** The suite, in the order it is run and printed. */
import type { Workload } from '../workload';
import { workloads as affineScan } from './affine_scan';
import { workloads as catalogue } from './catalogue';
import { workloads as custom } from './custom';
import { workloads as gae } from './gae';
import { workloads as groups } from './groups';
import { workloads as losses } from './losses';
import { workloads as tokenLogProbs } from './token_log_probs';
import { workloads as vtrace } from './vtrace';

export const suite: readonly Workload[] = [...gae, ...vtrace, ...groups, ...tokenLogProbs, ...affineScan, ...losses, ...custom, ...catalogue];
