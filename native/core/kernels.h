// The tuned kernels: everything a device does that is not a fused program. One row each; TypeScript reads the names
// and the counts through the addon, the plan reader checks them, each device implements them under the same name.
#pragma once
#include "tensor_view.h"

namespace vantage {

// X(name, views, run-time scalars, attributes fixed in the plan)
//
// matmul            a[..,M,K], b[..,K,N], out[..,M,N]; leading dimensions equal (strides 0 where broadcast)
// softmax           x[N,V], out[N,V]; attribute log: 0 softmax, 1 log-softmax
// attention         q[B,H,Tq,D], k[B,Hk,Tk,D], v[B,Hk,Tk,D], key_start i32[B], out[B,H,Tq,D], lse[B,H,Tq]
//                   scalars scale, query_offset. H is a multiple of Hk (head h reads key head h·Hk/H). Query i stands at position
//                   p = query_offset + i and sees the keys key_start[b] <= j <= min(p, Tk-1). A query that sees none gives 0, lse -inf.
//                   out = Σ_j softmax_j(scale·q·k_j) v_j, lse = log Σ_j exp(scale·q·k_j)
// attention_backward q, k, v, key_start, out, lse, dout, dq, dk, dv
// token_log_probs   logits[N,V], ids i32[N], log_probs[N], entropy[N], lse[N]; scalar s = 1/temperature
//                   lse = log Σ exp(s·x), log_prob = s·x[id] - lse, entropy = -Σ p log p; one read of the logits
// token_log_probs_backward  logits, ids, lse, entropy, d_log_probs[N], d_entropy[N], d_logits[N,V] (may be the logits' own memory); scalar s
//                   d_x_j = s·( g_l·([j=id] - p_j) - g_H·p_j·(log p_j + H) )
// token_policy_gradient  logits[N,V], ids i32[N], old_log_probs[N], advantages[N], weights[N], ref_log_probs[N] or [0], losses[N], log_probs[N], entropy[N],
//                   d_logits[N,V] (may be the logits' own memory) or [0,0]: not wanted; scalars s = 1/temperature, eps_low, eps_high, bound, cap, entropy_coef,
//                   kl_coef; attribute kl, the divergence. log_probs and entropy as token_log_probs gives them, the loss of each token and the gradient of
//                   their sum: formulas in policy_loss.h. One read of the logits where a row fits on chip. Rows of weight 0 are not read: all is 0 there
// sample            logits[B,V], ids i32[B], log_probs[B]; scalars temperature, top_p, min_p, top_k, key_low, key_high, counter
//                   temperature 0 takes the largest (the first of equals). log_prob is that of softmax(logits/temperature) before
//                   top-k, top-p and min-p cut it (temperature 0: of softmax(logits)). Row b draws from Philox block counter + b.
// gather            x, index i32, out, of equal ndim; attribute axis: out[..i..] = x[..index[..i..]..]
// scatter_add       index i32, src, out; attribute axis; out is set to 0 first; sums in the order of src
// index_copy        dst[B,T,C], src[B,S,C]; scalar position: dst[:, position..position+S, :] = src
// gae               rewards[B,T], values[B,T], mask u8|bool[B,T], ends u8[B,T], bootstrap[B,T], advantages[B,T], returns[B,T], moments f64[B,3];
//                   scalars gamma, lambda. ends (1 terminated, 2 truncated: the next value is bootstrap), returns and moments may be empty
//                   ([0,0], [0,0], [0,3]): no episode ends, no returns or moments are wanted. bootstrap is read where ends is 2, and is
//                   empty with it. Masked positions are passed through and give 0; formula in recurrences.h
// discounted_return rewards[B,T], mask u8|bool[B,T], returns[B,T], moments f64[B,3] (may be empty); scalar gamma. G = r + γ·G_next; masks as for gae
// vtrace            target_log_probs[B,T], behaviour_log_probs[B,T], rewards[B,T], values[B,T], mask[B,T], bootstrap[B], targets[B,T],
//                   advantages[B,T]; scalars gamma, lambda, clip_rho, clip_c, clip_pg_rho. bootstrap: the value after the last step
// affine_scan       a[N,T], b[N,T], initial[N], out[N,T] (f32, f64 or bf16, all alike; carried in float64); attribute reverse:
//                   y_t = a_t·y_{t-1} + b_t, from the first element to the last, or y_t = a_t·y_{t+1} + b_t, from the last to the first
// group_moments     scores[B], valid u8|bool[B], rows i32[B], starts i32[G+1], count, mean, spread f64[B]. rows lists the rows group by group,
//                   group g at starts[g]..starts[g+1]. Over the valid rows of a row's group: how many, μ, Σ(x-μ)²; 0, 0, 0 without any
// group_advantages  rewards[B,T], mask u8|bool[B,T], rows i32[B], starts i32[G+1], advantages[B,T], row_advantages[B]; scalars ddof, epsilon, min_variance;
//                   attribute mode, a sum of 1 (divided by the standard deviation), 2 (ε outside of the root), 4 (R minus the mean of the others) and
//                   8 (a row alone in its group keeps its reward). Of the masked sum R of each row the number of group_advantage.h, for all that the
//                   mask keeps, 0 elsewhere; groups as for group_moments
// masked_moments    x[B,T], mask u8|bool[B,T], moments f64[B,3]: of each row the count, μ and Σ(x-μ)² of what the mask keeps
// whiten            x[B,T], mask u8|bool[B,T], moments f64[B,3] or empty (then they are taken here, x is read once where it fits on chip), out[B,T];
//                   scalars epsilon, ddof; attribute mode, a sum of 1 (the mean is added again) and 2 (ε outside of the root):
//                   (x-μ)/√(σ²+ε), σ² = Σ(x-μ)²/max(n-ddof, 1), over all that the mask keeps; 0 elsewhere
// fill              out (contiguous); scalar value
// philox            out (contiguous); scalars key_low, key_high, counter; attribute distribution: 0 raw bits (int32 out),
//                   1 uniform in [0,1), 2 standard normal. Element i takes word i%4 of block counter + i/4 (see philox.h)
// adamw             param, m, v, grad (contiguous, equal size), grad_scale[1]; scalars lr, beta1, beta2, epsilon, weight_decay,
//                   correction1 = 1-beta1^t, correction2 = 1-beta2^t. In place:
//                   g = grad·grad_scale; m = β1·m+(1-β1)·g; v = β2·v+(1-β2)·g²; param -= lr·(m/c1/(√(v/c2)+ε) + weight_decay·param)
#define VANTAGE_KERNELS(X)          \
  X(matmul, 3, 0, 0)                \
  X(softmax, 2, 0, 1)               \
  X(attention, 6, 2, 0)             \
  X(attention_backward, 10, 2, 0)   \
  X(token_log_probs, 5, 1, 0)       \
  X(token_log_probs_backward, 7, 1, 0) \
  X(token_policy_gradient, 10, 7, 1) \
  X(sample, 3, 7, 0)                \
  X(gather, 3, 0, 1)                \
  X(scatter_add, 3, 0, 1)           \
  X(index_copy, 2, 1, 0)            \
  X(gae, 8, 2, 0)                   \
  X(discounted_return, 4, 1, 0)     \
  X(vtrace, 8, 5, 0)                \
  X(affine_scan, 4, 0, 1)           \
  X(group_moments, 7, 0, 0)         \
  X(group_advantages, 6, 3, 1)      \
  X(masked_moments, 3, 0, 0)        \
  X(whiten, 4, 2, 1)                \
  X(fill, 1, 1, 0)                  \
  X(philox, 1, 3, 1)                \
  X(adamw, 5, 7, 0)

enum class Kernel : int {
#define X(name, views, scalars, attributes) name,
  VANTAGE_KERNELS(X)
#undef X
      count
};

struct KernelRow {
  const char* name;
  int views, scalars, attributes;
};
constexpr KernelRow kKernelRows[] = {
#define X(name, views, scalars, attributes) {#name, views, scalars, attributes},
    VANTAGE_KERNELS(X)
#undef X
};

constexpr int kMaxKernelViews = 10;
constexpr int kMaxKernelScalars = 7;

// One call, its views resolved to memory. Before a device runs it, check_arguments (kernel_arguments.h) sees whether they belong together.
struct KernelCall {
  Kernel kernel;
  TensorView views[kMaxKernelViews];
  double scalars[kMaxKernelScalars];
  double attributes[1];
};

}  // namespace vantage
