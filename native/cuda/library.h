// The boundary between the addon and the library that holds everything for CUDA, which is opened at run time: a table of functions. No exception
// and no type information crosses it; what fails is told as text. The two may come from different compilers, never from different sources.
#pragma once
#include "../core/kernels.h"
#include "../core/program.h"

namespace vantage::cuda {

constexpr int kErrorBytes = 1024;

struct DeviceInfo {
  char name[256];
  int major, minor;  // compute capability
  int driver;        // the newest CUDA that the driver knows: 1000·major + 10·minor
  int multiprocessors;
  uint64_t memory_bytes;
};

// Every function may be called from any thread. Those that return bool write what went wrong into `error` (kErrorBytes) and return false then.
struct Library {
  uint64_t fingerprint;
  bool (*open)(DeviceInfo* info, char* error) noexcept;
  bool (*allocate)(void** memory, size_t bytes, char* error) noexcept;  // null where there is none left
  void (*release)(void* memory, size_t bytes) noexcept;
  void (*trim)() noexcept;
  size_t (*cached_bytes)() noexcept;
  bool (*upload)(void* to, const void* from, size_t bytes, char* error) noexcept;
  bool (*download)(void* to, const void* from, size_t bytes, char* error) noexcept;
  bool (*run_program)(const Program* program, void* const* slots, const double* scalars, char* error) noexcept;
  bool (*run_kernel)(const KernelCall* call, char* error) noexcept;
  bool (*synchronize)(char* error) noexcept;
  // How programs run: "interpret", "compile" or "auto". The environment's VANTAGE_CUDA_PROGRAMS, or auto, until it is called.
  bool (*set_programs)(const char* mode, char* error) noexcept;
  // From one place of the device's memory to another, queued behind all before it.
  bool (*copy)(void* to, const void* from, size_t bytes, char* error) noexcept;
  // The time of the device alone for what is launched between the two (see timer.h); `queued` is false where the host's share is in it.
  bool (*start_timer)(char* error) noexcept;
  bool (*stop_timer)(double* seconds, bool* queued, char* error) noexcept;
};

// Differs where the two sides would understand a program or a call differently.
constexpr uint64_t fingerprint() {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const auto add = [&hash](uint64_t value) {
    for (int i = 0; i < 8; ++i) hash = (hash ^ (value >> (8 * i) & 0xff)) * 1099511628211u;
  };
  const auto add_text = [&hash](const char* text) {
    for (; *text; ++text) hash = (hash ^ static_cast<unsigned char>(*text)) * 1099511628211u;
    hash *= 1099511628211u;
  };
  add(sizeof(Library)), add(sizeof(Program)), add(sizeof(ProgramView)), add(sizeof(Instruction)), add(sizeof(Output)), add(sizeof(KernelCall));
  for (const char* name : kOpNames) add_text(name);
  for (const KernelRow& row : kKernelRows) add_text(row.name), add(static_cast<uint64_t>(row.views)), add(static_cast<uint64_t>(row.scalars));
  for (int i = 0; i < kDTypes; ++i) add_text(name_of(static_cast<DType>(i)));
  return hash;
}

constexpr const char* kLibraryEntry = "vantage_cuda_library";
using LibraryEntry = const Library* (*)();

}  // namespace vantage::cuda
