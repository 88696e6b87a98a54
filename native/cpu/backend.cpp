#include "backend.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "../core/error.h"
#include "../core/kernel_arguments.h"
#include "allocator.h"
#include "kernel_table.h"
#include "machine_code.h"

namespace vantage::cpu {

// Each is filled by kernel_list.cpp, compiled for its instruction set.
namespace baseline {
extern const KernelTable table;
}
#if defined(__x86_64__)
#ifndef VANTAGE_WITHOUT_AVX2
namespace avx2 {
extern const KernelTable table;
}
#endif
#ifndef VANTAGE_WITHOUT_AVX512
namespace avx512 {
extern const KernelTable table;
}
#endif
#endif

namespace {

bool usable(const KernelTable* table) {
#if defined(__x86_64__)
  // What x86-64-v3 and -v4 name: not every compiler knows these names here.
  [[maybe_unused]] const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#ifndef VANTAGE_WITHOUT_AVX2
  if (table == &avx2::table) return v3;
#endif
#ifndef VANTAGE_WITHOUT_AVX512
  if (table == &avx512::table) {
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  }
#endif
#endif
  return table == &baseline::table;
}

const KernelTable* const kTables[] = {
#if defined(__x86_64__)
#ifndef VANTAGE_WITHOUT_AVX512
    &avx512::table,
#endif
#ifndef VANTAGE_WITHOUT_AVX2
    &avx2::table,
#endif
#endif
    &baseline::table};

// `who` asks for it: a function, or a variable of the environment.
const KernelTable* find(const char* who, const char* name) {
  std::string names;
  for (const KernelTable* table : kTables) {
    if (!usable(table)) continue;
    if (std::strcmp(table->isa, name) == 0) return table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  fail("%s: expected an instruction set that this CPU and this build have, of [%s], got \"%.40s\"", who, names.c_str(), name);
}

const KernelTable* best() {
  if (const char* name = std::getenv("VANTAGE_ISA"); name && *name) return find("VANTAGE_ISA", name);
  for (const KernelTable* table : kTables) {
    if (usable(table)) return table;
  }
  return &baseline::table;
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table{best()};
  return table;
}

class CpuBackend final : public Backend {
 public:
  const char* name() const override { return "cpu"; }
  void* allocate(size_t bytes) override { return cpu::allocate(bytes); }
  void release(void* memory, size_t bytes) override { cpu::release(memory, bytes); }
  void trim() override { cpu::trim(); }
  size_t cached_bytes() const override { return cpu::cached_bytes(); }
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void run(const Program& program, void* const* slots, const double* scalars) override {
    current().load(std::memory_order_relaxed)->run_program(program, slots, scalars);
  }
  void run(const KernelCall& call) override {
    check_arguments(call);
    current().load(std::memory_order_relaxed)->kernels[static_cast<int>(call.kernel)](call);
  }
  void synchronize() override {}
};

}  // namespace

Backend& backend() {
  static CpuBackend* const instance = new CpuBackend;
  return *instance;
}

const char* isa() { return current().load(std::memory_order_relaxed)->isa; }
bool compiles_scans() { return compiles_programs() && current().load(std::memory_order_relaxed)->has_compiler; }
void set_isa(const std::string& name) { current().store(find("setIsa", name.c_str()), std::memory_order_relaxed); }

}  // namespace vantage::cpu
