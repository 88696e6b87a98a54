// Tensors of any layout, and the running of one kernel on every instruction set that this CPU has, on 1, 2 and 3 threads, and on CUDA.
#pragma once
#include <algorithm>
#include <random>
#include <string>

#include "../core/backend.h"
#include "../core/error.h"
#include "../core/kernel_arguments.h"
#include "../core/kernels.h"
#include "../core/math.h"
#include "../cpu/thread_pool.h"
#include "devices.h"
#include "test.h"

namespace vantage::cpu {
#define X(name, views, scalars, attributes) void name(const KernelCall& call);
namespace baseline {
VANTAGE_KERNELS(X)
}
#ifdef __x86_64__
#ifndef VANTAGE_WITHOUT_AVX2
namespace avx2 {
VANTAGE_KERNELS(X)
}
#endif
#ifndef VANTAGE_WITHOUT_AVX512
namespace avx512 {
VANTAGE_KERNELS(X)
}
#endif
#endif
#undef X
}  // namespace vantage::cpu

namespace test {

using namespace vantage;

struct Isa {
  std::string name;
  void (*kernels[static_cast<int>(Kernel::count)])(const KernelCall& call);
  Backend* device = nullptr;  // in place of the kernels
};

inline std::vector<Isa> available_isas() {
#define X(name, views, scalars, attributes) cpu::VANTAGE_TESTED_ISA::name,
#define VANTAGE_TESTED_ISA baseline
  std::vector<Isa> isas = {{"baseline", {VANTAGE_KERNELS(X)}}};
#undef VANTAGE_TESTED_ISA
#ifdef __x86_64__
#ifndef VANTAGE_WITHOUT_AVX2
#define VANTAGE_TESTED_ISA avx2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back({"avx2", {VANTAGE_KERNELS(X)}});
#undef VANTAGE_TESTED_ISA
#endif
#ifndef VANTAGE_WITHOUT_AVX512
#define VANTAGE_TESTED_ISA avx512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd")) {
    isas.push_back({"avx512", {VANTAGE_KERNELS(X)}});
  }
#undef VANTAGE_TESTED_ISA
#endif
#endif
#undef X
  if (!wanted("cpu")) isas.clear();
  if (Backend* device = cuda_backend()) isas.push_back({"cuda", {}, device});
  return isas;
}

inline const Isa*& current_isa() {
  static const Isa* isa = nullptr;
  return isa;
}

template <class Body>
void for_each_isa(const Body& body) {
  static const std::vector<Isa> isas = available_isas();
  for (const Isa& isa : isas) {
    current_isa() = &isa;
    body();
  }
}

enum class Layout { contiguous, transposed, gaps, reversed };
constexpr Layout kLayouts[] = {Layout::contiguous, Layout::transposed, Layout::gaps, Layout::reversed};

// Elements are read and written as doubles by their position in row-major order, whatever the layout.
struct Tensor {
  std::vector<char> storage;
  TensorView view;

  Tensor(DType dtype, std::vector<int64_t> shape, Layout layout = Layout::contiguous) {
    view.dtype = dtype;
    view.ndim = static_cast<int>(shape.size());
    std::vector<int> order;
    for (int d = 0; d < view.ndim; ++d) order.push_back(d);
    if (layout == Layout::transposed && view.ndim >= 2) std::swap(order[view.ndim - 1], order[view.ndim - 2]);
    int64_t stride = layout == Layout::gaps ? 2 : 1;
    for (int i = view.ndim - 1; i >= 0; --i) {
      const int d = order[i];
      view.shape[d] = shape[d], view.strides[d] = stride;
      stride *= shape[d] + (layout == Layout::gaps ? 1 : 0);
    }
    const int64_t width = static_cast<int64_t>(byte_size(dtype));
    storage.assign(static_cast<size_t>(stride * width), static_cast<char>(0xff));  // NaN where nothing is written
    int64_t offset = 0;
    if (layout == Layout::reversed && view.ndim > 0 && view.size() > 0) {
      const int last = view.ndim - 1;
      offset = (view.shape[last] - 1) * view.strides[last];
      view.strides[last] = -view.strides[last];
    }
    base_ = offset * width;
  }

  // The view, with the address that the storage has now, or that of a copy of it.
  TensorView at() { return at(storage.data()); }
  TensorView at(char* copy) {
    TensorView v = view;
    v.data = copy + base_;
    return v;
  }

  double operator[](int64_t i) const {
    const char* p = storage.data() + base_ + offset_of(i);
    switch (view.dtype) {
      case DType::f32: return value<float>(p);
      case DType::f64: return value<double>(p);
      case DType::bf16: return math::from_bfloat16(value<uint16_t>(p));
      case DType::i32: return value<int32_t>(p);
      default: return value<uint8_t>(p);
    }
  }

  void set(int64_t i, double x) {
    char* p = storage.data() + base_ + offset_of(i);
    switch (view.dtype) {
      case DType::f32: return put(p, static_cast<float>(x));
      case DType::f64: return put(p, x);
      case DType::bf16: return put(p, math::to_bfloat16(static_cast<float>(x)));
      case DType::i32: return put(p, static_cast<int32_t>(x));
      default: return put(p, static_cast<uint8_t>(x));
    }
  }

