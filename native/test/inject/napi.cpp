// Node-API's creation of values, failing when it is told to: as it would where V8 has no memory left, or an exception is pending.
#include <node_api.h>

#include "inject.h"

// X(function, parameters, arguments)
#define VANTAGE_CREATIONS(X)                                                                                                                \
  X(napi_create_double, (napi_env env, double value, napi_value * result), (env, value, result))                                          \
  X(napi_create_object, (napi_env env, napi_value * result), (env, result))                                                               \
  X(napi_create_array, (napi_env env, napi_value * result), (env, result))                                                                \
  X(napi_create_string_utf8, (napi_env env, const char* text, size_t length, napi_value* result), (env, text, length, result))            \
  X(napi_create_function, (napi_env env, const char* name, size_t length, napi_callback call, void* data, napi_value* result),            \
    (env, name, length, call, data, result))                                                                                              \
  X(napi_get_boolean, (napi_env env, bool value, napi_value* result), (env, value, result))                                               \
  X(napi_set_named_property, (napi_env env, napi_value object, const char* name, napi_value value), (env, object, name, value))           \
  X(napi_set_element, (napi_env env, napi_value object, uint32_t index, napi_value value), (env, object, index, value))

#define X(function, parameters, arguments)                                                     \
  extern "C" napi_status __real_##function parameters;                                         \
  extern "C" napi_status __wrap_##function parameters {                                        \
    return vantage::inject::fails() ? napi_generic_failure : __real_##function arguments;      \
  }
VANTAGE_CREATIONS(X)
#undef X
