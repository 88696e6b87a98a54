// The functions that TypeScript calls (src/native.ts types them). Each checks its arguments; a C++ exception becomes a JavaScript Error.
#include <node_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <limits>

#include "../core/error.h"
#include "../cpu/backend.h"
#include "../cpu/thread_pool.h"
#include "arguments.h"
#include "cuda_library.h"
#include "describe.h"
#include "environment.h"
#ifdef VANTAGE_INJECT
#include "../test/inject/inject.h"
#endif

namespace vantage::addon {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 53;

napi_value number(const Arguments& call, double value) {
  napi_value result;
  check(napi_create_double(call.env(), value, &result), call.function());
  return result;
}

// V8 collects garbage whenever it is told of some tens of megabytes more. Memory that a loop takes and gives back in each step is not garbage: V8 is told when there is
// more than ever, and of less only where less than half has been enough for a while.
void tell_of_memory(const Arguments& call, Environment& environment) {
  using Clock = std::chrono::steady_clock;
  int64_t& told = environment.told_bytes;
  if (environment.bytes > told) {
    environment.told_at = Clock::now();
  } else if (environment.bytes >= told / 2 || Clock::now() - environment.told_at < std::chrono::seconds(1)) {
    return;
  }
  int64_t total;
  napi_adjust_external_memory(call.env(), environment.bytes - told, &total);
  told = environment.bytes;
}

// describe() → see describe.cpp
napi_value describe_all(const Arguments& call) { return describe(call.env()); }

// deviceInfo(device) → {available, …}, see describe.cpp. For cuda it opens the library.
napi_value device_info(const Arguments& call) { return describe_device(call.env(), call.text(0, "device"), call.function()); }

// A handle that JavaScript does not learn of would stay for ever.
template <class Undo>
napi_value number_of(const Arguments& call, int32_t id, const Undo& undo) {
  try {
    return number(call, id);
  } catch (...) {
    undo();
    throw;
  }
}

void discard(Environment& environment, int32_t id, const Buffer& buffer) {
  environment.buffers.erase(id);
  environment.bytes -= buffer.bytes;
  buffer.backend->release(buffer.memory, static_cast<size_t>(buffer.bytes));
}

// allocate(device, bytes) → id. The memory is not cleared.
napi_value allocate(const Arguments& call) {
  Backend& backend = find_backend(call.text(0, "device").c_str(), call.function());
  const int64_t bytes = call.integer(1, "bytes", 0, kMostBytes);
  Environment& environment = call.environment();
  void* memory = backend.allocate(static_cast<size_t>(bytes));
  if (!memory) fail("allocate: out of memory for %lld bytes on %s", static_cast<long long>(bytes), backend.name());
  int32_t id;
  try {
    id = environment.buffers.insert({&backend, memory, bytes});
  } catch (...) {
    backend.release(memory, static_cast<size_t>(bytes));
    throw;
  }
  environment.bytes += bytes;
  const napi_value result = number_of(call, id, [&] { discard(environment, id, {&backend, memory, bytes}); });
  tell_of_memory(call, environment);
  return result;
}

// free(id)
napi_value free_buffer(const Arguments& call) {
  Environment& environment = call.environment();
  const int32_t id = call.id(0, "id");
  const Buffer buffer = environment.buffer(id, call.function());
  discard(environment, id, buffer);
  tell_of_memory(call, environment);
  return nullptr;
}

struct Transfer {
  Buffer& buffer;
  char* native;
  Bytes bytes;
};

Transfer transfer(const Arguments& call) {
  Buffer& buffer = call.environment().buffer(call.id(0, "id"), call.function());
  const int64_t offset = call.integer(1, "byteOffset", 0, kMostBytes);
  const Bytes bytes = call.bytes(2, "data");
  if (offset > buffer.bytes || bytes.size > static_cast<size_t>(buffer.bytes - offset)) {
    fail("%s: expected %zu bytes at %lld to be inside the buffer, which holds %lld", call.function(), bytes.size,
         static_cast<long long>(offset), static_cast<long long>(buffer.bytes));
  }
  return {buffer, static_cast<char*>(buffer.memory) + offset, bytes};
}

// upload(id, byteOffset, data)
napi_value upload(const Arguments& call) {
  const Transfer t = transfer(call);
  if (t.bytes.size > 0) t.buffer.backend->upload(t.native, t.bytes.data, t.bytes.size);
  return nullptr;
}

// download(id, byteOffset, data)
napi_value download(const Arguments& call) {
  const Transfer t = transfer(call);
  if (t.bytes.size > 0) t.buffer.backend->download(t.bytes.data, t.native, t.bytes.size);
  return nullptr;
}

// createPlan(device, words: Float64Array) → id
napi_value create_plan(const Arguments& call) {
  Backend& backend = find_backend(call.text(0, "device").c_str(), call.function());
  const TypedArray words = call.typed_array(1, "words", napi_float64_array);
  auto plan = std::make_unique<LoadedPlan>();
  plan->backend = &backend;
  plan->plan = read_plan(static_cast<const double*>(words.data), words.length);
  auto& plans = call.environment().plans;
  const int32_t id = plans.insert(std::move(plan));
  return number_of(call, id, [&] { plans.erase(id); });
}

// destroyPlan(id)
napi_value destroy_plan(const Arguments& call) {
  Environment& environment = call.environment();
  const int32_t id = call.id(0, "id");
  environment.plan(id, call.function());
  environment.plans.erase(id);
  return nullptr;
}

void mark_repeated(const Plan& plan, std::vector<ExternalBuffer>& buffers) {
  const size_t count = std::min(buffers.size(), plan.external_use.size());
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < count && !buffers[i].repeated; ++k) {
      buffers[i].repeated = k != i && plan.external_use[k] != Use::none && buffers[k].data == buffers[i].data && buffers[i].data != nullptr;
    }
  }
}

