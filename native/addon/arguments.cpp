#include "arguments.h"

#include <cmath>

#include "../core/error.h"
#include "environment.h"

namespace vantage::addon {
namespace {

const char* const kArrayNames[] = {"Int8Array",   "Uint8Array",   "Uint8ClampedArray", "Int16Array",    "Uint16Array",   "Int32Array",
                                   "Uint32Array", "Float32Array", "Float64Array",      "BigInt64Array", "BigUint64Array"};

const char* name_of(napi_valuetype type) {
  static const char* const names[] = {"undefined", "null",      "a boolean",  "a number",    "a string",
                                      "a symbol",  "an object", "a function", "an external", "a bigint"};
  return static_cast<size_t>(type) < sizeof names / sizeof *names ? names[type] : "something else";
}

constexpr size_t kElementSize[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};

}  // namespace

void check(napi_status status, const char* function) {
  if (status != napi_ok) fail("%s: Node-API failed with status %d", function, static_cast<int>(status));
}

Arguments::Arguments(napi_env env, napi_callback_info info, const char* function, size_t expected) : env_(env), function_(function) {
  size_t count = kMost;
  check(napi_get_cb_info(env, info, &count, values_, nullptr, nullptr), function);
  if (count != expected) fail("%s: expected %zu arguments, got %zu", function, expected, count);
}

Environment& Arguments::environment() const {
  void* data = nullptr;
  check(napi_get_instance_data(env_, &data), function_);
  return *static_cast<Environment*>(data);
}

void Arguments::expected(const char* name, const char* what, size_t index) const {
  napi_valuetype type = napi_undefined;
  napi_typeof(env_, values_[index], &type);
  fail("%s: expected %s to be %s, got %s", function_, name, what, name_of(type));
}

int64_t Arguments::integer(size_t index, const char* name, int64_t low, int64_t high) const {
  double value;
  if (napi_get_value_double(env_, values_[index], &value) != napi_ok) expected(name, "a number", index);
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) || value != std::trunc(value)) {
    fail("%s: expected %s to be an integer in [%lld, %lld], got %.17g", function_, name, static_cast<long long>(low),
         static_cast<long long>(high), value);
  }
  return static_cast<int64_t>(value);
}

std::string Arguments::text(size_t index, const char* name) const {
  char text[64];
  size_t length;
  if (napi_get_value_string_utf8(env_, values_[index], text, sizeof text, &length) != napi_ok) expected(name, "a string", index);
  return {text, length};
}

void Arguments::check_memory(napi_value memory, const char* name, size_t index) const {
  bool plain = false, detached = false;
  if (napi_is_arraybuffer(env_, memory, &plain) != napi_ok || !plain) expected(name, "on an ArrayBuffer that is not shared", index);
  if (napi_is_detached_arraybuffer(env_, memory, &detached) != napi_ok || detached)
    fail("%s: the ArrayBuffer of %s is detached", function_, name);
}

TypedArray Arguments::typed_array(size_t index, const char* name, napi_typedarray_type type) const {
  TypedArray array;
  napi_value memory;
  bool is_array = false;
  napi_is_typedarray(env_, values_[index], &is_array);
  if (!is_array || napi_get_typedarray_info(env_, values_[index], &array.type, &array.length, &array.data, &memory, nullptr) != napi_ok) {
    expected(name, kArrayNames[type], index);
  }
  if (array.type != type) fail("%s: expected %s to be %s, got %s", function_, name, kArrayNames[type], kArrayNames[array.type]);
  check_memory(memory, name, index);
  return array;
}

Bytes Arguments::bytes(size_t index, const char* name) const {
  bool is = false;
  napi_value memory;
  if (napi_is_typedarray(env_, values_[index], &is) == napi_ok && is) {
    TypedArray array;
    check(napi_get_typedarray_info(env_, values_[index], &array.type, &array.length, &array.data, &memory, nullptr), function_);
    check_memory(memory, name, index);
    return {array.data, array.length * kElementSize[array.type]};
  }
  if (napi_is_dataview(env_, values_[index], &is) == napi_ok && is) {
    Bytes bytes;
    check(napi_get_dataview_info(env_, values_[index], &bytes.size, &bytes.data, &memory, nullptr), function_);
    check_memory(memory, name, index);
    return bytes;
  }
  expected(name, "a typed array or a DataView", index);
}

}  // namespace vantage::addon
