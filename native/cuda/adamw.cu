// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), the update as PyTorch writes it.
#include <cmath>

#include "../core/kernel_arguments.h"
#include "device.h"

namespace vantage::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Update {
  Rows<T> param, m, v;
  Rows<const T> grad;
  const T* scale;
  T beta1, beta2, rest1, rest2, decay, step, root, epsilon;
};

template <class T>
__global__ void __launch_bounds__(kThreads) update(const Update<T> u, const Fours fours) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= fours.count(0)) return;
  const Four at = fours.at(0, index);
  T param[4], m[4], v[4], grad[4];
  load(param, u.param, at);
  load(m, u.m, at);
  load(v, u.v, at);
  load(grad, u.grad, at);
  const T scale = *u.scale;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const T g = grad[i] * scale;
    m[i] = u.beta1 * m[i] + u.rest1 * g;
    v[i] = u.beta2 * v[i] + u.rest2 * (g * g);
    param[i] = u.decay * param[i] - u.step * m[i] / (math::sqrt(v[i]) * u.root + u.epsilon);
  }
  store(u.param, at, param);
  store(u.m, at, m);
  store(u.v, at, v);
}

template <class T>
void run(const KernelCall& call) {
  const double lr = call.scalars[0], beta1 = call.scalars[1], beta2 = call.scalars[2], correction2 = call.scalars[6];
  const int64_t size = call.views[0].size();
  if (size == 0) return;
  TensorView views[4];
  for (int i = 0; i < 4; ++i) views[i] = flat(call.views[i]);
  const Update<T> u = {rows_of<T>(views[0]), rows_of<T>(views[1]), rows_of<T>(views[2]), rows_of<const T>(views[3]), call.views[4].as<const T>(),
                       static_cast<T>(beta1), static_cast<T>(beta2), static_cast<T>(1 - beta1), static_cast<T>(1 - beta2),
                       static_cast<T>(1 - lr * call.scalars[4]), static_cast<T>(lr / call.scalars[5]), static_cast<T>(1 / std::sqrt(correction2)),
                       static_cast<T>(call.scalars[3])};
  const Fours fours = fours_of(views[0], {views + 1, views + 2, views + 3});
  launch("adamw", update<T>, dim3(static_cast<unsigned>(ceil_div(fours.most(), kThreads))), kThreads, 0, u, fours);
}

}  // namespace

void adamw(const KernelCall& call) {
  check_arguments(call);
  call.views[0].dtype == DType::f64 ? run<double>(call) : run<float>(call);
}

}  // namespace vantage::cuda
