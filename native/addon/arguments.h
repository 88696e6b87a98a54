// Reading the arguments of a call. Plain Node-API: the wrappers' objects cost more than the work of a short call.
#pragma once
#include <node_api.h>

#include <cstdint>
#include <string>

namespace vantage::addon {

class Environment;

struct TypedArray {
  napi_typedarray_type type;
  size_t length;
  void* data;
};

struct Bytes {
  void* data;
  size_t size;
};

// Every reader throws vantage::Error that names the function and the argument.
class Arguments {
 public:
  static constexpr size_t kMost = 3;

  Arguments(napi_env env, napi_callback_info info, const char* function, size_t expected);

  napi_env env() const { return env_; }
  const char* function() const { return function_; }
  Environment& environment() const;

  // An integer in [low, high].
  int64_t integer(size_t index, const char* name, int64_t low, int64_t high) const;
  int32_t id(size_t index, const char* name) const { return static_cast<int32_t>(integer(index, name, 1, INT32_MAX)); }
  std::string text(size_t index, const char* name) const;
  // A typed array of that type, on an ArrayBuffer that is neither shared nor detached.
  TypedArray typed_array(size_t index, const char* name, napi_typedarray_type type) const;
  // Any typed array or DataView, as bytes.
  Bytes bytes(size_t index, const char* name) const;

 private:
  [[noreturn]] void expected(const char* name, const char* what, size_t index) const;
  void check_memory(napi_value memory, const char* name, size_t index) const;

  napi_env env_;
  const char* function_;
  napi_value values_[kMost];
};

// Throws vantage::Error where a Node-API call failed.
void check(napi_status status, const char* function);

}  // namespace vantage::addon
