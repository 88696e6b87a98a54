#include "environment.h"

#include <cstring>

#include "../core/error.h"
#include "../cpu/backend.h"
#include "cuda_library.h"

namespace vantage::addon {

Environment::~Environment() {
  buffers.for_each([](Buffer& buffer) { buffer.backend->release(buffer.memory, static_cast<size_t>(buffer.bytes)); });
}

Buffer& Environment::buffer(int32_t id, const char* function) {
  Buffer* found = buffers.find(id);
  if (!found) fail("%s: buffer %d does not exist or was freed", function, id);
  return *found;
}

LoadedPlan& Environment::plan(int32_t id, const char* function) {
  std::unique_ptr<LoadedPlan>* found = plans.find(id);
  if (!found) fail("%s: plan %d does not exist or was destroyed", function, id);
  return **found;
}

Backend& find_backend(const char* name, const char* function) {
  if (std::strcmp(name, "cpu") == 0) return cpu::backend();
  if (std::strcmp(name, "cuda") == 0) {
    const Cuda& cuda = cuda_library();
    if (!cuda.backend) fail("%s: device cuda: %s", function, cuda.reason.c_str());
    return *cuda.backend;
  }
  fail("%s: expected a device of [cpu, cuda], got \"%.40s\"", function, name);
}

}  // namespace vantage::addon
