#include "cuda_library.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>

#include "../core/error.h"

namespace vantage::addon {
namespace {

#if defined(__APPLE__)
constexpr const char* kFileName = "libvantage_cuda.dylib";
#else
constexpr const char* kFileName = "libvantage_cuda.so";
#endif

template <class Call>
void checked(const Call& call) {
  char error[cuda::kErrorBytes];
  if (!call(error)) throw Error(error);
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const cuda::Library& library) : library_(library) {}

  const char* name() const override { return "cuda"; }
  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    checked([&](char* error) { return library_.allocate(&memory, bytes, error); });
    return memory;
  }
  void release(void* memory, size_t bytes) override { library_.release(memory, bytes); }
  void trim() override { library_.trim(); }
  size_t cached_bytes() const override { return library_.cached_bytes(); }
  void upload(void* to, const void* from, size_t bytes) override {
    checked([&](char* error) { return library_.upload(to, from, bytes, error); });
  }
  void download(void* to, const void* from, size_t bytes) override {
    checked([&](char* error) { return library_.download(to, from, bytes, error); });
  }
  void run(const Program& program, void* const* slots, const double* scalars) override {
    checked([&](char* error) { return library_.run_program(&program, slots, scalars, error); });
  }
  void run(const KernelCall& call) override {
    checked([&](char* error) { return library_.run_kernel(&call, error); });
  }
  void synchronize() override {
    checked([&](char* error) { return library_.synchronize(error); });
  }

 private:
  const cuda::Library& library_;
};

// The file that the environment names, or null.
const char* named_library() {
  const char* path = std::getenv("VANTAGE_CUDA_LIBRARY");
  return path && *path ? path : nullptr;
}

std::string path_of_library() {
  if (const char* path = named_library()) return path;
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void*>(&path_of_library), &info) || !info.dli_fname) return kFileName;
  const std::string here = info.dli_fname;
  const size_t slash = here.rfind('/');
  return (slash == std::string::npos ? "" : here.substr(0, slash + 1)) + kFileName;
}

std::atomic<const Cuda*> found{nullptr};

Cuda open_library() {
  Cuda result;
  const std::string path = path_of_library();
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* what =
        named_library() ? "VANTAGE_CUDA_LIBRARY: expected the file of a CUDA library, got one that does not load" : "this build has no CUDA library";
    result.reason = what + (" (" + std::string(dlerror()) + ")");
    return result;
  }
  const auto entry = reinterpret_cast<cuda::LibraryEntry>(dlsym(handle, cuda::kLibraryEntry));
  const cuda::Library* library = entry ? entry() : nullptr;
  if (!library || library->fingerprint != cuda::fingerprint()) {
    result.reason = "the CUDA library " + path + " was built from other sources than the addon";
    return result;
  }
  char error[cuda::kErrorBytes];
  if (!library->open(&result.device, error)) {
    result.reason = error;
    return result;
  }
  result.library = library;
  result.backend = new CudaBackend(*library);
  return result;
}

const cuda::Library& open_or_throw() {
  const Cuda& cuda = cuda_library();
  if (!cuda.library) fail("cuda: %s", cuda.reason.c_str());
  return *cuda.library;
}

}  // namespace

const Cuda& cuda_library() {
  static const Cuda* const once = [] {
    const Cuda* opened = new Cuda(open_library());
    found.store(opened, std::memory_order_release);
    return opened;
  }();
  return *once;
}

size_t cuda_cached_bytes() {
  const Cuda* cuda = found.load(std::memory_order_acquire);
  return cuda && cuda->backend ? cuda->backend->cached_bytes() : 0;
}

void cuda_trim() {
  const Cuda* cuda = found.load(std::memory_order_acquire);
  if (cuda && cuda->backend) cuda->backend->trim();
}

void cuda_copy(void* to, const void* from, size_t bytes) {
  checked([&, &library = open_or_throw()](char* error) { return library.copy(to, from, bytes, error); });
}

void cuda_start_timer() {
  checked([&library = open_or_throw()](char* error) { return library.start_timer(error); });
}

CudaTime cuda_stop_timer() {
  CudaTime time;
  checked([&, &library = open_or_throw()](char* error) { return library.stop_timer(&time.seconds, &time.queued, error); });
  return time;
}

}  // namespace vantage::addon
