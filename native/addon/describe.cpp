#include "describe.h"

#include "../core/error.h"
#include "../core/kernels.h"
#include "../core/program.h"
#include "../cpu/backend.h"
#include "../cpu/thread_pool.h"
#include "arguments.h"
#include "cuda_library.h"

namespace vantage::addon {
namespace {

constexpr int kBoundaryVersion = 1;  // of the plan's words and of this surface

// Makes values; a failure of Node-API is an error that names the function.
class Maker {
 public:
  Maker(napi_env env, const char* function) : env_(env), function_(function) {}

  napi_value operator()(double number) const {
    return made([&](napi_value* value) { return napi_create_double(env_, number, value); });
  }
  napi_value operator()(int number) const { return (*this)(static_cast<double>(number)); }
  napi_value operator()(bool truth) const {
    return made([&](napi_value* value) { return napi_get_boolean(env_, truth, value); });
  }
  napi_value operator()(const char* text) const {
    return made([&](napi_value* value) { return napi_create_string_utf8(env_, text, NAPI_AUTO_LENGTH, value); });
  }
  napi_value operator()(const std::string& text) const { return (*this)(text.c_str()); }
  napi_value operator()(napi_value value) const { return value; }

  napi_value object() const {
    return made([&](napi_value* value) { return napi_create_object(env_, value); });
  }
  template <class T>
  void set(napi_value object, const char* name, const T& value) const {
    check(napi_set_named_property(env_, object, name, (*this)(value)), function_);
  }

  // An array of what `item` makes of 0 … count − 1.
  template <class Item>
  napi_value list(int count, const Item& item) const {
    const napi_value all = made([&](napi_value* value) { return napi_create_array(env_, value); });
    for (int i = 0; i < count; ++i) check(napi_set_element(env_, all, static_cast<uint32_t>(i), (*this)(item(i))), function_);
    return all;
  }

 private:
  template <class Make>
  napi_value made(const Make& make) const {
    napi_value value;
    check(make(&value), function_);
    return value;
  }

  napi_env env_;
  const char* function_;
};

template <class T, size_t count>
constexpr int count_of(const T (&)[count]) {
  return static_cast<int>(count);
}

napi_value list_instructions(const Maker& make) {
  static constexpr const char* kinds[] = {"numeric", "floating", "compare", "logical", "select"};
  return make.list(count_of(kInstructionRows), [&](int i) {
    const InstructionRow& row = kInstructionRows[i];
    const napi_value one = make.object();
    make.set(one, "name", row.name);
    make.set(one, "operands", row.operands);
    make.set(one, "kind", kinds[static_cast<int>(row.kind)]);
    return one;
  });
}

napi_value list_kernels(const Maker& make) {
  return make.list(count_of(kKernelRows), [&](int i) {
    const KernelRow& row = kKernelRows[i];
    const napi_value one = make.object();
    make.set(one, "name", row.name);
    make.set(one, "views", row.views);
    make.set(one, "scalars", row.scalars);
    make.set(one, "attributes", row.attributes);
    return one;
  });
}

}  // namespace

napi_value describe(napi_env env) {
  const Maker make(env, "describe");
  const napi_value result = make.object();
  make.set(result, "version", kBoundaryVersion);
  make.set(result, "instructions", list_instructions(make));
  make.set(result, "firstInstruction", kFirstInstruction);
  const napi_value ops = make.object();
  for (int op = 0; op < kFirstInstruction; ++op) make.set(ops, kOpNames[op], op);
  make.set(result, "ops", ops);
  make.set(result, "kernels", list_kernels(make));
  make.set(result, "dtypes", make.list(kDTypes, [](int i) { return name_of(static_cast<DType>(i)); }));
  const napi_value limits = make.object();
  make.set(limits, "dims", kMaxDims);
  make.set(limits, "registers", kMaxRegisters);
  make.set(limits, "instructions", kMaxInstructions);
  make.set(limits, "views", kMaxViews);
  make.set(limits, "outputs", kMaxOutputs);
  make.set(result, "limits", limits);
  make.set(result, "devices", make.list(1, [](int) { return "cpu"; }));
  make.set(result, "isa", cpu::isa());
  make.set(result, "compilesScans", cpu::compiles_scans());
  make.set(result, "threads", cpu::threads());
  return result;
}

napi_value describe_device(napi_env env, const std::string& name, const char* function) {
  const Maker make(env, function);
  const napi_value result = make.object();
  if (name == "cpu") {
    make.set(result, "available", true);
    make.set(result, "name", cpu::isa());
    return result;
  }
  if (name != "cuda") fail("%s: expected a device of [cpu, cuda], got \"%.40s\"", function, name.c_str());
  const Cuda& cuda = cuda_library();
  make.set(result, "available", cuda.backend != nullptr);
  if (!cuda.backend) {
    make.set(result, "reason", cuda.reason);
    return result;
  }
  const auto version = [](int major, int minor) { return std::to_string(major) + "." + std::to_string(minor); };
  make.set(result, "name", cuda.device.name);
  make.set(result, "computeCapability", version(cuda.device.major, cuda.device.minor));
  make.set(result, "memoryBytes", static_cast<double>(cuda.device.memory_bytes));
  make.set(result, "driver", version(cuda.device.driver / 1000, cuda.device.driver % 1000 / 10));
  return result;
}

}  // namespace vantage::addon
