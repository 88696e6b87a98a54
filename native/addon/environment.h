// What one Node environment (the main thread, or a worker) holds: its buffers and plans. Freed when the environment ends.
#pragma once
#include <node_api.h>

#include <chrono>
#include <memory>

#include "../core/backend.h"
#include "../core/plan.h"
#include "handles.h"

namespace vantage::addon {

struct Buffer {
  Backend* backend = nullptr;
  void* memory = nullptr;
  int64_t bytes = 0;
  uint64_t used = 0;  // by which execution it was last named
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
  uint64_t executions = 0;
  int64_t told_bytes = 0;  // what V8 knows of them, and since when
  std::chrono::steady_clock::time_point told_at{};

  // Throw vantage::Error where the id stands for nothing.
  Buffer& buffer(int32_t id, const char* function);
  LoadedPlan& plan(int32_t id, const char* function);
};

// The device of that name; throws where there is none.
Backend& find_backend(const char* name, const char* function);

}  // namespace vantage::addon