// execute(planId, bufferIds: Int32Array, scalars: Float64Array)
napi_value execute_plan(const Arguments& call) {
  Environment& environment = call.environment();
  const LoadedPlan& plan = environment.plan(call.id(0, "planId"), call.function());
  const TypedArray ids = call.typed_array(1, "bufferIds", napi_int32_array);
  const TypedArray scalars = call.typed_array(2, "scalars", napi_float64_array);
  thread_local std::vector<ExternalBuffer> buffers;
  buffers.resize(ids.length);
  const uint64_t execution = ++environment.executions;
  bool repeats = false;
  for (size_t i = 0; i < ids.length; ++i) {
    Buffer& buffer = environment.buffer(static_cast<const int32_t*>(ids.data)[i], call.function());
    if (buffer.backend != plan.backend)
      fail("execute: buffer %zu is on %s, the plan on %s", i, buffer.backend->name(), plan.backend->name());
    buffers[i] = {buffer.memory, buffer.bytes};
    if (i >= plan.plan.external_use.size() || plan.plan.external_use[i] == Use::none) continue;
    repeats |= buffer.used == execution;
    buffer.used = execution;
  }
  if (repeats) mark_repeated(plan.plan, buffers);
  execute(plan.plan, *plan.backend, buffers.data(), ids.length, static_cast<const double*>(scalars.data), scalars.length);
  return nullptr;
}

// memory() → {bytes, buffers, cachedBytes, plans}
napi_value memory(const Arguments& call) {
  Environment& environment = call.environment();
  napi_value result;
  check(napi_create_object(call.env(), &result), call.function());
  const auto set = [&](const char* name, double value) {
    check(napi_set_named_property(call.env(), result, name, number(call, value)), call.function());
  };
  set("bytes", static_cast<double>(environment.bytes));
  set("buffers", static_cast<double>(environment.buffers.size()));
  set("cachedBytes", static_cast<double>(cpu::backend().cached_bytes() + cuda_cached_bytes()));
  set("plans", static_cast<double>(environment.plans.size()));
  return result;
}

// trim(): gives cached memory back to the system and to the GPU's driver.
napi_value trim(const Arguments&) {
  cpu::backend().trim();
  cuda_trim();
  return nullptr;
}

// setThreads(count)
napi_value set_threads(const Arguments& call) {
  cpu::set_threads(static_cast<int>(call.integer(0, "count", 1, 256)));
  return nullptr;
}

