// A program under construction with the memory that it runs on, and its check on every device against the reference.
#pragma once
#include <functional>
#include <random>
#include <string>

#include "../core/error.h"
#include "../cpu/thread_pool.h"
#include "devices.h"
#include "reference.h"
#include "test.h"

namespace test::programs {

using namespace vantage;

constexpr RegisterType f32 = RegisterType::f32, f64 = RegisterType::f64, i32 = RegisterType::i32;

struct Buffer {
  DType dtype;
  int64_t elements;
  std::vector<char> bytes;
  Buffer(DType dtype, int64_t elements) : dtype(dtype), elements(elements), bytes(static_cast<size_t>(elements) * byte_size(dtype)) {}
  double operator[](int64_t i) const { return reference::load(bytes.data(), dtype, i); }
};

// A program under construction, with the memory that it runs on.
struct Builder {
  Program p;
  std::vector<Buffer> buffers;
  std::vector<double> scalars;
  std::mt19937 random{7};

  explicit Builder(std::vector<int64_t> shape) {
    p.ndim = static_cast<int>(shape.size());
    for (int d = 0; d < p.ndim; ++d) p.shape[d] = shape[d];
    p.outer = p.ndim;
  }
  Builder& reduce(int outer, int reduced) {
    p.outer = outer;
    p.reduced = reduced;
    return *this;
  }
  Builder& sequential(bool reverse) {
    p.sequential = true;
    p.reverse = reverse;
    return reduce(p.ndim - 1, 1);
  }

  // A view with the given order of dimensions in memory (from the slowest), `broadcast` dimensions with stride 0, `flip` ones negative.
  int view(DType dtype, std::vector<int> order = {}, unsigned broadcast = 0, unsigned flip = 0, int64_t gap = 0) {
    ProgramView v = {};
    v.slot = static_cast<int>(buffers.size());
    v.dtype = dtype;
    int64_t stride = 1 + gap, low = 3;
    for (int k = p.ndim - 1; k >= 0; --k) {
      const int d = order.empty() ? k : order[k];
      if (broadcast >> d & 1u) continue;
      v.strides[d] = stride;
      stride *= p.shape[d];
      if (flip >> d & 1u && p.shape[d] > 0) {
        v.strides[d] = -v.strides[d];
        low -= (p.shape[d] - 1) * v.strides[d];
      }
    }
    v.offset = low;
    buffers.emplace_back(dtype, stride + 7);
    p.views.push_back(v);
    return static_cast<int>(p.views.size()) - 1;
  }
  // A view for a reduction: stride 0 along the reduced dimensions.
  int total_view(DType dtype, unsigned flip = 0) {
    unsigned mask = 0;
    for (int d = p.outer; d < p.outer + p.reduced; ++d) mask |= 1u << d;
    return view(dtype, {}, mask, flip);
  }
  void fill(int view, const std::function<double()>& value) {
    Buffer& b = buffers[p.views[view].slot];
    for (int64_t i = 0; i < b.elements; ++i) reference::store(b.bytes.data(), b.dtype, i, value());
  }
  void fill_uniform(int view, double low, double high) {
    std::uniform_real_distribution<double> in(low, high);
    fill(view, [&] { return in(random); });
  }

  int emit(Op op, RegisterType type, int a = 0, int b = 0, int c = 0) {
    p.instructions.push_back({op, type, p.registers, a, b, c});
    return p.registers++;
  }
  int load(int view, RegisterType type = f32) { return emit(Op::load, type, view); }
  int input(double low, double high, DType dtype = DType::f32, RegisterType type = f32, unsigned broadcast = 0) {
    const int v = view(dtype, {}, broadcast);
    fill_uniform(v, low, high);
    return load(v, type);
  }
  int constant(double value, RegisterType type = f32) {
    scalars.push_back(value);
    return emit(Op::constant, type, static_cast<int>(scalars.size()) - 1);
  }
  void store(int reg, RegisterType type, int view) { p.outputs.push_back({Reduction::store, type, reg, view}); }
  void store(int reg, RegisterType type = f32, DType dtype = DType::f32) { store(reg, type, view(dtype)); }
  void fold(Reduction reduction, int reg, RegisterType type = f32, DType dtype = DType::f32) {
    p.outputs.push_back({reduction, type, reg, total_view(dtype)});
  }

