#include "environment.h"

#include <cstring>

#include "../core/error.h"
#include "../cpu/backend.h"

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
  fail("%s: expected a device of [cpu], got \"%.40s\"", function, name);
}

}  // namespace vantage::addon