// setIsa(name)
napi_value set_isa(const Arguments& call) {
  cpu::set_isa(call.text(0, "name"));
  return nullptr;
}

// synchronize(device): waits for all that runs there; throws what failed in it.
napi_value synchronize(const Arguments& call) {
  find_backend(call.text(0, "device").c_str(), call.function()).synchronize();
  return nullptr;
}

void expect_gpu(const Arguments& call) {
  const std::string name = find_backend(call.text(0, "device").c_str(), call.function()).name();
  if (name != "cuda") fail("%s: expected a GPU, which works while the host goes on, got %s", call.function(), name.c_str());
}

// startTimer(device): the device's time for all that is asked for until stopTimer
napi_value start_timer(const Arguments& call) {
  expect_gpu(call);
  cuda_start_timer();
  return nullptr;
}

// stopTimer(device) → {seconds, queued}, see native/cuda/timer.h. Waits.
napi_value stop_timer(const Arguments& call) {
  expect_gpu(call);
  const CudaTime time = cuda_stop_timer();
  napi_value result, queued;
  check(napi_create_object(call.env(), &result), call.function());
  check(napi_get_boolean(call.env(), time.queued, &queued), call.function());
  check(napi_set_named_property(call.env(), result, "seconds", number(call, time.seconds)), call.function());
  check(napi_set_named_property(call.env(), result, "queued", queued), call.function());
  return result;
}

#ifdef VANTAGE_INJECT
// inject(nth, onwards): see native/test/inject/inject.h. injected() → how many allocations there were since then, none of which fails any more.
napi_value arm_injection(const Arguments& call) {
  inject::arm(call.integer(0, "nth", 1, kMostBytes), call.integer(1, "onwards", 0, 1) == 1);
  return nullptr;
}
napi_value end_injection(const Arguments& call) { return number(call, static_cast<double>(inject::disarm())); }
#endif

struct Export {
  const char* name;
  size_t arguments;
  napi_value (*call)(const Arguments&);
};

constexpr Export kExports[] = {
    {"describe", 0, describe_all}, {"allocate", 2, allocate},         {"free", 1, free_buffer},       {"upload", 3, upload},
    {"download", 3, download},     {"createPlan", 2, create_plan},    {"destroyPlan", 1, destroy_plan}, {"execute", 3, execute_plan},
    {"memory", 0, memory},         {"trim", 0, trim},                 {"setThreads", 1, set_threads}, {"setIsa", 1, set_isa},
    {"deviceInfo", 1, device_info}, {"synchronize", 1, synchronize},  {"startTimer", 1, start_timer}, {"stopTimer", 1, stop_timer},
#ifdef VANTAGE_INJECT
    {"inject", 2, arm_injection},   {"injected", 0, end_injection},
#endif
};

// Nothing that C++ throws may pass through Node.
template <size_t index>
napi_value entry(napi_env env, napi_callback_info info) {
  constexpr const Export& function = kExports[index];
  try {
    return function.call(Arguments(env, info, function.name, function.arguments));
  } catch (const std::bad_alloc&) {
    char text[64];
    std::snprintf(text, sizeof text, "%s: out of memory", function.name);
    napi_throw_error(env, nullptr, text);
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  } catch (...) {
    napi_throw_error(env, nullptr, "vantage: unknown failure");
  }
  return nullptr;
}

template <size_t index = 0>
void define(napi_env env, napi_value exports) {
  if constexpr (index < sizeof kExports / sizeof *kExports) {
    napi_value function;
    check(napi_create_function(env, kExports[index].name, NAPI_AUTO_LENGTH, entry<index>, nullptr, &function), "vantage");
    check(napi_set_named_property(env, exports, kExports[index].name, function), "vantage");
    define<index + 1>(env, exports);
  }
}

}  // namespace
}  // namespace vantage::addon

NAPI_MODULE_INIT() {
  using namespace vantage;
  try {
    auto environment = std::make_unique<addon::Environment>();
    addon::check(napi_set_instance_data(
                     env, environment.get(), [](napi_env, void* data, void*) { delete static_cast<addon::Environment*>(data); }, nullptr),
                 "vantage");
    environment.release();
    addon::define(env, exports);
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, nullptr, "vantage: out of memory");
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return exports;
}
