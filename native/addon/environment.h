// What one Node environment (the main thread, or a worker) holds: its buffers and plans. Freed when the environment ends.
#pragma once
#include <node_api.h>

#include <memory>

#include "../core/backend.h"
#include "../core/plan.h"
#include "handles.h"

namespace vantage::addon {

struct Buffer {
  Backend* backend = nullptr;
  void* memory = nullptr;
  int64_t bytes = 0;
};

struct LoadedPlan {
  Backend* backend = nullptr;
  Plan plan;
};

class Environment {
 public:
  ~Environment();

  HandleTable<Buffer> buffers;
  HandleTable<std::unique_ptr<LoadedPlan>> plans;
  int64_t bytes = 0;  // of all buffers
  int64_t reported_bytes = 0;  // what V8 was told of them

  // Throw vantage::Error where the id stands for nothing.
  Buffer& buffer(int32_t id, const char* function);
  LoadedPlan& plan(int32_t id, const char* function);
};

// The device of that name; throws where there is none.
Backend& find_backend(const char* name, const char* function);

}  // namespace vantage::addon
