#include "runtime.h"

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "../core/error.h"
#include "failure.h"

namespace vantage::cuda {
namespace {

// Never destroyed: memory may be released after static destructors ran.
struct State {
  Device device;
  cudaStream_t stream = nullptr;
  Failure* failure = nullptr;         // as the host sees it
  Failure* device_failure = nullptr;  // as kernels do
  unsigned* flags = nullptr;
  int64_t flag_count = 0;
  unsigned* tickets = nullptr;
  int64_t ticket_count = 0;
  Letter* letters = nullptr;
  int64_t letter_count = 0;
  unsigned* counter = nullptr;
  unsigned counted = 0, launches = 0;
};
State* opened = nullptr;

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cuda");
  return value;
}

int wanted_device(int count) {
  const char* text = std::getenv("VANTAGE_CUDA_DEVICE");
  if (!text || !*text) return 0;
  char* end;
  const long index = std::strtol(text, &end, 10);
  if (*end || index < 0 || index >= count) fail("VANTAGE_CUDA_DEVICE: expected a number in [0, %d), got \"%.40s\"", count, text);
  return static_cast<int>(index);
}

// Zeroed memory for `count` of them, in place of an array that is too small. What still runs may use the old one: it is freed behind it.
template <class T>
void grow(T** memory, int64_t* held, int64_t count, const char* what) {
  if (count <= *held) return;
  int64_t size = 1024;
  while (size < count) size *= 2;
  T* larger = nullptr;
  check(cudaMalloc(reinterpret_cast<void**>(&larger), static_cast<size_t>(size) * sizeof(T)), what);
  check(cudaMemsetAsync(larger, 0, static_cast<size_t>(size) * sizeof(T), opened->stream), what);
  if (*memory) cudaFree(*memory);
  *memory = larger;
  *held = size;
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // not to be found again by the next check
  fail("%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

void open() {
  if (opened) return;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0, needed = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&needed);
    if (driver == 0) fail("there is no NVIDIA driver");
    fail("the NVIDIA driver is too old: it knows CUDA %d.%d, CUDA %d.%d is needed", driver / 1000, driver % 1000 / 10, needed / 1000,
         needed % 1000 / 10);
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) fail("there is no CUDA device");
  check(error, "cuda");

  State state;
  Device& device = state.device;
  device.index = wanted_device(count);
  check(cudaSetDevice(device.index), "cuda");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device.index), "cuda");
  std::memcpy(device.name, properties.name, sizeof device.name);
  device.major = properties.major;
  device.minor = properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.memory = properties.totalGlobalMem;
  device.most_shared = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index));
  device.reads_host_memory = attribute(cudaDevAttrPageableMemoryAccessUsesHostPageTables, device.index) != 0;
  check(cudaDriverGetVersion(&device.driver), "cuda");
  check(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking), "cuda");
  check(cudaHostAlloc(reinterpret_cast<void**>(&state.failure), sizeof(Failure), cudaHostAllocMapped | cudaHostAllocPortable), "cuda");
  check(cudaHostGetDevicePointer(reinterpret_cast<void**>(&state.device_failure), state.failure, 0), "cuda");
  std::memset(state.failure, 0, sizeof(Failure));
  opened = new State(state);
}

const Device& device() { return opened->device; }

void use_device() {
  thread_local bool used = false;
  if (used) return;
  check(cudaSetDevice(opened->device.index), "cuda");
  used = true;
}

cudaStream_t stream() { return opened->stream; }

void synchronize(const char* what) {
  check(cudaStreamSynchronize(opened->stream), what);
  throw_failure();
}

void copy_to_device(void* to, const void* from, size_t bytes, const char* what) {
  // This returns once the driver holds a copy, except where the device reads the host's page tables.
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, opened->stream), what);
  if (opened->device.reads_host_memory) check(cudaStreamSynchronize(opened->stream), what);
}

Failure* failure_slot() { return opened->device_failure; }

void throw_failure() {
  static std::mutex* const one_reader = new std::mutex;
  const std::lock_guard lock(*one_reader);
  Failure& slot = *opened->failure;
  const int kind = __atomic_load_n(&slot.kind, __ATOMIC_ACQUIRE);
  // One that is being written is of work which others launched: who waits for that finds it.
  if (kind == static_cast<int>(FailureKind::none) || kind == static_cast<int>(FailureKind::unfinished)) return;
  const Failure found = slot;
  __atomic_store_n(&slot.kind, static_cast<int>(FailureKind::none), __ATOMIC_RELEASE);
  if (found.kind == static_cast<int>(FailureKind::index)) {
    fail("%s: %s %lld at position %lld is outside [0, %lld)", found.kernel, found.text, found.index, found.position, found.limit);
  }
  fail("%s: %s %lld", found.kernel, found.text, found.index);
}

Signals signals(int64_t flag_count, int64_t ticket_count, int64_t blocks, int64_t letter_count) {
  State& s = *opened;
  // After 2^32 launches the numbers come again: flags that old would seem set.
  if (++s.launches == 0) {
    if (s.flags) check(cudaMemsetAsync(s.flags, 0, static_cast<size_t>(s.flag_count) * sizeof(unsigned), s.stream), "cuda");
    if (s.letters) check(cudaMemsetAsync(s.letters, 0, static_cast<size_t>(s.letter_count) * sizeof(Letter), s.stream), "cuda");
    s.launches = 1;
  }
  int64_t counters = s.counter ? 1 : 0;
  grow(&s.counter, &counters, 1, "cuda");
  grow(&s.flags, &s.flag_count, flag_count, "cuda");
  grow(&s.tickets, &s.ticket_count, ticket_count, "cuda");
  grow(&s.letters, &s.letter_count, letter_count, "cuda");
  const Signals result = {s.flags, s.launches, s.counter, s.counted, s.tickets, s.letters};
  s.counted += static_cast<unsigned>(blocks);
  return result;
}

void reset_signals() {
  opened->counted = 0;
  cudaMemsetAsync(opened->counter, 0, sizeof(unsigned), opened->stream);
}

}  // namespace vantage::cuda