  std::vector<void*> addresses(std::vector<Buffer>& memory) const {
    std::vector<void*> slots;
    for (Buffer& b : memory) slots.push_back(b.bytes.data());
    return slots;
  }

  bool cpu_only = false;  // of a path that only the CPU has, at a size that an emulation cannot take

  // Runs the program on every device, and compares all memory with the reference's. The bits may depend on neither the number of threads nor the run,
  // nor, on CUDA, on whether the program is interpreted or compiled (which `compiled` asks for: it takes a second).
  void check(const char* what, double relative = 2e-6, double absolute = 1e-6, bool compiled = false) {
    std::vector<Buffer> expected = buffers;
    reference::run(p, addresses(expected).data(), scalars.data());
    std::vector<Buffer> interpreted;
    int64_t elements = 1;
    for (int d = 0; d < p.ndim; ++d) elements *= p.shape[d];
    for (const Device& device : devices()) {
      if ((device.compiles && !compiled) || (cpu_only && !device.threads) || (device.only_scans && !p.sequential)) continue;
      device.select(device.name);
      std::vector<Buffer> first;
      for (int run = 1; run <= (device.threads ? 3 : runs_on_cuda(elements)); ++run) {
        if (device.threads) cpu::set_threads(run);
        const std::vector<Buffer> memory = run_on(*device.backend);
        if (run == 1) first = memory;
        same_bits(what, device.name, memory, first, "in another run or with other threads");
      }
      if (!device.compiles) interpreted = first;
      else if (!interpreted.empty()) same_values(what, device.name, first, interpreted);
      compare(what, device.name, first, expected, relative, absolute);
    }
  }

  std::vector<Buffer> run_on(Backend& backend) {
    std::vector<Buffer> memory = buffers;
    std::vector<void*> slots;
    for (Buffer& b : memory) {
      slots.push_back(backend.allocate(b.bytes.size()));
      if (!b.bytes.empty()) backend.upload(slots.back(), b.bytes.data(), b.bytes.size());
    }
    backend.run(p, slots.data(), scalars.data());
    for (size_t i = 0; i < memory.size(); ++i) {
      if (!memory[i].bytes.empty()) backend.download(memory[i].bytes.data(), slots[i], memory[i].bytes.size());
      backend.release(slots[i], memory[i].bytes.size());
    }
    return memory;
  }

  void same_bits(const char* what, const std::string& device, const std::vector<Buffer>& got, const std::vector<Buffer>& expected, const char* than) {
    for (size_t b = 0; b < got.size(); ++b) {
      CHECK_THAT(got[b].bytes == expected[b].bytes, "%s (%s): other bits in buffer %zu %s", what, device.c_str(), b, than);
    }
  }

  // The same bits, but for those of a NaN, which no arithmetic promises.
  void same_values(const char* what, const std::string& device, const std::vector<Buffer>& got, const std::vector<Buffer>& expected) {
    for (size_t b = 0; b < got.size(); ++b) {
      int64_t other = -1;
      for (int64_t i = 0; i < got[b].elements && other < 0; ++i) {
        const double x = got[b][i], y = expected[b][i];
        if (std::memcmp(&x, &y, sizeof x) != 0 && !(std::isnan(x) && std::isnan(y))) other = i;
      }
      CHECK_THAT(other < 0, "%s (%s): buffer %zu, element %lld: other bits than interpreted", what, device.c_str(), b, static_cast<long long>(other));
    }
  }

  void compare(const char* what, const std::string& device, const std::vector<Buffer>& got, const std::vector<Buffer>& expected,
               double relative, double absolute) {
    for (size_t b = 0; b < got.size(); ++b) {
      // A float that lies between two bfloat16 may be rounded to the other one.
      const double tolerance = got[b].dtype == DType::bf16 ? std::max(relative, 0.008) : relative;
      for (int64_t i = 0; i < got[b].elements; ++i) {
        ++test::checks();
        if (test::close(got[b][i], expected[b][i], tolerance, absolute)) continue;
        test::report(what, 0, "%s, buffer %zu, element %lld of %lld: expected %.9g, got %.9g", device.c_str(), b, static_cast<long long>(i),
                     static_cast<long long>(got[b].elements), expected[b][i], got[b][i]);
        break;
      }
    }
  }
};

}  // namespace test::programs
