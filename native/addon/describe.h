// describe(): the tables of the native side, from which TypeScript takes its instruction, kernel and dtype numbers.
#pragma once
#include <node_api.h>

#include <string>

namespace vantage::addon {

napi_value describe(napi_env env);

// What there is to know of one device, as an object: available; where it is not, the reason; name; for cuda computeCapability, memoryBytes, driver (the
// newest CUDA that it knows).
napi_value describe_device(napi_env env, const std::string& name, const char* function);

}  // namespace vantage::addon