  int64_t size() const { return view.size(); }

  // Element 0 begins a line of the cache then, unless the tensor is copied. What was in it is lost.
  void start_on_line() {
    storage.resize(storage.size() + 64);
    base_ += static_cast<int64_t>(-reinterpret_cast<uintptr_t>(storage.data() + base_) % 64);
  }

 private:
  int64_t base_ = 0;  // bytes

  int64_t offset_of(int64_t i) const {
    int64_t offset = 0;
    for (int d = view.ndim - 1; d >= 0; i /= view.shape[d], --d) offset += i % view.shape[d] * view.strides[d];
    return offset * static_cast<int64_t>(byte_size(view.dtype));
  }
  template <class T>
  static T value(const char* p) {
    T x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  template <class T>
  static void put(char* p, T x) { std::memcpy(p, &x, sizeof x); }
};

inline std::mt19937& random_engine() {
  static std::mt19937 engine(20240607);
  return engine;
}

inline Tensor normal(DType dtype, std::vector<int64_t> shape, Layout layout = Layout::contiguous, double scale = 1) {
  Tensor t(dtype, std::move(shape), layout);
  std::normal_distribution<double> distribution(0, scale);
  for (int64_t i = 0; i < t.size(); ++i) t.set(i, distribution(random_engine()));
  return t;
}

inline Tensor integers(std::vector<int64_t> shape, int low, int high, Layout layout = Layout::contiguous) {
  Tensor t(DType::i32, std::move(shape), layout);
  std::uniform_int_distribution<int> distribution(low, high);
  for (int64_t i = 0; i < t.size(); ++i) t.set(i, distribution(random_engine()));
  return t;
}

// Runs the call on copies of the tensors in the device's memory and brings them back, after a failure too.
inline void run_on_device(Backend& device, KernelCall call, const std::vector<Tensor*>& tensors) {
  std::vector<char*> copies;
  for (size_t i = 0; i < tensors.size(); ++i) {
    // A tensor that is given twice is one piece of memory there too.
    const size_t same = static_cast<size_t>(std::find(tensors.begin(), tensors.end(), tensors[i]) - tensors.begin());
    const std::vector<char>& storage = tensors[i]->storage;
    copies.push_back(same < i ? copies[same] : static_cast<char*>(device.allocate(storage.size())));
    if (same == i) device.upload(copies[i], storage.data(), storage.size());
    call.views[i] = tensors[i]->at(copies[i]);
  }
  std::string failure;
  try {
    device.run(call);
    device.synchronize();
  } catch (const Error& error) {
    failure = error.what();
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (std::find(tensors.begin(), tensors.end(), tensors[i]) != tensors.begin() + static_cast<std::ptrdiff_t>(i)) continue;
    device.download(tensors[i]->storage.data(), copies[i], tensors[i]->storage.size());
    device.release(copies[i], tensors[i]->storage.size());
  }
  if (!failure.empty()) throw Error(failure);
}

inline void run_once(Kernel kernel, const std::vector<Tensor*>& tensors, const std::vector<double>& scalars, double attribute = 0) {
  KernelCall call{};
  call.kernel = kernel;
  for (size_t i = 0; i < tensors.size(); ++i) call.views[i] = tensors[i]->at();
  for (size_t i = 0; i < scalars.size(); ++i) call.scalars[i] = scalars[i];
  call.attributes[0] = attribute;
  if (current_isa()->device) return run_on_device(*current_isa()->device, call, tensors);
  check_arguments(call);
  current_isa()->kernels[static_cast<int>(kernel)](call);
}

// Runs on 1, 2 and 3 threads, or twice on a device, from the same contents, and checks that all leave the same bits.
inline void run(Kernel kernel, const std::vector<Tensor*>& tensors, const std::vector<double>& scalars, double attribute = 0) {
  std::vector<std::vector<char>> before, first;
  int64_t elements = 0;
  for (Tensor* t : tensors) {
    before.push_back(t->storage);
    elements += t->size();
  }
  for (int threads = 1; threads <= (current_isa()->device ? runs_on_cuda(elements) : 3); ++threads) {
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i]->storage = before[i];
    cpu::set_threads(threads);
    run_once(kernel, tensors, scalars, attribute);
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (threads == 1) first.push_back(tensors[i]->storage);
      CHECK_THAT(first[i] == tensors[i]->storage, "%s: argument %zu differs with %d threads, or the second time", current_isa()->name.c_str(), i, threads);
    }
  }
}

inline double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-12 : dtype == DType::f32 ? 2e-5 : 1e-2; }

inline void check_close(const Tensor& got, const std::vector<double>& expected, double tolerance, const char* what) {
  CHECK(got.size() == static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < got.size(); ++i) {
    CHECK_THAT(close(got[i], expected[i], tolerance, tolerance), "%s %s: element %lld: expected %.9g, got %.9g", current_isa()->name.c_str(), what,
               static_cast<long long>(i), expected[i], got[i]);
  }
}

}  // namespace test
