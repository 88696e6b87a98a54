#include "describe.h"

#include <napi.h>

#include "../core/error.h"
#include "../core/kernels.h"
#include "../core/program.h"
#include "../cpu/backend.h"
#include "../cpu/thread_pool.h"
#include "cuda_library.h"

namespace vantage::addon {
namespace {

constexpr int kBoundaryVersion = 1;  // of the plan's words and of this surface

Napi::Value list_instructions(Napi::Env env) {
  static constexpr const char* kinds[] = {"numeric", "floating", "compare", "logical", "select"};
  Napi::Array list = Napi::Array::New(env);
  for (const InstructionRow& row : kInstructionRows) {
    Napi::Object one = Napi::Object::New(env);
    one["name"] = Napi::String::New(env, row.name);
    one["operands"] = Napi::Number::New(env, row.operands);
    one["kind"] = Napi::String::New(env, kinds[static_cast<int>(row.kind)]);
    list[list.Length()] = one;
  }
  return list;
}

Napi::Value list_kernels(Napi::Env env) {
  Napi::Array list = Napi::Array::New(env);
  for (const KernelRow& row : kKernelRows) {
    Napi::Object one = Napi::Object::New(env);
    one["name"] = Napi::String::New(env, row.name);
    one["views"] = Napi::Number::New(env, row.views);
    one["scalars"] = Napi::Number::New(env, row.scalars);
    one["attributes"] = Napi::Number::New(env, row.attributes);
    list[list.Length()] = one;
  }
  return list;
}

}  // namespace

napi_value describe(napi_env raw) {
  const Napi::Env env(raw);
  Napi::Object result = Napi::Object::New(env);
  result["version"] = Napi::Number::New(env, kBoundaryVersion);
  result["instructions"] = list_instructions(env);
  result["firstInstruction"] = Napi::Number::New(env, kFirstInstruction);
  Napi::Object ops = Napi::Object::New(env);
  for (int op = 0; op < kFirstInstruction; ++op) ops[kOpNames[op]] = Napi::Number::New(env, op);
  result["ops"] = ops;
  result["kernels"] = list_kernels(env);
  Napi::Array dtypes = Napi::Array::New(env);
  for (int i = 0; i < kDTypes; ++i) dtypes[i] = Napi::String::New(env, name_of(static_cast<DType>(i)));
  result["dtypes"] = dtypes;
  Napi::Object limits = Napi::Object::New(env);
  limits["dims"] = Napi::Number::New(env, kMaxDims);
  limits["registers"] = Napi::Number::New(env, kMaxRegisters);
  limits["instructions"] = Napi::Number::New(env, kMaxInstructions);
  limits["views"] = Napi::Number::New(env, kMaxViews);
  limits["outputs"] = Napi::Number::New(env, kMaxOutputs);
  result["limits"] = limits;
  Napi::Array devices = Napi::Array::New(env);
  devices[0u] = Napi::String::New(env, "cpu");
  result["devices"] = devices;
  result["isa"] = Napi::String::New(env, cpu::isa());
  result["threads"] = Napi::Number::New(env, cpu::threads());
  return result;
}

napi_value describe_device(napi_env raw, const std::string& name, const char* function) {
  const Napi::Env env(raw);
  Napi::Object result = Napi::Object::New(env);
  if (name == "cpu") {
    result["available"] = Napi::Boolean::New(env, true);
    result["name"] = Napi::String::New(env, cpu::isa());
    return result;
  }
  if (name != "cuda") fail("%s: expected a device of [cpu, cuda], got \"%.40s\"", function, name.c_str());
  const Cuda& cuda = cuda_library();
  result["available"] = Napi::Boolean::New(env, cuda.backend != nullptr);
  if (!cuda.backend) {
    result["reason"] = Napi::String::New(env, cuda.reason);
    return result;
  }
  const auto version = [&](int major, int minor) { return Napi::String::New(env, std::to_string(major) + "." + std::to_string(minor)); };
  result["name"] = Napi::String::New(env, cuda.device.name);
  result["computeCapability"] = version(cuda.device.major, cuda.device.minor);
  result["memoryBytes"] = Napi::Number::New(env, static_cast<double>(cuda.device.memory_bytes));
  result["driver"] = version(cuda.device.driver / 1000, cuda.device.driver % 1000 / 10);
  return result;
}

}  // namespace vantage::addon
