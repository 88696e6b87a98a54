// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), the update as PyTorch writes it.
#include "../core/kernels.h"
#include "thread_pool.h"
#include "vector.h"

namespace vantage::cpu::VANTAGE_ISA {
namespace {

template <class T>
void update(const KernelCall& call) {
  const double lr = call.scalars[0], beta1 = call.scalars[1], beta2 = call.scalars[2], correction2 = call.scalars[6];
  const T epsilon = static_cast<T>(call.scalars[3]), decay = static_cast<T>(1 - lr * call.scalars[4]);
  const T b1 = static_cast<T>(beta1), b2 = static_cast<T>(beta2), c1 = static_cast<T>(1 - beta1), c2 = static_cast<T>(1 - beta2);
  const T step = static_cast<T>(lr / call.scalars[5]), root = static_cast<T>(1 / __builtin_sqrt(correction2));
  const T scale = *call.views[4].as<const T>();
  constexpr int64_t kPiece = 16384;
  const int64_t size = call.views[0].size();
  parallel_for(ceil_div(size, kPiece), 4 * size, [&](int64_t task) {
    const int64_t from = task * kPiece, count = smaller(kPiece, size - from);
    T* __restrict param = call.views[0].as<T>() + from;
    T* __restrict m = call.views[1].as<T>() + from;
    T* __restrict v = call.views[2].as<T>() + from;
    const T* __restrict grad = call.views[3].as<const T>() + from;
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      const T g = grad[i] * scale;
      m[i] = b1 * m[i] + c1 * g;
      v[i] = b2 * v[i] + c2 * (g * g);
      param[i] = decay * param[i] - step * m[i] / (math::sqrt(v[i]) * root + epsilon);
    }
  });
}

}  // namespace

void adamw(const KernelCall& call) { call.views[0].dtype == DType::f64 ? update<double>(call) : update<float>(call); }

}  // namespace vantage::cpu::VANTAGE_ISA
