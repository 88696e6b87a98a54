#include "library.h"

#include <cstdio>
#include <cstring>
#include <mutex>

#include "../core/error.h"
#include "allocator.h"
#include "blas.h"
#include "kernel_list.h"
#include "nvrtc.h"
#include "programs.h"
#include "runtime.h"
#include "timer.h"

namespace vantage::cuda {
namespace {

// Held while anything is launched, so that what one call puts on the stream stays together. Never destroyed.
std::mutex& one_at_a_time() {
  static std::mutex* const mutex = new std::mutex;
  return *mutex;
}

void write_error(char* error, const char* text) { std::snprintf(error, kErrorBytes, "%s", text); }

template <class Action>
bool guarded(char* error, const Action& action) noexcept {
  try {
    action();
    return true;
  } catch (const std::bad_alloc&) {
    write_error(error, "cuda: out of host memory");
  } catch (const std::exception& failure) {
    write_error(error, failure.what());
  } catch (...) {
    write_error(error, "cuda: unknown failure");
  }
  return false;
}

template <class Action>
bool on_device(char* error, const Action& action) noexcept {
  return guarded(error, [&] {
    const std::lock_guard lock(one_at_a_time());
    use_device();
    action();
  });
}

bool library_open(DeviceInfo* info, char* error) noexcept {
  return guarded(error, [&] {
    const std::lock_guard lock(one_at_a_time());
    open();
    // What is read later is looked at now: a setting that says what it cannot is told to whoever asks for the device.
    tensor_float32();
    check_named_nvrtc();
    check_programs_setting();
    const Device& d = device();
    *info = {};
    std::memcpy(info->name, d.name, sizeof info->name);
    info->major = d.major;
    info->minor = d.minor;
    info->driver = d.driver;
    info->multiprocessors = d.multiprocessors;
    info->memory_bytes = d.memory;
  });
}

bool library_allocate(void** memory, size_t bytes, char* error) noexcept {
  return on_device(error, [&] { *memory = allocate(bytes); });
}

void library_release(void* memory, size_t bytes) noexcept {
  char ignored[kErrorBytes];
  guarded(ignored, [&] { release(memory, bytes); });
}

void library_trim() noexcept {
  char ignored[kErrorBytes];
  on_device(ignored, [] { trim(); });
}

size_t library_cached_bytes() noexcept { return cached_bytes(); }

bool library_upload(void* to, const void* from, size_t bytes, char* error) noexcept {
  return on_device(error, [&] { copy_to_device(to, from, bytes, "upload"); });
}

bool library_download(void* to, const void* from, size_t bytes, char* error) noexcept {
  // Without the mutex: the other threads go on launching while this one waits.
  return guarded(error, [&] {
    use_device();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "download");
    synchronize("download");
  });
}

bool library_run_program(const Program* program, void* const* slots, const double* scalars, char* error) noexcept {
  return on_device(error, [&] { run_program(*program, slots, scalars); });
}

bool library_run_kernel(const KernelCall* call, char* error) noexcept {
  return on_device(error, [&] { run_kernel(*call); });
}

bool library_synchronize(char* error) noexcept {
  return guarded(error, [] {
    use_device();
    synchronize("synchronize");
  });
}

bool library_set_programs(const char* mode, char* error) noexcept {
  return guarded(error, [&] {
    const std::lock_guard lock(one_at_a_time());
    set_programs(mode);
  });
}

bool library_copy(void* to, const void* from, size_t bytes, char* error) noexcept {
  return on_device(error, [&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy"); });
}

bool library_start_timer(char* error) noexcept {
  return on_device(error, [] { start_timer(); });
}

bool library_stop_timer(double* seconds, bool* queued, char* error) noexcept {
  return on_device(error, [&] {
    const Elapsed elapsed = stop_timer();
    *seconds = elapsed.seconds;
    *queued = elapsed.queued;
  });
}

constexpr Library table = {fingerprint(),   library_open,     library_allocate,    library_release,    library_trim,        library_cached_bytes,
                           library_upload, library_download, library_run_program, library_run_kernel, library_synchronize, library_set_programs,
                           library_copy,   library_start_timer, library_stop_timer};

}  // namespace
}  // namespace vantage::cuda

extern "C" __attribute__((visibility("default"))) const vantage::cuda::Library* vantage_cuda_library();
const vantage::cuda::Library* vantage_cuda_library() { return &vantage::cuda::table; }
