#include "kernel_arguments.h"

#include <algorithm>

#include "check.h"
#include "policy_loss.h"

namespace vantage {
namespace {

constexpr int64_t kExact = int64_t{1} << 53;  // the integers that a double holds

DType computed_in(DType dtype) { return dtype == DType::bf16 ? DType::f32 : dtype; }

// One argument of a call that is told by its place and its name.
struct Argument {
  int place;
  const char* name;
};

void check_all_like(const char* kernel, const KernelCall& call, const TensorView& model, std::initializer_list<Argument> arguments) {
  for (const Argument& argument : arguments) check_like(kernel, argument.name, call.views[argument.place], model);
}

void check_matmul(const char* kernel, const KernelCall& call) {
  const TensorView &a = call.views[0], &b = call.views[1], &out = call.views[2];
  check_dtype(kernel, "a", a, kFloating);
  check_dtype(kernel, "b", b, kFloating);
  check_dtype(kernel, "out", out, kFloating);
  check_ndim(kernel, "a", a, 2, kMaxDims);
  check_ndim(kernel, "b", b, a.ndim, a.ndim);
  check_ndim(kernel, "out", out, a.ndim, a.ndim);
  const int rows = a.ndim - 2, cols = a.ndim - 1;
  TensorView expected = a;
  expected.shape[rows] = a.shape[cols], expected.shape[cols] = b.shape[cols];
  check_shape_of(kernel, "b", b, expected);
  expected.shape[rows] = a.shape[rows];
  check_shape_of(kernel, "out", out, expected);
}

void check_softmax(const char* kernel, const KernelCall& call) {
  const TensorView &x = call.views[0], &out = call.views[1];
  check_dtype(kernel, "x", x, kFloating);
  check_dtype(kernel, "out", out, kFloating);
  check_ndim(kernel, "x", x, 2, 2);
  check_shape_of(kernel, "out", out, x);
  check_integer(kernel, "log", call.attributes[0], 0, 1);
}

void check_attention(const char* kernel, const KernelCall& call) {
  const TensorView &q = call.views[0], &k = call.views[1];
  check_dtype(kernel, "q", q, kComputed);
  check_ndim(kernel, "q", q, 4, 4);
  check_ndim(kernel, "k", k, 4, 4);
  check_integer(kernel, "query_offset", call.scalars[1], -(int64_t{1} << 31), int64_t{1} << 31);
  constexpr const char* names[] = {"q", "k", "v", "key_start", "out", "lse"};
  for (int i = 1; i < 6; ++i) check_dtype(kernel, names[i], call.views[i], i == 3 ? bit(DType::i32) : bit(q.dtype));
  const int64_t B = q.shape[0], H = q.shape[1], Hk = k.shape[1], Tq = q.shape[2], Tk = k.shape[2], D = q.shape[3];
  check_shape(kernel, "k", k, {B, Hk, Tk, D});
  check_shape(kernel, "v", call.views[2], {B, Hk, Tk, D});
  check_shape(kernel, "key_start", call.views[3], {B});
  check_shape(kernel, "out", call.views[4], {B, H, Tq, D});
  check_shape(kernel, "lse", call.views[5], {B, H, Tq});
  if (H > 0 && (Hk == 0 || H % Hk != 0)) fail_text(kernel, "expected the heads of q to be a multiple of the heads of k");
}

void check_attention_backward(const char* kernel, const KernelCall& call) {
  check_attention(kernel, call);
  check_all_like(kernel, call, call.views[0], {{6, "dout"}, {7, "dq"}});
  check_all_like(kernel, call, call.views[1], {{8, "dk"}, {9, "dv"}});
}

// logits and ids first, then one value a row in each of the views that follow.
void check_logits(const char* kernel, const KernelCall& call, std::initializer_list<const char*> names) {
  const TensorView &logits = call.views[0], &ids = call.views[1];
  check_dtype(kernel, "logits", logits, kFloating);
  check_ndim(kernel, "logits", logits, 2, 2);
  check_dtype(kernel, "ids", ids, bit(DType::i32));
  check_shape(kernel, "ids", ids, {logits.shape[0]});
  int place = 2;
  for (const char* name : names) {
    check_dtype(kernel, name, call.views[place], bit(computed_in(logits.dtype)));
    check_shape(kernel, name, call.views[place++], {logits.shape[0]});
  }
}

void check_token_log_probs(const char* kernel, const KernelCall& call) { check_logits(kernel, call, {"log_probs", "entropy", "lse"}); }

void check_token_log_probs_backward(const char* kernel, const KernelCall& call) {
  check_logits(kernel, call, {"lse", "entropy", "d_log_probs", "d_entropy"});
  check_dtype(kernel, "d_logits", call.views[6], kFloating);
  check_shape_of(kernel, "d_logits", call.views[6], call.views[0]);
}

void check_token_policy_gradient(const char* kernel, const KernelCall& call) {
  const TensorView &logits = call.views[0], &d_logits = call.views[9];
  const unsigned computed = bit(computed_in(logits.dtype));
  check_logits(kernel, call, {"old_log_probs", "advantages", "weights"});
  const TensorView& reference = call.views[5];
  check_dtype(kernel, "ref_log_probs", reference, computed);
  check_ndim(kernel, "ref_log_probs", reference, 1, 1);
  if (reference.shape[0] != 0) check_shape(kernel, "ref_log_probs", reference, {logits.shape[0]});
  constexpr const char* names[] = {"losses", "log_probs", "entropy"};
  for (int i = 0; i < 3; ++i) {
    check_dtype(kernel, names[i], call.views[6 + i], computed);
    check_shape(kernel, names[i], call.views[6 + i], {logits.shape[0]});
  }
  check_dtype(kernel, "d_logits", d_logits, bit(logits.dtype));
  check_optional(kernel, "d_logits", d_logits, logits);
  check_integer(kernel, "kl", call.attributes[0], 0, static_cast<int>(policy::Kl::count) - 1);
}

void check_random_stream(const char* kernel, const double* key_low_high_counter) {
  check_integer(kernel, "key_low", key_low_high_counter[0], 0, 0xFFFFFFFF);
  check_integer(kernel, "key_high", key_low_high_counter[1], 0, 0xFFFFFFFF);
  check_integer(kernel, "counter", key_low_high_counter[2], 0, kExact);
}

void check_sample(const char* kernel, const KernelCall& call) {
  const TensorView& logits = call.views[0];
  check_dtype(kernel, "logits", logits, kFloating);
  check_ndim(kernel, "logits", logits, 2, 2);
  check_dtype(kernel, "ids", call.views[1], bit(DType::i32));
  check_shape(kernel, "ids", call.views[1], {logits.shape[0]});
  check_dtype(kernel, "log_probs", call.views[2], kComputed);
  check_shape(kernel, "log_probs", call.views[2], {logits.shape[0]});
  const double temperature = call.scalars[0], top_p = call.scalars[1], min_p = call.scalars[2];
  // Beyond these, 1/temperature is no float, and a weight no number.
  if (temperature != 0 && !(temperature >= 1e-30 && temperature <= 1e30)) fail_text(kernel, "temperature: expected a number from 1e-30 to 1e30, or 0");
  if (top_p != top_p || min_p != min_p) fail_text(kernel, "top_p and min_p: expected numbers, got NaN");
  check_integer(kernel, "top_k", call.scalars[3], -kExact, kExact);
  check_random_stream(kernel, call.scalars + 4);
  if (logits.shape[0] > 0 && logits.shape[1] == 0) fail_text(kernel, "logits: expected at least one token a row, got none");
}

// `shaped` has the index's shape; `along` has it too but for the axis, where it may have any extent.
void check_indexed(const char* kernel, const TensorView& index, Argument shaped, Argument along, const KernelCall& call) {
  check_dtype(kernel, "index", index, bit(DType::i32));
  check_ndim(kernel, "index", index, 1, kMaxDims);
  check_shape_of(kernel, shaped.name, call.views[shaped.place], index);
  const int axis = static_cast<int>(check_integer(kernel, "axis", call.attributes[0], 0, index.ndim - 1));
  const TensorView& target = call.views[along.place];
  TensorView expected = index;
  expected.shape[axis] = target.ndim == index.ndim ? target.shape[axis] : index.shape[axis];
  check_shape_of(kernel, along.name, target, expected);
}

void check_gather(const char* kernel, const KernelCall& call) {
  check_indexed(kernel, call.views[1], {2, "out"}, {0, "x"}, call);
  check_dtype(kernel, "out", call.views[2], bit(call.views[0].dtype));
}

void check_scatter_add(const char* kernel, const KernelCall& call) {
  check_dtype(kernel, "src", call.views[1], kFloating | bit(DType::i32));
  check_dtype(kernel, "out", call.views[2], bit(computed_in(call.views[1].dtype)));
  check_indexed(kernel, call.views[0], {1, "src"}, {2, "out"}, call);
}

void check_index_copy(const char* kernel, const KernelCall& call) {
  const TensorView &dst = call.views[0], &src = call.views[1];
  check_ndim(kernel, "dst", dst, 3, 3);
  check_dtype(kernel, "src", src, bit(dst.dtype));
  check_ndim(kernel, "src", src, 3, 3);
  check_shape(kernel, "src", src, {dst.shape[0], std::min(src.shape[1], dst.shape[1]), dst.shape[2]});
  check_integer(kernel, "position", call.scalars[0], 0, dst.shape[1] - src.shape[1]);
}

void check_gae(const char* kernel, const KernelCall& call) {
  const TensorView &rewards = call.views[0], &bootstrap = call.views[4];
  check_dtype(kernel, "rewards", rewards, kComputed);
  check_ndim(kernel, "rewards", rewards, 2, 2);
  check_all_like(kernel, call, rewards, {{1, "values"}, {5, "advantages"}});
  check_mask(kernel, "mask", call.views[2], rewards);
  check_dtype(kernel, "ends", call.views[3], bit(DType::u8));
  check_dtype(kernel, "bootstrap", bootstrap, bit(rewards.dtype));
  if (check_optional(kernel, "ends", call.views[3], rewards)) check_shape_of(kernel, "bootstrap", bootstrap, rewards);
  else check_shape(kernel, "bootstrap", bootstrap, {0, 0});
  check_dtype(kernel, "returns", call.views[6], bit(rewards.dtype));
  check_optional(kernel, "returns", call.views[6], rewards);
  check_moments(kernel, call.views[7], rewards, true);
}

void check_discounted_return(const char* kernel, const KernelCall& call) {
  const TensorView& rewards = call.views[0];
  check_dtype(kernel, "rewards", rewards, kComputed);
  check_ndim(kernel, "rewards", rewards, 2, 2);
  check_mask(kernel, "mask", call.views[1], rewards);
  check_all_like(kernel, call, rewards, {{2, "returns"}});
  check_moments(kernel, call.views[3], rewards, true);
}

void check_vtrace(const char* kernel, const KernelCall& call) {
  const TensorView& model = call.views[0];
  check_ndim(kernel, "target_log_probs", model, 2, 2);
  check_dtype(kernel, "target_log_probs", model, kComputed);
  check_all_like(kernel, call, model, {{1, "behaviour_log_probs"}, {2, "rewards"}, {3, "values"}, {6, "targets"}, {7, "advantages"}});
  check_mask(kernel, "mask", call.views[4], model);
  check_dtype(kernel, "bootstrap", call.views[5], bit(model.dtype));
  check_shape(kernel, "bootstrap", call.views[5], {model.shape[0]});
}

void check_affine_scan(const char* kernel, const KernelCall& call) {
  const TensorView& a = call.views[0];
  check_ndim(kernel, "a", a, 2, 2);
  check_dtype(kernel, "a", a, kFloating);
  check_all_like(kernel, call, a, {{1, "b"}, {3, "out"}});
  check_dtype(kernel, "initial", call.views[2], bit(a.dtype));
  check_shape(kernel, "initial", call.views[2], {a.shape[0]});
  check_integer(kernel, "reverse", call.attributes[0], 0, 1);
}

// Which rows are a group's: the rows, group by group, and where each group starts.
void check_groups(const char* kernel, const TensorView& rows, const TensorView& starts, int64_t count) {
  check_dtype(kernel, "rows", rows, bit(DType::i32));
  check_shape(kernel, "rows", rows, {count});
  check_dtype(kernel, "starts", starts, bit(DType::i32));
  check_ndim(kernel, "starts", starts, 1, 1);
}

void check_group_moments(const char* kernel, const KernelCall& call) {
  const TensorView& scores = call.views[0];
  check_ndim(kernel, "scores", scores, 1, 1);
  check_dtype(kernel, "scores", scores, kComputed);
  check_mask(kernel, "valid", call.views[1], scores);
  check_groups(kernel, call.views[2], call.views[3], scores.shape[0]);
  constexpr const char* names[] = {"count", "mean", "spread"};
  for (int k = 0; k < 3; ++k) {
    check_dtype(kernel, names[k], call.views[4 + k], bit(DType::f64));
    check_shape_of(kernel, names[k], call.views[4 + k], scores);
  }
}

void check_group_advantages(const char* kernel, const KernelCall& call) {
  const TensorView& rewards = call.views[0];
  check_ndim(kernel, "rewards", rewards, 2, 2);
  check_dtype(kernel, "rewards", rewards, kComputed);
  check_mask(kernel, "mask", call.views[1], rewards);
  check_groups(kernel, call.views[2], call.views[3], rewards.shape[0]);
  check_all_like(kernel, call, rewards, {{4, "advantages"}});
  check_dtype(kernel, "row_advantages", call.views[5], bit(rewards.dtype));
  check_shape(kernel, "row_advantages", call.views[5], {rewards.shape[0]});
  check_integer(kernel, "mode", call.attributes[0], 0, 15);
}

void check_masked_moments(const char* kernel, const KernelCall& call) {
  const TensorView& x = call.views[0];
  check_ndim(kernel, "x", x, 2, 2);
  check_dtype(kernel, "x", x, kComputed);
  check_mask(kernel, "mask", call.views[1], x);
  check_moments(kernel, call.views[2], x, false);
}

void check_whiten(const char* kernel, const KernelCall& call) {
  const TensorView& x = call.views[0];
  check_ndim(kernel, "x", x, 2, 2);
  check_dtype(kernel, "x", x, kComputed);
  check_mask(kernel, "mask", call.views[1], x);
  check_moments(kernel, call.views[2], x, true);
  check_all_like(kernel, call, x, {{3, "out"}});
  check_integer(kernel, "mode", call.attributes[0], 0, 3);
}

void check_fill(const char* kernel, const KernelCall& call) { check_contiguous(kernel, "out", call.views[0]); }

void check_philox(const char* kernel, const KernelCall& call) {
  const int64_t distribution = check_integer(kernel, "distribution", call.attributes[0], 0, 2);
  check_dtype(kernel, "out", call.views[0], distribution == 0 ? bit(DType::i32) : kComputed);
  check_contiguous(kernel, "out", call.views[0]);
  check_random_stream(kernel, call.scalars);
}

void check_adamw(const char* kernel, const KernelCall& call) {
  const TensorView& param = call.views[0];
  constexpr const char* names[] = {"param", "m", "v", "grad", "grad_scale"};
  check_dtype(kernel, "param", param, kComputed);
  for (int i = 0; i < 5; ++i) check_dtype(kernel, names[i], call.views[i], bit(param.dtype));
  for (int i = 0; i < 4; ++i) {
    check_shape_of(kernel, names[i], call.views[i], param);
    check_contiguous(kernel, names[i], call.views[i]);
  }
  check_shape(kernel, "grad_scale", call.views[4], {1});
}

}  // namespace

void check_arguments(const KernelCall& call) {
  switch (call.kernel) {
#define X(name, views, scalars, attributes) \
  case Kernel::name: return check_##name(#name, call);
    VANTAGE_KERNELS(X)
#undef X
    case Kernel::count: break;
  }
}

}  // namespace vantage
