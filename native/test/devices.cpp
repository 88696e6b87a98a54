#include "devices.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../addon/cuda_library.h"
#include "../core/error.h"
#include "../cpu/backend.h"
#include "../cpu/machine_code.h"

namespace test {
namespace {

void select_programs(const std::string& name) {
  char error[vantage::cuda::kErrorBytes];
  const std::string mode = name.substr(name.rfind(' ') + 1);
  if (!vantage::addon::cuda_library().library->set_programs(mode.c_str(), error)) throw vantage::Error(error);
}

constexpr char kInterpreted[] = "avx512 interpret";

void select_isa(const std::string& name) {
  vantage::cpu::set_isa(name.substr(0, name.find(' ')));
  vantage::cpu::set_compiles_programs(name != kInterpreted);
}

std::vector<Device> find_devices() {
  std::vector<Device> all;
  for (const char* name : {"baseline", "avx2", "avx512", kInterpreted}) {
    if (!wanted("cpu")) break;
    try {
      select_isa(name);
      all.push_back({name, &vantage::cpu::backend(), true, false, name == kInterpreted, select_isa});
    } catch (const vantage::Error&) {
      continue;  // not on this CPU
    }
  }
  if (vantage::Backend* cuda = cuda_backend()) {
    if (wanted("cuda interpret")) all.push_back({"cuda interpret", cuda, false, false, false, select_programs});
    if (wanted("cuda compile")) all.push_back({"cuda compile", cuda, false, true, false, select_programs});
  }
  return all;
}

}  // namespace

bool wanted(const char* device) {
  const char* only = std::getenv("VANTAGE_TEST_DEVICES");
  // Either may be the more exact one: "cuda" and "cuda interpret".
  return !only || !*only || std::strncmp(only, device, std::min(std::strlen(only), std::strlen(device))) == 0;
}

int runs_on_cuda(int64_t elements) {
  static const bool emulated = std::strstr(vantage::addon::cuda_library().device.name, "emulation") != nullptr;
  return emulated && elements > 10'000 ? 1 : 2;
}

int64_t multiprocessors() { return vantage::addon::cuda_library().device.multiprocessors; }

vantage::Backend* cuda_backend() {
#ifdef VANTAGE_TEST_CUDA_LIBRARY
  if (!wanted("cuda interpret") && !wanted("cuda compile")) return nullptr;
  setenv("VANTAGE_CUDA_LIBRARY", VANTAGE_TEST_CUDA_LIBRARY, 0);
  const vantage::addon::Cuda& cuda = vantage::addon::cuda_library();
  if (!cuda.backend) {
    std::printf("CUDA: %s\n", cuda.reason.c_str());
    std::exit(1);
  }
  static const bool told = std::printf("CUDA: %s\n", cuda.device.name) > 0;
  static_cast<void>(told);
  return cuda.backend;
#else
  return nullptr;
#endif
}

const std::vector<Device>& devices() {
  static const std::vector<Device> all = find_devices();
  return all;
}

}  // namespace test
