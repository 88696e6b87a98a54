// describe(): the tables of the native side, from which TypeScript takes its instruction, kernel and dtype numbers.
#pragma once
#include <node_api.h>

namespace vantage::addon {

napi_value describe(napi_env env);

}  // namespace vantage::addon
